"""Arrays of zeros whose memory is the system's: it is there when it is written, and can grow where it lies."""

from __future__ import annotations

import math
from mmap import MADV_DONTNEED, MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_PAGES = 2**16  # bytes; smaller arrays are not worth pages of their own


def zeros(shape: tuple[int, ...], kind: DTypeLike) -> NDArray[Any]:
    """Zeros whose memory pages are taken from the system when they are written, and given back at once when freed.

    What `np.zeros` returns may lie in memory that was used before, and is then written as a whole.
    """
    size = math.prod(shape) * np.dtype(kind).itemsize
    return np.zeros(shape, kind) if size < _PAGES else np.frombuffer(_pages(size), kind).reshape(shape)


class Rows:
    """Zeros [rows, …] that grow without a copy: the system maps more pages. 100 MB twice as large take 50 µs."""

    def __init__(self, shape: tuple[int, ...], kind: DTypeLike) -> None:
        self._shape, self._kind = shape, np.dtype(kind)
        self._memory = _pages(1)

    def array(self, rows: int) -> NDArray[Any]:
        """All of them, from now on so many. What was returned before is to be dropped first: else it is copied."""
        count = rows * math.prod(self._shape)
        size = max(1, count * self._kind.itemsize)
        try:
            self._memory.resize(size)
        except (BufferError, SystemError):  # it is read still, or this system cannot
            before, self._memory = self._memory, _pages(size)
            least = min(size, len(before))
            self._memory[:least] = before[:least]
        return np.frombuffer(self._memory, self._kind, count).reshape(rows, *self._shape)

    def give_back(self, first: int, last: int) -> None:
        """Give back the memory of rows from `first` to `last`, whose values are not needed: they are zeros then."""
        size = self._kind.itemsize * math.prod(self._shape)
        begin, end = -(-first * size // PAGESIZE) * PAGESIZE, last * size // PAGESIZE * PAGESIZE
        if begin < end:
            self._memory.madvise(MADV_DONTNEED, begin, end - begin)


def _pages(size: int) -> mmap:
    return mmap(-1, size, MAP_PRIVATE | MAP_ANONYMOUS)
