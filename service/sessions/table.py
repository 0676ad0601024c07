"""The state table of one model: the states of all its sessions, and columns that say how each stands.

A session is a row. It knows neither models nor clocks, and the engine is its only owner, so it has no lock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from service.sessions.memory import Rows

if TYPE_CHECKING:
    from service.models.model import Index, State

_TOGETHER = 64  # free rows whose memory is worth giving back
ZERO = 0  # the row that is always zero: a predict and a new session start from it
_COLUMNS: Mapping[str, DTypeLike] = {
    "step": np.int64,
    "ahead": np.int64,
    "last": np.int64,
    "answers": np.int64,
    "waiting": np.int32,
    "birth": np.int64,
    "deadline": np.float64,
    "ttl": np.float64,
}


def every(flags: NDArray[np.bool_]) -> bool:
    """Whether all flags are set; for few flags a third of the time of `flags.all()`."""
    return b"\0" not in flags.tobytes()


class Table:
    """Rows of float32 state, doubled on demand. Invariants: row ZERO is never written; columns of a free row are 0."""

    step: Index  # time steps applied
    ahead: Index  # time steps applied once all accepted calls are done
    last: Index  # serial of the last call or operation on the session that is not finished; 0: none
    answers: Index  # kept so far
    waiting: NDArray[np.int32]  # calls and operations accepted and not told
    birth: Index  # number of the session, of all there were
    deadline: NDArray[np.float64]  # when the idle session expires, on the clock
    ttl: NDArray[np.float64]  # seconds

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], capacity: int = 64) -> None:
        self._states = {name: Rows(shape, np.float32) for name, shape in shapes.items()}
        self._columns = {name: Rows((), kind) for name, kind in _COLUMNS.items()}
        self.state: State = {}
        self._resize(capacity)
        self._fresh = ZERO + 1  # the first row that was never used
        self._freed: list[int] = []
        self.generation = 0  # counts sessions that ended: rows remembered before have to be looked up again
        self.row_bytes = sum(4 * math.prod(shape) for shape in shapes.values())

    def __repr__(self) -> str:
        return f"<Table {self.used} rows used of {self.capacity}, {self.row_bytes} B each>"

    @property
    def used(self) -> int:
        """Rows allocated and not freed."""
        return self._fresh - 1 - len(self._freed)

    def allocate(self) -> int:
        """A row of zero state, whose columns are 0."""
        if self._freed:
            row = self._freed.pop()
            for array in self.state.values():
                array[row] = 0.0
            return row
        if self._fresh == self.capacity:
            self._resize(2 * self.capacity)
        self._fresh += 1
        return self._fresh - 1

    def reach(self, row: int) -> None:
        """Have a row of this number, whether it is allocated or not."""
        while row >= self.capacity:
            self._resize(2 * self.capacity)

    def free(self, row: int) -> None:
        """Give a row back."""
        for name in _COLUMNS:
            getattr(self, name)[row] = 0
        self._freed.append(row)
        self.generation += 1

    def give_back(self, first: int, count: int) -> None:
        """Give back the memory of the states of free rows among so many, where many lie together. 8 MB take 0.5 ms."""
        end = min(first + count, self._fresh)
        used = np.flatnonzero(self.birth[first:end]) + first
        begins, ends = np.append(max(first, ZERO + 1), used + 1), np.append(used, end)
        for place in np.flatnonzero(ends - begins >= _TOGETHER).tolist():
            for rows in self._states.values():
                rows.give_back(begins.item(place), ends.item(place))

    def close(self) -> None:
        """Give the memory back: no row is used any more, and none will be."""
        self._resize(0)

    def gather(self, rows: Index) -> State:
        """Copies of the states of rows [B] → [B, …] each."""
        return {name: array.take(rows, axis=0) for name, array in self.state.items()}

    def scatter(self, rows: Index, state: State) -> None:
        """Write states [B, …] to rows [B], which are all different and none is ZERO."""
        for name, array in self.state.items():
            array[rows] = state[name]

    def _resize(self, capacity: int) -> None:
        self.state.clear()  # an array that is held is copied
        self.state.update((name, rows.array(capacity)) for name, rows in self._states.items())
        for name, rows in self._columns.items():
            setattr(self, name, None)
            setattr(self, name, rows.array(capacity))
        self.capacity = capacity
