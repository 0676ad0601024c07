"""Group the rows of a table into sequences: by the sequence column, and by gaps in time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from training.arrays import Integers
from training.data.columns import column, words
from training.data.sources import Table
from training.data.times import Times, times
from training.errors import TableError

PARTS = ("training", "validation", "test")  # valid values of a table's part column
PART_NAMES = {"train": "training", "val": "validation", "valid": "validation", "dev": "validation", "testing": "test"}
EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Rows:
    """One sequence: its rows in the table, in order, and their times (row numbers without a time column)."""

    id: str
    index: Integers  # [T]
    times: NDArray[Any]  # [T] datetime64[us] or numbers, strictly rising
    part: str | None = None  # from the table's part column

    def __len__(self) -> int:
        return len(self.index)


def sequences(table: Table, shortest: int) -> list[Rows]:
    """Return the sequences of a table in order of appearance. Drop pieces between gaps of fewer than `shortest` rows.

    Raises:
        TableError: times do not rise, a sequence has fewer than `shortest` rows, or a part or gap is invalid.

    """
    rows, t, count = _arranged(table), pl.col("t"), pl.len().over("id")
    if table.repeats == "first":
        rows = rows.filter((t > t.cum_max().shift().over("id")).fill_null(True))
    falls = rows.with_columns(before=pl.col("row").shift().over("id")).filter(t <= t.shift().over("id"))
    if table.time and len(falls):
        raise _out_of_order(table, falls["row"][0], falls["before"][0])
    rows = rows.filter(count >= (table.shortest or 0))
    for row, id, rest in rows.filter(count < shortest).select("row", "id", count.alias("rest")).head(1).iter_rows():
        what, fix = (f"sequence {id!r}", "remove it, or ") if table.sequence else ("the table", "")
        raise table.error(f"{what} has {rest} rows, and this horizon needs {shortest}: {fix}lower the horizon", row=row)
    edge = pl.col("part").ne_missing(pl.col("part").shift())
    if table.gap is not None:
        edge |= (t.diff() > _longest(table, rows["t"])).fill_null(False)
    pieces = rows.with_columns(piece=edge.cum_sum().over("id")).partition_by("id", "piece", maintain_order=True)
    return [
        Rows(one["id"][0], one["row"].to_numpy(), one["t"].to_numpy(), one["part"][0])
        for one in pieces
        if len(one) >= shortest
    ]


def _arranged(table: Table) -> pl.DataFrame:
    """Return row, id, time t and part of all rows, sequence by sequence, the oldest row first."""
    clock: Times = times(table, table.time) if table.time else np.arange(len(table.frame))
    ids = words(table, table.sequence) if table.sequence else pl.repeat("", len(clock), eager=True)
    if ids.has_nulls():
        raise table.error(f"{table.sequence} is empty", row=int(ids.is_null().arg_true()[0]))
    rows = pl.DataFrame({"row": np.arange(len(clock)), "id": ids, "t": clock, "part": _parts(table)})
    rows = rows.sort(pl.col("row").first().over("id"), maintain_order=True)
    steps = rows.select(pl.col("t").diff().over("id").cast(pl.Float64))["t"].drop_nulls()
    if (steps <= 0).all() and (steps < 0).any():  # in all sequences the newest row comes first
        rows = rows.with_columns(pl.all().exclude("id").reverse().over("id"))
    return rows


def _parts(table: Table) -> pl.Series:
    """Return the part [N] of each row, null where it has none."""
    if table.part is None:
        return pl.Series([None] * len(table.frame), dtype=pl.String)
    parts = column(table, table.part).cast(pl.String).str.to_lowercase().replace(PART_NAMES)
    wrong = parts.is_not_null() & ~parts.is_in(PARTS)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise table.error(
            f"{table.part} is {table.frame[table.part][row]!r}; a part is one of {', '.join(PARTS)}, or empty", row=row
        )
    return parts


def _out_of_order(table: Table, row: int, before: int) -> TableError:
    assert table.time is not None
    time = table.frame[table.time]
    same = time[row] == time[before]
    relation, fix = ("the same time as", "keep one of them") if same else ("not after", "sort the file by time")
    other = "" if table.sequence else ", or name the column that tells the sequences apart as data.sequence"
    return table.error(
        f"{table.time} {time[row]} is {relation} {time[before]} in {table.place(before)}; {fix}{other}", row=row
    )


def _longest(table: Table, clock: pl.Series) -> timedelta:
    """Return the longest pause within a sequence, the table's `gap`."""
    if not clock.dtype.is_temporal():
        raise table.error("data.gap needs a time column of dates")
    try:
        longest: timedelta = pl.select(pl.lit(EPOCH).dt.offset_by(str(table.gap))).item() - EPOCH
    except PolarsError:
        raise table.error(f"data.gap is {table.gap!r}, and no duration such as '90m', '6h' or '2d'") from None
    return longest
