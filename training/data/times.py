"""Read the time of a table's rows: dates, or numbers that rise; name the row of the first invalid value."""

import re
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from training.data.columns import column, numbers, words
from training.data.dates import EPOCHS, ORDERS, elapsed, formatted, parsed, readings
from training.data.sources import Table

Times = NDArray[Any]  # [rows], datetime64[us] or numbers


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
                behind = r"()$" if how.endswith("%z") else r"(\s)"  # Sat Jan 13 00:00:00 +0200 2024
                text = text.str.replace(r"\s*(?:Z|[+-]\d{2}:?\d{2})" + behind, "$1")
                how = re.sub(r"\s*%z", "", how)
            found = formatted(text, how)
        except PolarsError as error:
            raise table.error(f"data.time_format is {how!r}: {str(error).splitlines()[0]}") from None
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
