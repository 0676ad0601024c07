"""Read one column of a table as an array of numbers, words or times; name the row of the first invalid value."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.arrays import Doubles, Floats
from training.data.sources import Table

Times = NDArray[Any]  # [rows], datetime64[us] or numbers
EXACT = 2**24  # float32 represents whole numbers exactly up to here, so they can be their own codes
LARGEST = float(np.finfo(np.float32).max)
ISO, DOTS, SLASHES = ("%Y-%m-%d", "%Y/%m/%d"), ("%d.%m.%Y",), {True: "%d/%m/%Y", False: "%m/%d/%Y"}
CLOCKS = ("", " %H:%M:%S%.f", " %H:%M", " %H:%M:%S%.f%:z")


def column(table: Table, name: str) -> pl.Series:
    """Return a column unchanged."""
    if name not in table.frame.columns:
        near = get_close_matches(name, table.frame.columns, n=1)
        guess = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(table.frame.columns)}"
        raise table.error(f"no column {name!r}; {guess}")
    values = table.frame[name]
    if values.dtype.is_nested() or values.dtype == pl.Binary:
        raise table.error(f"{name} holds {values.dtype}; a column is of numbers, words or times")
    return values


def numbers(table: Table, name: str) -> Doubles:
    """Return a column as finite float32-sized numbers, NaN where it is empty."""
    raw = column(table, name)
    plain = _without_groups(raw, table.decimal) if raw.dtype == pl.String else raw
    values = plain.cast(pl.Float64, strict=False)
    wrong = raw.is_not_null() & (values.is_null() | (values.abs() > LARGEST))
    if wrong.any():
        row = int(wrong.arg_true()[0])
        hint = "; data.decimal = ',' reads it" if "," in str(raw[row]) and table.decimal == "." else ""
        fix = hint or "; mend it, empty it and give the feature a rule for gaps, or make it a category"
        raise table.error(f"{name} is {raw[row]!r}, which is no finite number{fix}", row=row)
    return values.fill_null(float("nan")).to_numpy()


def _without_groups(raw: pl.Series, decimal: str) -> pl.Series:
    """Remove separators of thousands, if some value has both a separator and a fraction; then write the fraction after
    a point.
    """
    group = "," if decimal == "." else "."
    if raw.str.contains(rf"^-?\d{{1,3}}([{group}]\d{{3}})+[{decimal}]\d*$").any():
        raw = raw.str.replace_all(group, "", literal=True)
    return raw.str.replace(decimal, ".", literal=True)


def words(table: Table, name: str) -> pl.Series:
    """Return a column as text, null where it is empty. Whole numbers give the same text from CSV and Parquet."""
    values = column(table, name)
    if values.dtype.is_float() and bool((values.drop_nulls() == values.drop_nulls().round()).all()):
        values = values.cast(pl.Int64)
    return values.cast(pl.String)


class Vocabulary:
    """Words and their codes. Whole numbers are their own codes; other words are numbered from 0."""

    def __init__(self, known: Sequence[str]) -> None:
        whole = bool(known) and all(_is_whole(word) for word in known)
        self.words = tuple(known)
        self.codes = tuple(int(word) for word in known) if whole else tuple(range(len(known)))
        self.labels = () if whole else self.words  # only words need labels

    @classmethod
    def learnt(cls, seen: pl.Series) -> "Vocabulary":
        """Return the vocabulary of a column, sorted by number or by alphabet."""
        known = seen.drop_nulls().unique().to_list()
        whole = all(_is_whole(word) for word in known)
        return cls(sorted(known, key=int) if whole else sorted(known))

    def encode(self, table: Table, name: str, values: Sequence[int], *, fix: str) -> Floats:
        """Return a column with `values` (one for each word) in place of the words, NaN where it is empty.

        `fix` is the advice in the error about an unknown word.
        """
        text = words(table, name)
        codes = text.replace_strict(self.words, list(values), default=None, return_dtype=pl.Float64)
        wrong = text.is_not_null() & codes.is_null()
        if wrong.any():
            row = int(wrong.arg_true()[0])
            raise table.error(f"{name} is {text[row]!r}, which is not among the known ones; {fix}", row=row)
        return codes.fill_null(float("nan")).to_numpy().astype(np.float32)


def _is_whole(word: str) -> bool:
    digits = word.removeprefix("-")
    return digits.isascii() and digits.isdigit() and str(int(word)) == word and abs(int(word)) <= EXACT


def times(table: Table, name: str) -> Times:
    """Return the time column: dates in UTC without a zone, or numbers."""
    values = column(table, name)
    if values.has_nulls():
        raise table.error(f"{name} is empty; every row needs its time", row=int(values.is_null().arg_true()[0]))
    if values.dtype.is_temporal():
        return values.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
    if values.dtype.is_numeric() or values.cast(pl.Float64, strict=False).null_count() == 0:
        return numbers(table, name)
    return _dates(table, name, values)


def _dates(table: Table, name: str, raw: pl.Series) -> NDArray[np.datetime64]:
    """Parse dates written in one or several of the known formats."""
    text = raw.str.replace(r"^(\d{1,2})-(\d{1,2})-(\d{4})", "$1/$2/$3")
    text = text.str.replace(r"(\d)[T ]+(\d)", "$1 $2").str.replace(r"\s*(Z|UTC)$", "")
    slashes = () if not text.str.contains(r"^\d{1,2}/").any() else (SLASHES[_day_first(table, name, text)],)
    found = pl.Series(name, [None] * len(text), dtype=pl.Datetime("us"))
    for day in (*ISO, *DOTS, *slashes):
        for clock in CLOCKS:
            if not found.has_nulls():
                break
            parsed = text.str.to_datetime(day + clock, time_unit="us", strict=False, exact=True)
            found = found.fill_null(parsed.dt.replace_time_zone(None))
    if found.has_nulls():
        row = int(found.is_null().arg_true()[0])
        raise table.error(f"{name} is {raw[row]!r}, which is no date and time; write 2024-01-31 13:30", row=row)
    return found.to_numpy().astype("datetime64[us]")


def _day_first(table: Table, name: str, text: pl.Series) -> bool:
    """Return whether 05/01 is in January: the table's setting, or what rows with a number above 12 prove."""
    if table.day_first is not None:
        return table.day_first
    parts = text.str.extract_groups(r"^(\d{1,2})/(\d{1,2})/").struct.unnest().cast(pl.Int64)
    first, second = ((parts[field] > 12).fill_null(False) for field in parts.columns)
    if first.any() == second.any():
        row = int(text.str.contains(r"^\d{1,2}/").arg_true()[0])
        raise table.error(f"{name} is {text[row]!r}: is the day first? Say data.day_first = true or false", row=row)
    return bool(first.any())
