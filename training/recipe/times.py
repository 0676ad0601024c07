"""Find the columns of a table that may be its time, and the ways to read each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from training.data import columns
from training.data.columns import Times
from training.data.dates import EPOCHS, elapsed, readings
from training.data.sources import Table
from training.data.sources.table import QUARTER, WEEK
from training.errors import TableError
from training.recipe.names import CLOCK, COUNT, PARTS, TIME, named
from training.recipe.sequence import direction

COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # digits of a whole number → how a date is written
CLOCK_WRITTEN = r"^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?$"
YEARS = (datetime(1900, 1, 1), datetime(2201, 1, 1))


@dataclass(frozen=True)
class Order:
    """Keys of `[data]`, and why each column is what it is. `rank` 0: in order; 1: by sequences; 2: some rows repeat."""

    time: tuple[str, ...]
    clock: Times | None
    keys: dict[str, Any] = field(default_factory=dict)
    sequence: tuple[str, ...] = ()
    rank: int = 0
    reading: str = ""
    rivals: tuple[tuple[str, ...], ...] = ()  # other columns that explain the rows as well as `sequence`
    sure: bool = True  # False: little speaks for `sequence` but its name

    @property
    def dates(self) -> bool:
        """Whether times are dates."""
        return self.clock is not None and np.issubdtype(self.clock.dtype, np.datetime64)

    def data(self) -> dict[str, Any]:
        """Return all keys of `[data]` that tell the order."""
        columns = {"time": self.time, "sequence": self.sequence}
        named = {key: list(value) if len(value) > 1 else value[0] for key, value in columns.items() if value}
        return named | self.keys | ({"repeats": "first"} if self.rank == 2 else {})


def candidates(table: Table, time: tuple[str, ...]) -> Iterator[Order]:
    """Yield each reading of each column, or columns together, that may be the time."""
    if len(time) > 1:
        yield from _joined(table, time)
        return
    if time:
        yield from _single(table, time[0], given=True)
        return
    names = table.frame.columns
    alone = {name: list(_single(table, name, given=False)) for name in names}
    for found in alone.values():
        yield from found
    parts = [next((name for name in names if re.match(part, name.strip().lower())), None) for part in PARTS]
    known = parts[: parts.index(None)] if None in parts else parts
    if len(known) > 1:
        yield from _joined(table, tuple(name for name in known if name is not None))
    if known:
        for within in (name for name in names if any(re.match(one, name.strip().lower()) for one in (QUARTER, WEEK))):
            yield from _joined(table, (str(known[0]), within))
    clocks = [name for name in names if _is_clock(table, name)]
    for day, clock in ((day, clock) for clock in clocks for day in names if day != clock and alone[day]):
        yield from _joined(table, (day, clock))


def _is_clock(table: Table, name: str) -> bool:
    """Return whether a column is a time of day: 13:30, or, if it is named so, 13 or 1330."""
    values = table.frame[name]
    if values.dtype == pl.Time:
        return True
    if values.has_nulls() or not (values.dtype == pl.String or values.dtype.is_integer()):
        return False
    text = values.cast(pl.String)
    return bool(
        text.str.contains(CLOCK_WRITTEN).all() or (named(CLOCK, name) and text.str.contains(r"^\d{1,4}$").all())
    )


def _joined(table: Table, names: tuple[str, ...]) -> Iterator[Order]:
    try:
        joined = table.arranged(names, None)
    except TableError:
        return
    assert joined.time is not None
    for one in _single(joined, joined.time, given=False):
        if one.dates:
            yield replace(one, time=names)


def _single(table: Table, name: str, *, given: bool) -> Iterator[Order]:
    """Yield the readings of one column as times."""
    try:
        values = columns.column(table, name)
    except TableError:
        return
    if values.has_nulls():
        return
    if table.time_format is not None and (given or values.dtype == pl.String):
        try:
            yield Order((name,), columns.times(replace(table, time=name), name), {"time_format": table.time_format})
        except TableError:
            return
    elif values.dtype.is_temporal():
        yield Order((name,), columns.times(table, name))
    elif values.dtype.is_numeric() or values.cast(pl.Float64, strict=False).null_count() == 0:
        yield from _numeric(table, name, given=given)
    elif values.dtype == pl.String and not elapsed(values).has_nulls():
        yield Order((name,), columns.times(table, name))
    elif values.dtype == pl.String:
        found = readings(values)
        for reading, read in found.items():
            if given or read.is_between(*YEARS).all():
                clock = read.to_numpy().astype("datetime64[us]")
                yield Order((name,), clock, _told(values, reading) if len(found) > 1 else {}, reading=reading)


def _told(values: pl.Series, reading: str) -> dict[str, Any]:
    """Return the key that tells a reading."""
    if reading != "ymd":
        return {"day_first": reading == "dmy"}
    first = values.filter(values.str.contains(r"^\d{1,2}[-/.]\d{1,2}[-/.]\d{2}\b"))[0]
    mark = re.sub(r"\d", "", first)[0]
    return {"time_format": f"%y{mark}%m{mark}%d" + ("", " %H:%M", " %H:%M:%S")[min(first.count(":"), 2)]}


def _numeric(table: Table, name: str, *, given: bool) -> Iterator[Order]:
    """Yield a column of numbers as 20240131, as an epoch, or as a count."""
    try:
        number = columns.numbers(table, name)
    except TableError:
        return
    low, high = float(number.min()), float(number.max())
    epochs = {how: (6.3e14 / unit, 4.1e15 / unit) for how, unit in EPOCHS.items()}  # the years 1990 to 2099
    text = columns.words(table, name)
    compact = COMPACT.get(len(text[0]), "")
    how = next((how for how, (first, last) in epochs.items() if first <= low and high <= last), None)
    steps = np.diff(number)
    even = len(steps) > 1 and bool(direction(steps)) and bool((steps == steps[0]).all())
    days = text.str.to_datetime(compact, strict=False) if compact else pl.Series([None])
    if not days.has_nulls() and days.is_between(*YEARS).all():
        dated = replace(table, time=name, time_format=compact, frame=table.frame.with_columns(text.alias(name)))
        yield Order((name,), columns.times(dated, name), {"time_format": compact})
    elif how is not None:
        if given or even or named(TIME, name):
            yield Order((name,), columns.times(replace(table, time=name, time_format=how), name), {"time_format": how})
    elif given or named(TIME, name) or named(COUNT, name):
        yield Order((name,), number)
