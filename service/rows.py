"""The state table of one model: arrays [capacity, …] in which every session and every running call has a row.

It knows neither sessions nor time. One owner (the engine) reads and writes it, so it has no lock.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
State = dict[str, Array]

ZERO = 0  # the row that is always zero: what a stateless predict and a new session start from


class Rows:
    """Rows of float32 state, grown on demand by doubling. Invariant: row ZERO is never written."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], capacity: int = 64) -> None:
        self._table: State = {name: np.zeros((capacity, *shape), np.float32) for name, shape in shapes.items()}
        self._capacity = capacity
        self._free = list(range(capacity - 1, ZERO, -1))
        self.row_bytes = sum(4 * int(np.prod(shape)) for shape in shapes.values())

    def __repr__(self) -> str:
        return f"<Rows {self.used} used of {self._capacity}, {self.row_bytes} B each>"

    @property
    def used(self) -> int:
        """Rows handed out and not freed."""
        return self._capacity - 1 - len(self._free)

    def allocate(self) -> int:
        """A row of one's own, all zero."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        for array in self._table.values():
            array[row] = 0.0
        return row

    def free(self, row: int) -> None:
        """Give a row back; its content is overwritten when it is allocated again."""
        self._free.append(row)

    def gather(self, rows: Sequence[int]) -> State:
        """Copies of the rows, [B, …] each."""
        index = np.asarray(rows)
        return {name: array[index] for name, array in self._table.items()}

    def scatter(self, rows: Sequence[int], state: Mapping[str, Array]) -> None:
        """Write state [B, …] to the rows, which are all different and none is ZERO."""
        index = np.asarray(rows)
        for name, array in self._table.items():
            array[index] = state[name]

    def _grow(self) -> None:
        old, self._capacity = self._capacity, 2 * self._capacity
        for name, array in self._table.items():
            wider = np.zeros((self._capacity, *array.shape[1:]), np.float32)
            wider[:old] = array
            self._table[name] = wider
        self._free.extend(range(self._capacity - 1, old - 1, -1))
