"""Group the rows of a table into sequences: by the sequence column, and by gaps in time."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from training.arrays import Integers
from training.data.columns import Times, column, times, words
from training.data.sources import Table
from training.errors import TableError

PARTS = ("training", "validation", "test")  # valid values of a table's part column


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
    clock: Times = times(table, table.time) if table.time else np.arange(len(table.frame))
    rows = []
    for id, index in _groups(table):
        own = clock[index]
        falls = np.flatnonzero(own[1:] <= own[:-1])
        if table.time and len(falls):
            raise _out_of_order(table, int(index[falls[0] + 1]), int(index[falls[0]]))
        if len(index) < shortest:
            what, fix = (f"sequence {id!r}", "remove it, or ") if table.sequence else ("the table", "")
            problem = f"{what} has {len(index)} rows, and this horizon needs {shortest}: {fix}lower the horizon"
            raise table.error(problem, row=int(index[0]))
        part = _part(table, int(index[0]))
        rows += [Rows(id, index[cut], own[cut], part) for cut in _cuts(table, own) if cut.stop - cut.start >= shortest]
    return rows


def _groups(table: Table) -> list[tuple[str, Integers]]:
    if table.sequence is None:
        return [("", np.arange(len(table.frame)))]
    ids = words(table, table.sequence)
    if ids.has_nulls():
        raise table.error(f"{table.sequence} is empty", row=int(ids.is_null().arg_true()[0]))
    grouped = pl.DataFrame({"id": ids}).with_row_index("row").group_by("id", maintain_order=True).agg("row")
    return [(id, np.array(index, np.int64)) for id, index in grouped.iter_rows()]


def _out_of_order(table: Table, row: int, before: int) -> TableError:
    assert table.time is not None
    time = table.frame[table.time]
    same = time[row] == time[before]
    relation, fix = ("the same time as", "keep one of them") if same else ("not after", "sort the file by time")
    other = "" if table.sequence else ", or name the column that tells the sequences apart as data.sequence"
    return table.error(
        f"{table.time} {time[row]} is {relation} {time[before]} in {table.place(before)}; {fix}{other}", row=row
    )


def _part(table: Table, row: int) -> str | None:
    part: str | None = None if table.part is None else column(table, table.part)[row]
    if part not in (None, *PARTS):
        raise table.error(f"{table.part} is {part!r}; a part is one of {', '.join(PARTS)}, or empty", row=row)
    return part


def _cuts(table: Table, own: NDArray[Any]) -> list[slice]:
    """Cut times [T] where the pause is longer than the table's gap."""
    if table.gap is None:
        return [slice(0, len(own))]
    if not np.issubdtype(own.dtype, np.datetime64):
        raise table.error("data.gap needs a time column of dates")
    try:
        longest = pl.select(pl.lit(datetime(1970, 1, 1)).dt.offset_by(table.gap)).item() - datetime(1970, 1, 1)
    except PolarsError:
        raise table.error(f"data.gap is {table.gap!r}, and no duration such as '90m', '6h' or '2d'") from None
    edges = np.flatnonzero(np.diff(own) > np.timedelta64(longest)) + 1
    return [slice(start, stop) for start, stop in pairwise([0, *edges.tolist(), len(own)])]
