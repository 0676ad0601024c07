"""Kept answers of one length, of all rows of a table, as arrays. Knows rows and places; not sessions or budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.sessions.memory import zeros

if TYPE_CHECKING:
    from service.models.model import Array, Index
    from service.sessions.digests import Digests


class LongAnswer(NamedTuple):
    """A kept answer of several steps, as a store has it. `back` counts the answers of its session, the newest is 1."""

    back: int
    start: int
    digest: tuple[int, int]
    outputs: Array  # [T, K]


def size_of(steps: int, width: int) -> int:
    """Bytes of an answer: its key, its start if it is of several steps, and its numbers."""
    return (16 if steps == 1 else 24) + 4 * steps * width


class Ring:
    """Answers of `steps` steps: the n-th of a row lies at place n modulo their number, `at` place · capacity + row."""

    def __init__(self, steps: int, width: int, places: int, capacity: int) -> None:
        self.steps, self._width, self._places, self._capacity = steps, width, places, capacity
        # the digest, its first word ⊻ the step after the start: it stands for a call; 0: the place is empty
        self.key = zeros((places * capacity, 2), np.uint64)
        self.output = zeros((places * capacity, steps * width), np.float32)
        self._start = zeros((places * capacity if steps > 1 else 0,), np.int64)

    def put(self, at: Index, starts: Index, digests: Digests, outputs: Array) -> None:
        """Put answers: digests [N, 2], outputs [N, T · K]."""
        keys = digests.copy()
        keys[:, 0] ^= (starts + 1).view(np.uint64)
        self.key[at], self.output[at] = keys, outputs
        if self.steps > 1:
            self._start[at] = starts

    def get(self, at: int, start: int, one: int, other: int) -> Array | None:
        """The outputs [T, K] of the answer there, if it is of the call with this start and digest."""
        if self.key[at].tolist() != [one ^ start + 1, other]:
            return None
        found: Array = self.output[at].reshape(self.steps, self._width).copy()
        return found

    def whole(self, at: int, back: int) -> LongAnswer | None:
        """An answer of several steps; None: the place is empty."""
        one, other = self.key[at].tolist()
        if not (one or other):
            return None
        start = self._start.item(at)
        return LongAnswer(back, start, (one ^ start + 1, other), self.output[at].reshape(self.steps, self._width))

    def forget(self, row: int) -> None:
        """Empty the places of a row."""
        self.key[row :: self._capacity] = 0

    def resized(self, places: int, capacity: int, answers: Index) -> Ring:
        """A ring of more rows and at most as many places, which holds the newest; `answers` were given to each row."""
        ring, width = Ring(self.steps, self._width, places, capacity), self._capacity
        arrays: list[tuple[NDArray[Any], NDArray[Any]]] = [(ring.key, self.key), (ring.output, self.output)]
        if self.steps > 1:
            arrays.append((ring._start, self._start))
        if places == self._places:
            most = int(answers[:width].max(initial=0))
            for place in {number % places for number in range(max(0, most - places), most)}:  # those that were used
                for new, old in arrays:
                    new[place * capacity : place * capacity + width] = old[place * width : (place + 1) * width]
            return ring
        rows = np.arange(width)
        for back in range(1, places + 1):
            number = answers[:width] - back
            there = (number >= 0) & self.key[number % self._places * width + rows].any(axis=1)
            number, row = number[there], rows[there]
            for new, old in arrays:
                new[number % places * capacity + row] = old[number % self._places * width + row]
        return ring
