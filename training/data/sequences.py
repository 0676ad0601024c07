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
    for id, every in _oldest_first(_groups(table), clock):
        index = _without_repeats(every, clock) if table.repeats == "first" else every
        own = clock[index]
        falls = np.flatnonzero(own[1:] <= own[:-1])
        if table.time and len(falls):
            raise _out_of_order(table, int(index[falls[0] + 1]), int(index[falls[0]]))
        if table.shortest is not None and len(index) < table.shortest:
            continue
        if len(index) < shortest:
            what, fix = (f"sequence {id!r}", "remove it, or ") if table.sequence else ("the table", "")
            problem = f"{what} has {len(index)} rows, and this horizon needs {shortest}: {fix}lower the horizon"
            raise table.error(problem, row=int(index[0]))
        for cut in _cuts(table, index, own):
            if cut.stop - cut.start >= shortest:
                rows.append(Rows(id, index[cut], own[cut], _part(table, int(index[cut.start]))))
    return rows


def _oldest_first(groups: list[tuple[str, Integers]], clock: Times) -> list[tuple[str, Integers]]:
    """Turn a table round whose sequences all go from the newest row to the oldest."""
    steps = [np.diff(clock[index]) for _, index in groups]
    zero = clock[:1] - clock[:1]
    falls = all((one <= zero).all() for one in steps) and any((one < zero).any() for one in steps)
    return [(id, index[::-1]) for id, index in groups] if falls else groups


def _without_repeats(index: Integers, clock: Times) -> Integers:
    """Return the rows whose time is after those of all rows before them."""
    latest = np.maximum.accumulate(clock[index])
    later = np.concatenate([[True], clock[index][1:] > latest[:-1]])
    return np.compress(later, index)


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


PART_NAMES = {"train": "training", "val": "validation", "valid": "validation", "dev": "validation"}


def _part(table: Table, row: int) -> str | None:
    part: str | None = None if table.part is None else column(table, table.part)[row]
    part = PART_NAMES.get(part, part) if part else part
    if part not in (None, *PARTS):
        raise table.error(f"{table.part} is {part!r}; a part is one of {', '.join(PARTS)}, or empty", row=row)
    return part


def _cuts(table: Table, index: Integers, own: NDArray[Any]) -> list[slice]:
    """Cut times [T] where the pause is longer than the table's gap, and where the part changes."""
    edges = np.zeros(len(own) - 1, np.bool_)
    if table.part is not None:
        parts = column(table, table.part).cast(pl.String).fill_null("").to_numpy()[index]
        edges |= parts[1:] != parts[:-1]
    if table.gap is not None:
        edges |= np.diff(own) > _longest(table, own, table.gap)
    return [slice(start, stop) for start, stop in pairwise([0, *(np.flatnonzero(edges) + 1).tolist(), len(own)])]


def _longest(table: Table, own: NDArray[Any], gap: str) -> np.timedelta64:
    """Return the table's gap as a duration."""
    if not np.issubdtype(own.dtype, np.datetime64):
        raise table.error("data.gap needs a time column of dates")
    try:
        longest = pl.select(pl.lit(datetime(1970, 1, 1)).dt.offset_by(gap)).item() - datetime(1970, 1, 1)
    except PolarsError:
        raise table.error(f"data.gap is {gap!r}, and no duration such as '90m', '6h' or '2d'") from None
    return np.timedelta64(longest)
