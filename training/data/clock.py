"""Calendar features, and the clock that they are read off: the time as written, or in the zone of the recipe."""

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.arrays import Floats
from training.data.columns import column
from training.data.dates import EPOCHS, aware
from training.data.feature import Feature
from training.data.sources import Table
from training.data.times import times

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CODES = {"hour": tuple(range(24)), "weekday": tuple(range(7)), "month": tuple(range(1, 13))}


def calendar(table: Table, one: str) -> tuple[Feature, Floats]:
    """Return hour (0–23), weekday (0–6 from Monday) or month (1–12), and its codes [N] off the wall clock."""
    clock, offsets = wall_clock(table, one)
    read = pl.Series(clock).dt
    codes = {"hour": read.hour, "weekday": lambda: read.weekday() - 1, "month": read.month}[one]()
    labels = WEEKDAYS if one == "weekday" else ()
    return Feature(
        one, "code", CODES[one], labels, calendar=one, zone=table.zone, offsets=offsets or None
    ), codes.to_numpy().astype(np.float32)


def wall_clock(table: Table, what: str) -> tuple[NDArray[np.datetime64], bool]:
    """Return the wall clock [N] of the rows, and whether it is converted from offsets; `what` needs it, for errors.

    Without `data.zone` it is the time as it is written. With it, a time with an offset is converted into the zone, and
    one without is a time of the zone.

    Raises:
        TableError: there is no time column of dates; or, with `data.zone`, only some of the times have an offset.

    """
    moments: NDArray[Any] = times(table, table.time) if table.time else np.zeros(0)
    if table.time is None or not np.issubdtype(moments.dtype, np.datetime64):
        raise table.error(f"the calendar feature {what!r} needs a time column of dates; name it as data.time")
    moments = moments.astype("datetime64[us]")
    if table.zone is None:
        return times(table, table.time, wall=True), False
    told = _aware(column(table, table.time), table.time_format)
    if told.any() and not told.all():
        row = int((~told).arg_true()[0])
        raise table.error(f"{table.time} has no offset here, and has one elsewhere; data.zone cannot tell", row=row)
    return (_in_zone(moments, table.zone) if told.any() else moments), bool(told.any())


def _aware(written: pl.Series, how: str | None) -> pl.Series:
    """Return which times name a moment, not only what a clock showed; `how` is the format of all of them, if told."""
    if written.dtype.is_temporal():
        local = written.dtype == pl.Date or (isinstance(written.dtype, pl.Datetime) and written.dtype.time_zone is None)
        return pl.repeat(not local, len(written), eager=True)
    if how is None:
        return aware(written)
    return pl.repeat(how in EPOCHS or "%z" in how, len(written), eager=True)


def _in_zone(moments: NDArray[np.datetime64], zone: str) -> NDArray[np.datetime64]:
    """Return moments in UTC as a clock of the zone shows them, by the same rules as the client's `Preparation`."""
    there = ZoneInfo(zone)
    local = [one.replace(tzinfo=UTC).astimezone(there).replace(tzinfo=None) for one in moments.tolist()]
    return np.array(local, "datetime64[us]")
