"""The state table of one model: arrays [capacity, …] in which every session and every running call has a row, and
beside the state the columns that say how a session stands.

It knows neither models nor time. One owner (the engine) reads and writes it, so it has no lock.
"""

import math
from collections.abc import Mapping, Sequence
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from service.models.model import Array, Index, State

Few = NDArray[np.int32]


def zeros(shape: tuple[int, ...], kind: DTypeLike) -> NDArray[Any]:
    """Zeros of which the system holds only the pages that are written, and takes them back at once when they go.

    What `np.zeros` gives may lie in memory that was used before, and is then written as a whole.
    """
    size = math.prod(shape) * np.dtype(kind).itemsize
    if size < _PAGES:
        return np.zeros(shape, kind)
    return np.frombuffer(mmap(-1, size), kind).reshape(shape)


def every(flags: NDArray[np.bool_]) -> bool:
    """Whether all of them are set: of few ones NumPy's own way takes thrice the time."""
    return b"\0" not in flags.tobytes()


def finite(array: Array) -> bool:
    """Whether all of it is finite."""
    return every(np.isfinite(array))


_PAGES = 2**16  # bytes; less is not worth pages of its own
ZERO = 0  # the row that is always zero: what a stateless predict and a new session start from


class Rows:
    """Rows of float32 state, grown on demand by doubling. Invariants: the state of row ZERO is never written; the
    columns of a row that nobody has are 0.
    """

    step: Index  # time steps applied
    ahead: Index  # those applied once all accepted work is done
    waiting: Few  # works and turns accepted and not done
    head: Index  # the work that is ready or runs; the others of its session are chained behind it
    tail: Few
    answers: Index  # kept so far
    deadline: NDArray[np.float64]  # on the clock, of the idle session
    ttl: NDArray[np.float64]  # seconds
    birth: Few  # which of all sessions has it

    _WHOLE, _FEW, _SECONDS = ("step", "ahead", "head", "answers"), ("waiting", "tail", "birth"), ("deadline", "ttl")
    _COLUMNS = (*_WHOLE, *_FEW, *_SECONDS)

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], capacity: int = 64) -> None:
        self.state: State = {name: np.zeros((0, *shape), np.float32) for name, shape in shapes.items()}
        for names, kind in ((self._WHOLE, np.int64), (self._FEW, np.int32), (self._SECONDS, np.float64)):
            for name in names:
                setattr(self, name, np.zeros(0, kind))
        self.capacity = 0
        self._grow(capacity)
        self._fresh = ZERO + 1  # the first row that nobody ever had: its pages are not touched yet
        self._freed: list[int] = []
        self.losses = 0  # of sessions, begun or done: whoever remembers rows has to look again
        self.row_bytes = sum(4 * int(np.prod(shape)) for shape in shapes.values())

    def __repr__(self) -> str:
        return f"<Rows {self.used} used of {self.capacity}, {self.row_bytes} B each>"

    @property
    def used(self) -> int:
        """Rows handed out and not freed."""
        return self._fresh - 1 - len(self._freed)

    def allocate(self) -> int:
        """A row of one's own, all zero."""
        if self._freed:
            row = self._freed.pop()
            for array in self.state.values():
                array[row] = 0.0
            return row
        if self._fresh == self.capacity:
            self._grow(2 * self.capacity)
        self._fresh += 1
        return self._fresh - 1

    def free(self, row: int) -> None:
        """Give a row back; its state is overwritten when it is allocated again."""
        for name in self._COLUMNS:
            getattr(self, name)[row] = 0
        self._freed.append(row)

    def gather(self, rows: Index | Sequence[int]) -> State:
        """Copies of the rows, [B, …] each."""
        index = np.asarray(rows)
        return {name: array.take(index, axis=0) for name, array in self.state.items()}

    def scatter(self, rows: Index | Sequence[int], state: Mapping[str, Array]) -> None:
        """Write state [B, …] to the rows, which are all different and none is ZERO."""
        index = np.asarray(rows)
        for name, array in self.state.items():
            array[index] = state[name]

    def _grow(self, capacity: int) -> None:
        def wider(array: NDArray[np.generic]) -> NDArray[np.generic]:
            grown = zeros((capacity, *array.shape[1:]), array.dtype)
            grown[: self.capacity] = array
            return grown

        for name, array in self.state.items():
            self.state[name] = wider(array)  # type: ignore[assignment]  # of the same type
        for column in self._COLUMNS:
            setattr(self, column, wider(getattr(self, column)))
        self.capacity = capacity
