"""Read one column of a table as an array of numbers, words or times; name the row of the first invalid value."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from training.arrays import Doubles
from training.data.dates import EPOCHS, ORDERS, elapsed, parsed, readings
from training.data.sources import Table

Times = NDArray[Any]  # [rows], datetime64[us] or numbers
LARGEST = float(np.finfo(np.float32).max)
SPACES = r"[ \x{a0}\x{202f}\x{2009}]"


def column(table: Table, name: str) -> pl.Series:
    """Return a column with simple values: numbers, text or times. NaN is empty; durations and clocks are seconds.

    Raises:
        TableError: there is no such column, or it holds lists, records or bytes.

    """
    values = table.column(name)
    dtype = values.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise table.error(f"{name} holds {dtype}; a column is of numbers, words or times")
    if dtype.is_float():
        return values.fill_nan(None)
    if dtype in (pl.Categorical, pl.Enum, pl.Null):
        return values.cast(pl.String)
    if dtype in (pl.Duration, pl.Time):
        micro = values.dt.total_microseconds() if dtype == pl.Duration else values.cast(pl.Int64) // 1000
        return pl.Series(name, micro.cast(pl.Float64).to_numpy() / 1e6, nan_to_null=True)
    return values.cast(pl.Float64) if dtype.is_decimal() else values


def numbers(table: Table, name: str) -> Doubles:
    """Return a column as finite float32-sized numbers, NaN where it is empty."""
    raw = column(table, name)
    if raw.dtype.is_temporal():
        raise table.error(f"{name} holds dates, which are no numbers; name it as data.time, or remove it")
    plain = _plain(raw, table) if raw.dtype == pl.String else raw
    values = plain.cast(pl.Float64, strict=False)
    wrong = raw.is_not_null() & (values.is_null() | ~(values.abs() <= LARGEST))
    if wrong.any():
        row = int(wrong.arg_true()[0])
        hint = "; data.decimal = ',' reads it" if "," in str(raw[row]) and table.decimal == "." else ""
        fix = hint or "; mend it, empty it and give the feature a rule for gaps, or make it a category"
        raise table.error(f"{name} is {raw[row]!r}, which is no finite number{fix}", row=row)
    return values.fill_null(float("nan")).to_numpy()


def _plain(raw: pl.Series, table: Table) -> pl.Series:
    """Remove separators of thousands, and write the fraction after a point.

    Without `thousands` they are seen where some value has both a separator and a fraction.
    """
    mark, decimal = table.thousands, table.decimal
    other = "," if decimal == "." else "."
    if mark is None and raw.str.contains(rf"^-?\d{{1,3}}([{other}]\d{{3}})+[{decimal}]\d*$").any():
        mark = other
    if mark is not None:
        group = {" ": SPACES, "'": "['’]"}.get(mark, f"[{mark}]")
        grouped = raw.str.contains(rf"^[-+]?\d{{1,3}}({group}\d{{2,3}})*{group}\d{{3}}([{decimal}]\d*)?$")
        raw = pl.select(pl.when(grouped).then(raw.str.replace_all(group, "")).otherwise(raw)).to_series()
    return raw.str.replace(decimal, ".", literal=True)


def words(table: Table, name: str) -> pl.Series:
    """Return a column as text, null where it is empty. Whole numbers give the same text from every kind of file."""
    values = column(table, name)
    if values.dtype.is_float() and bool((values.drop_nulls() == values.drop_nulls().round()).all()):
        values = values.cast(pl.Int64, strict=False)
    return whole(values.cast(pl.String))


def whole(text: pl.Series) -> pl.Series:
    """Return words as they are; if all are whole numbers, some written 1.0, without the fraction."""
    if bool(text.drop_nulls().str.contains(r"^-?\d+(\.0+)?$").all()):
        return text.str.replace(r"\.0+$", "")
    return text


def times(table: Table, name: str, *, wall: bool = False) -> Times:
    """Return the time column: dates in UTC without a zone, or numbers; durations in seconds.

    With `wall`, dates are as they are written: offsets are left out.

    Raises:
        TableError: a value is empty or no time, or the dates have several readings.

    """
    values = column(table, name)
    if values.has_nulls():
        raise table.error(f"{name} is empty; every row needs its time", row=int(values.is_null().arg_true()[0]))
    if values.dtype.is_temporal():
        local = values.dt.replace_time_zone(None) if wall and values.dtype != pl.Date else values
        return local.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
    if table.time_format is not None and name == table.time:
        return _formatted(table, name, values, table.time_format, wall=wall)
    if values.dtype.is_numeric() or values.cast(pl.Float64, strict=False).null_count() == 0:
        return numbers(table, name)
    if not (durations := elapsed(values)).has_nulls():
        return durations.to_numpy()
    return _dates(table, name, values, wall=wall)


def _formatted(table: Table, name: str, values: pl.Series, how: str, *, wall: bool) -> NDArray[np.datetime64]:
    """Return times written in one format: strptime's, or an epoch's."""
    if how in EPOCHS:
        number = values.cast(pl.Int64, strict=False) if how == "epoch ns" else values.cast(pl.Float64, strict=False)
        ticks = number // 1000 if how == "epoch ns" else number * EPOCHS[how]
        found = ticks.cast(pl.Int64, strict=False).cast(pl.Datetime("us"))
    else:
        try:
            text = words(table, name)
            if wall and "%z" in how:
                text, how = text.str.replace(r"\s*(Z|[+-]\d{2}:?\d{2})$", ""), how.replace("%z", "").rstrip()
            found = text.str.to_datetime(how, time_unit="us", strict=False)
        except PolarsError as error:
            raise table.error(f"data.time_format is {how!r}: {str(error).splitlines()[0]}") from None
        found = found.dt.replace_time_zone(None)
    return _complete(table, found, values, f"is not written as data.time_format = {how!r} says")


def _dates(table: Table, name: str, raw: pl.Series, *, wall: bool) -> NDArray[np.datetime64]:
    """Return dates that have one reading."""
    orders = {None: ORDERS, True: ("dmy",), False: ("mdy",)}[table.day_first]
    found = readings(raw, orders, wall=wall)
    if len(found) > 1:
        row = 0
        which = " or ".join(f"{read[row]:%Y-%m-%d}" for read in found.values())
        fix = "Say data.day_first = true or false" + ("" if "ymd" not in found else ", or data.time_format")
        raise table.error(f"{name} is {raw[row]!r}, {which}: is the day first? {fix}", row=row)
    if found:
        return next(iter(found.values())).to_numpy().astype("datetime64[us]")
    tried = [parsed(raw, order) for order in orders]
    best = min(tried, key=lambda one: one.null_count())
    return _complete(
        table, best, raw, "is no date and time; write 2024-01-31 13:30, or name its data.time_format (--time-format)"
    )


def _complete(table: Table, found: pl.Series, raw: pl.Series, problem: str) -> NDArray[np.datetime64]:
    """Return times as an array; the first one that is null is an error."""
    if found.has_nulls():
        row = int(found.is_null().arg_true()[0])
        raise table.error(f"{raw.name} is {raw[row]!r}, which {problem}", row=row)
    return found.to_numpy().astype("datetime64[us]")
