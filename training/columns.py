"""One column of a table → an array, or the message that names the row where it is not what it should be.

Numbers, words and times; knows neither recipes nor sequences.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.sources import Table

Array = NDArray[np.float64]  # [rows], NaN where the table is empty
Times = NDArray[Any]  # [rows], datetime64[us] or numbers
EXACT = 2**24  # the whole numbers up to here are float32 numbers, so that they can be their own codes
LARGEST = float(np.finfo(np.float32).max)
ISO, DOTS, SLASHES = ("%Y-%m-%d", "%Y/%m/%d"), ("%d.%m.%Y",), {True: "%d/%m/%Y", False: "%m/%d/%Y"}
CLOCKS = ("", " %H:%M:%S%.f", " %H:%M", " %H:%M:%S%.f%:z")


def column(table: Table, name: str) -> pl.Series:
    """Return a column as it was read."""
    if name not in table.frame.columns:
        near = get_close_matches(name, table.frame.columns, n=1)
        guess = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(table.frame.columns)}"
        raise table.error(f"no column {name!r}; {guess}")
    read = table.frame[name]
    if read.dtype.is_nested() or read.dtype == pl.Binary:
        raise table.error(f"{name} holds {read.dtype}; a column is of numbers, words or times")
    return read


def numbers(table: Table, name: str) -> Array:
    """Return a column of numbers."""
    read = column(table, name)
    text = _plain(read, table.decimal) if read.dtype == pl.String else read
    values = text.cast(pl.Float64, strict=False)
    wrong = read.is_not_null() & (values.is_null() | (values.abs() > LARGEST))
    if wrong.any():
        row = int(wrong.arg_true()[0])
        hint = "; data.decimal = ',' reads it" if "," in str(read[row]) and table.decimal == "." else ""
        fix = hint or "; mend it, empty it and give the feature a rule for gaps, or make it a category"
        raise table.error(f"{name} is {read[row]!r}, which is no finite number{fix}", row=row)
    return values.fill_null(float("nan")).to_numpy()


def _plain(read: pl.Series, decimal: str) -> pl.Series:
    """Write numbers as a program would. That thousands are grouped is believed where a value has a fraction too."""
    group = "," if decimal == "." else "."
    if read.str.contains(rf"^-?\d{{1,3}}([{group}]\d{{3}})+[{decimal}]\d*$").any():
        read = read.str.replace_all(group, "", literal=True)
    return read.str.replace(decimal, ".", literal=True)


def words(table: Table, name: str) -> pl.Series:
    """Return a column of words, null where it is empty; whole numbers look the same whether read as text or not."""
    read = column(table, name)
    if read.dtype.is_float() and bool((read.drop_nulls() == read.drop_nulls().round()).all()):
        read = read.cast(pl.Int64)
    return read.cast(pl.String)


class Vocabulary:
    """Words and their codes. Whole numbers are their own codes, so that a caller sends what he has."""

    def __init__(self, known: Sequence[str]) -> None:
        whole = bool(known) and all(_is_whole(word) for word in known)
        self.words = tuple(known)
        self.codes = tuple(int(word) for word in known) if whole else tuple(range(len(known)))
        self.labels = () if whole else self.words  # what a number does not say itself

    @classmethod
    def learnt(cls, seen: pl.Series) -> "Vocabulary":
        """Return the vocabulary of what was seen: numbers by size, words by the alphabet."""
        known = seen.drop_nulls().unique().to_list()
        whole = all(_is_whole(word) for word in known)
        return cls(sorted(known, key=int) if whole else sorted(known))

    def encode(self, table: Table, name: str, *, fix: str) -> Array:
        """Return a column of words as codes; `fix` is what to do about a word that is not known."""
        return self._looked_up(table, name, self.codes, fix)

    def indices(self, table: Table, name: str, *, fix: str) -> NDArray[np.float32]:
        """Return a column of words as places in the vocabulary."""
        return self._looked_up(table, name, range(len(self.words)), fix).astype(np.float32)

    def _looked_up(self, table: Table, name: str, values: Sequence[int], fix: str) -> Array:
        read = words(table, name)
        codes = read.replace_strict(self.words, list(values), default=None, return_dtype=pl.Float64)
        wrong = read.is_not_null() & codes.is_null()
        if wrong.any():
            row = int(wrong.arg_true()[0])
            raise table.error(f"{name} is {read[row]!r}, which is not among the known ones; {fix}", row=row)
        return codes.fill_null(float("nan")).to_numpy()


def _is_whole(word: str) -> bool:
    digits = word.removeprefix("-")
    return digits.isascii() and digits.isdigit() and str(int(word)) == word and abs(int(word)) <= EXACT


def times(table: Table, name: str) -> Times:
    """Return the time column: dates and times, without a zone (an offset is turned into UTC), or numbers."""
    read = column(table, name)
    if read.has_nulls():
        raise table.error(f"{name} is empty; every row needs its time", row=int(read.is_null().arg_true()[0]))
    if read.dtype.is_temporal():
        zoned = read.cast(pl.Datetime("us"))
        return zoned.to_numpy().astype("datetime64[us]")
    if read.dtype.is_numeric() or read.cast(pl.Float64, strict=False).null_count() == 0:
        return numbers(table, name)
    return _dates(table, name, read)


def _dates(table: Table, name: str, read: pl.Series) -> NDArray[np.datetime64]:
    text = read.str.replace(r"^(\d{1,2})-(\d{1,2})-(\d{4})", "$1/$2/$3")
    text = text.str.replace(r"(\d)[T ]+(\d)", "$1 $2").str.replace(r"\s*(Z|UTC)$", "")
    slashes = () if not text.str.contains(r"^\d{1,2}/").any() else (SLASHES[_day_first(table, name, text)],)
    found = pl.Series(name, [None] * len(text), dtype=pl.Datetime("us"))
    for day in (*ISO, *DOTS, *slashes):
        for clock in CLOCKS:
            if not found.has_nulls():
                break
            tried = text.str.to_datetime(day + clock, time_unit="us", strict=False, exact=True)
            found = found.fill_null(tried.dt.replace_time_zone(None))
    if found.has_nulls():
        row = int(found.is_null().arg_true()[0])
        raise table.error(f"{name} is {read[row]!r}, which is no date and time; write 2024-01-31 13:30", row=row)
    return found.to_numpy().astype("datetime64[us]")


def _day_first(table: Table, name: str, text: pl.Series) -> bool:
    """Whether 05/01 is in January: as the table says, or as those rows prove of which one number is no month."""
    if table.day_first is not None:
        return table.day_first
    parts = text.str.extract_groups(r"^(\d{1,2})/(\d{1,2})/").struct.unnest().cast(pl.Int64)
    first, second = ((parts[field] > 12).fill_null(False) for field in parts.columns)
    if first.any() == second.any():
        row = int(text.str.contains(r"^\d{1,2}/").arg_true()[0])
        raise table.error(f"{name} is {text[row]!r}: is the day first? Say data.day_first = true or false", row=row)
    return bool(first.any())
