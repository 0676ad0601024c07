"""Find the columns of a table that may be its time, and the ways to read each."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import takewhile
from typing import Any

import numpy as np
import polars as pl

from training.data import columns
from training.data.dates import EPOCHS, elapsed, formatted, readings
from training.data.sources import Table
from training.data.sources.table import QUARTER, WEEK
from training.data.times import Times, times
from training.errors import TableError
from training.init.column_names import CLOCK, COUNT, PARTS, TIME, named

# Digits of a whole number → how a date is written, the likeliest first.
COMPACT = {
    **{6: ("%Y%m", "%y%m%d"), 8: ("%Y%m%d", "%d%m%Y", "%m%d%Y"), 10: ("%Y%m%d%H", "%y%m%d%H%M")},
    **{12: ("%Y%m%d%H%M", "%y%m%d%H%M%S"), 14: ("%Y%m%d%H%M%S",)},
}
CLOCK_WRITTEN = r"^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?$"
YEARS = (datetime(1900, 1, 1), datetime(2201, 1, 1))
Names = tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """Keys of `[data]`, and why each column is what it is. `rank` 0: in order; 1: by sequences; 2: but for some."""

    time: Names = ()
    clock: Times = field(default_factory=lambda: np.zeros(0))  # [N]; empty without a time
    keys: dict[str, Any] = field(default_factory=dict)
    sequence: Names = ()
    rank: int = 0
    repeats: bool = False  # some rows have a time that is not after those before them
    reading: str = ""
    rivals: tuple[Names, ...] = ()  # other columns that explain the rows as well as `sequence`
    sure: bool = True  # False: little speaks for `sequence` but its name

    @property
    def dates(self) -> bool:
        """Whether times are dates."""
        return np.issubdtype(self.clock.dtype, np.datetime64)

    @property
    def ticks(self) -> Times:
        """The times as numbers [N]; dates in microseconds."""
        return self.clock.astype(np.int64) if self.dates else self.clock

    @property
    def steps(self) -> Times:
        """The differences [N - 1] of the ticks."""
        return np.diff(self.ticks)

    def data(self) -> dict[str, Any]:
        """Return all keys of `[data]` that tell the order."""
        columns = {"time": self.time, "sequence": self.sequence}
        named = {key: list(value) if len(value) > 1 else value[0] for key, value in columns.items() if value}
        return named | self.keys | ({"repeats": "first"} if self.repeats else {})


def direction(steps: Times) -> int:
    """Return 1 if all differences are above zero, −1 if all are below, else 0."""
    return 1 if (steps > 0).all() else -1 if (steps < 0).all() else 0


def same_time(a: Times, b: Times, rtol: float) -> bool:
    """Return whether the steps of two clocks are in proportion: they tell the same time."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return not len(a) or bool(np.allclose(a * b[0], b * a[0], rtol=rtol))


def candidates(table: Table, time: Names) -> Iterator[Order]:
    """Yield each reading of each column, or columns together, that may be the time; of `time` only, if it is given."""
    if time:
        yield from _joined(table, time) if len(time) > 1 else _single(table, time[0], given=True)
        return
    names = table.frame.columns
    alone = {name: list(_single(table, name)) for name in names}
    for found in alone.values():
        yield from found

    def like(*patterns: str) -> list[str]:
        return [name for name in names if any(re.match(one, name.strip().lower()) for one in patterns)]

    known = [same[0] for same in takewhile(bool, map(like, PARTS))]  # year, month, day, … as far as there are
    together: list[Names] = [tuple(known)] if len(known) > 1 else []
    together += [(known[0], within) for within in like(QUARTER, WEEK) if known]
    clocks = [name for name in names if _is_clock(table, name)]
    together += [(day, clock) for clock in clocks for day in names if day != clock and alone[day]]
    for several in together:
        yield from _joined(table, several)


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


def _joined(table: Table, names: Names) -> Iterator[Order]:
    """Yield the readings of columns that are a date together."""
    with suppress(TableError):
        joined = table.arranged(names, None)
        yield from (replace(one, time=names) for one in _single(joined, " + ".join(names)) if one.dates)


def _single(table: Table, name: str, *, given: bool = False) -> Iterator[Order]:
    """Yield the readings of one column as times."""
    with suppress(TableError):  # it holds lists, or too large numbers
        values = columns.column(table, name)
        text = values.dtype == pl.String
        if values.has_nulls():
            return
        if table.time_format is not None and (given or text):
            yield _formatted(table, name, table.time_format)
        elif values.dtype.is_temporal() or (text and not elapsed(values).has_nulls()):
            found = Order((name,), times(table, name))
            if given or not found.dates or pl.Series(found.clock).is_between(*YEARS).all():
                yield found
        elif not values.cast(pl.Float64, strict=False).has_nulls():
            yield from _numeric(table, name, given=given)
        else:
            dates = readings(values)
            for how, read in dates.items():
                if given or read.is_between(*YEARS).all():
                    keys = _told(values, how) if len(dates) > 1 else {}
                    yield Order((name,), read.to_numpy().astype("datetime64[us]"), keys, reading=how)


def _formatted(table: Table, name: str, how: str) -> Order:
    return Order((name,), times(replace(table, time=name, time_format=how), name), {"time_format": how})


def _told(values: pl.Series, reading: str) -> dict[str, Any]:
    """Return the key that tells a reading."""
    if reading != "ymd":
        return {"day_first": reading == "dmy"}
    first = values.filter(values.str.contains(r"^\d{1,2}[-/.]\d{1,2}[-/.]\d{2}\b"))[0]
    mark = re.sub(r"\d", "", first)[0]
    return {"time_format": f"%y{mark}%m{mark}%d" + ("", " %H:%M", " %H:%M:%S")[min(first.count(":"), 2)]}


def _numeric(table: Table, name: str, *, given: bool) -> Iterator[Order]:
    """Yield a column of numbers as 2024013112, as an epoch, or as a count."""
    number, text = columns.numbers(table, name), columns.words(table, name)
    dated = ((how, formatted(text, how)) for how in COMPACT.get(len(text[0]), ()))
    compact = [how for how, days in dated if not days.has_nulls() and days.is_between(*YEARS).all()]
    epochs = {how: (6.3e14 / unit, 4.1e15 / unit) for how, unit in EPOCHS.items()}  # the years 1990 to 2099
    how = next((how for how, (first, last) in epochs.items() if first <= number.min() and number.max() <= last), None)
    steps = np.diff(number)
    even = len(steps) > 1 and bool(direction(steps)) and bool((steps == steps[0]).all())
    likely = given or len(text[0]) > 6 or named(TIME, name) or named(COUNT, name)  # 200112 alone may be any number
    if likely and compact:
        several = compact if compact[0].endswith("%Y") else compact[:1]  # 05012024 may be in January or in May
        yield from (_formatted(table, name, how) for how in several)
    elif how is not None:
        if given or even or named(TIME, name):
            yield _formatted(table, name, how)
    elif given or named(TIME, name) or named(COUNT, name):
        yield Order((name,), number)
