"""Which rows of a table make a sequence. Knows neither features nor parts."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from training.columns import Times, column, times, words
from training.errors import TableError
from training.sources import Table

PARTS = ("training", "validation", "test")  # as a table's own column of parts may say


@dataclass(frozen=True)
class Rows:
    """One sequence: its rows of the table in order, and their times (row numbers where the table has none)."""

    id: str
    index: NDArray[np.int64]  # [T]
    times: NDArray[Any]  # [T] datetime64[us] or numbers, rising
    part: str | None = None  # to which the data themselves give it

    def __len__(self) -> int:
        return len(self.index)


def sequences(table: Table, shortest: int) -> list[Rows]:
    """Tell the sequences of a table apart, in order of appearance; each must have `shortest` rows at least.

    A piece that is too short because a gap in time cut it off is left out.
    """
    clock: Times = times(table, table.time) if table.time else np.arange(len(table.frame))
    rows = []
    for id, index in _groups(table):
        own = clock[index]
        falls = np.flatnonzero(own[1:] <= own[:-1])
        if table.time and len(falls):
            raise _out_of_order(table, index[falls[0] + 1], index[falls[0]])
        if len(index) < shortest:
            what, fix = (f"sequence {id!r}", "remove it, or ") if table.sequence else ("the table", "")
            problem = f"{what} has {len(index)} rows, and this horizon needs {shortest}: {fix}lower the horizon"
            raise table.error(problem, row=int(index[0]))
        part = _part(table, int(index[0]))
        rows += [Rows(id, index[cut], own[cut], part) for cut in _cuts(table, own) if cut.stop - cut.start >= shortest]
    return rows


def _groups(table: Table) -> list[tuple[str, NDArray[np.int64]]]:
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
    same = time[int(row)] == time[int(before)]
    fix = "sort the file by time" if not same else "keep one of them"
    other = "" if table.sequence else ", or name the column that tells the sequences apart as data.sequence"
    word = "the same time as" if same else "not after"
    return table.error(
        f"{table.time} {time[int(row)]} is {word} {time[int(before)]} in {table.place(int(before))}; {fix}{other}",
        row=int(row),
    )


def _part(table: Table, row: int) -> str | None:
    if table.part is None:
        return None
    part = column(table, table.part)[row]
    if part is not None and part not in PARTS:
        raise table.error(f"{table.part} is {part!r}; a part is one of {', '.join(PARTS)}, or empty", row=row)
    return str(part) if part is not None else None


def _cuts(table: Table, own: NDArray[Any]) -> list[slice]:
    """Cut where the pause is longer than the table's gap."""
    if table.gap is None:
        return [slice(0, len(own))]
    if not np.issubdtype(own.dtype, np.datetime64):
        raise table.error("data.gap needs a time column of dates")
    try:
        longest = pl.select(pl.lit(datetime(1970, 1, 1)).dt.offset_by(table.gap)).item() - datetime(1970, 1, 1)
    except PolarsError:
        raise table.error(f"data.gap is {table.gap!r}, and no duration such as '90m', '6h' or '2d'") from None
    edges = np.flatnonzero(np.diff(own) > np.timedelta64(longest)) + 1
    bounds = [0, *edges.tolist(), len(own)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]
