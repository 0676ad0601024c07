"""The replay cache: kept answers, by which a retry after a lost answer is safe. Knows rows; not sessions or models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.sessions.ring import LongAnswer, Ring, size_of

if TYPE_CHECKING:
    from service.models.model import Array, Index
    from service.sessions.budget import Budget
    from service.sessions.digests import Digests
    from service.sessions.table import Table

_OLDER_BYTES = 64 * 2**10  # of all but a session's newest answer
RECORD_BYTES = 400  # about what a long answer costs beside its numbers
_RING_SHARE = 2  # one part in so many of the budget may be rings
_LENGTHS = 4  # of answers that have rings
_TOGETHER = 4  # answers of one length that came together are worth a ring


class _Kept(NamedTuple):
    start: int
    steps: int
    digest: tuple[int, int]
    outputs: Array  # [T, K]
    size: int  # bytes of them


class _Long(dict[int, _Kept]):
    """The long answers of a row by n, oldest first."""

    size = 0  # bytes of all of them


class Answers:
    """The newest answers of each row of one model; `table.answers` counts them.

    Answers of one step, and those of some other lengths of which many come together, lie in rings, with as many places
    as the budget allows. Others are kept one by one; the oldest of all sessions is dropped first.
    """

    def __init__(self, table: Table, outputs: int, budget: Budget) -> None:
        self._table, self.width, self._budget = table, outputs, budget
        self._long: dict[int, _Long] = {}  # by row; none is empty
        self._places = self._capacity = self._ring_bytes = 0
        self._rings = {1: Ring(1, outputs, 0, 0)}  # by steps
        self._grow()

    def __repr__(self) -> str:
        rings = ", ".join(map(str, self._rings))
        return f"<Answers of {rings} steps in {self._places} places of {self._capacity} rows, {len(self._long)} others>"

    @property
    def row_bytes(self) -> int:
        """What the rings take for a row."""
        return self._places * self._record_bytes()

    def close(self) -> None:
        """Give the places back: no session is left."""
        self._budget.bytes -= self._ring_bytes
        self._places = self._capacity = self._ring_bytes = 0
        self._rings = {1: Ring(1, self.width, 0, 0)}

    def keep(self, rows: Index, starts: Index, digests: Digests, outputs: Array, steps: int = 1) -> None:
        """Keep answers of so many steps each: [N] different rows, digests [N, 2], outputs [N, steps · K]."""
        if self._capacity < self._table.capacity:
            self._grow()
        ring = self._rings.get(steps) or self._new_ring(steps, len(rows))
        if ring is None or not self._places:
            self.keep_long(rows, starts, digests, list(outputs.reshape(len(rows), steps, -1)))
            return
        numbers = self._table.answers[rows]
        at = numbers % self._places * self._capacity + rows
        ring.put(at, starts, digests, outputs)
        self._empty(at, besides=ring)
        self._table.answers[rows] = numbers + 1
        if self._long:
            for row in self._long.keys() & set(rows.tolist()):
                self._forget_older(row, int(self._table.answers[row]))

    def keep_one(self, row: int, start: int, digest: Digests, outputs: Array) -> None:
        """Keep an answer of one step of one row, as `keep` does with arrays: digest [2], outputs [1, K]."""
        if not self._places or row >= self._capacity or row in self._long or len(self._rings) > 1:
            self.keep(np.array([row]), np.array([start]), digest[None], outputs)
            return
        ring, number = self._rings[1], self._table.answers.item(row)
        at = number % self._places * self._capacity + row
        one, other = digest.tolist()
        ring.key[at], ring.output[at] = (one ^ start + 1, other), outputs[0]
        self._table.answers[row] = number + 1

    def keep_long(self, rows: Index, starts: Index, digests: Digests, outputs: Sequence[Array]) -> None:
        """Keep answers [T, K] of different rows one by one; where the budget is exceeded the oldest are dropped."""
        if self._capacity < self._table.capacity:
            self._grow()
        numbers = self._table.answers[rows]
        self._table.answers[rows] = numbers + 1
        if self._places:
            self._empty(numbers % self._places * self._capacity + rows)
        told = zip(rows.tolist(), numbers.tolist(), starts.tolist(), digests.tolist(), outputs, strict=True)
        for row, number, start, (one, other), answer in told:
            self._put(row, number, _Kept(start, len(answer), (one, other), answer.copy(), answer.nbytes))
            self._forget_older(row, number + 1)
        while self._budget.bytes > self._budget.most_bytes and self._budget.long:
            owner, *oldest = next(iter(self._budget.long))
            owner._drop(*oldest)

    def record(self, rows: Index) -> tuple[NDArray[np.uint32], dict[int, list[LongAnswer]]]:
        """What is kept of rows [N]: one-step answers as words [N, P, 4 + K], newest first; longer ones by place."""
        numbers = self._table.answers[rows][:, None] - np.arange(1, self._places + 1)
        there = (numbers >= 0) & (rows < self._capacity)[:, None]
        at = np.where(there, numbers % max(1, self._places) * self._capacity + rows[:, None], 0)
        ring = self._rings[1]
        words = np.concatenate([ring.key[at].view(np.uint32), ring.output[at].view(np.uint32)], axis=2)
        words[~there] = 0
        if not self._long and len(self._rings) == 1:
            return words, {}
        each = zip(rows.tolist(), at.tolist(), there.tolist(), strict=True)
        long = [[*self._long_of(row), *self._ringed(places, flags)] for row, places, flags in each]
        return words, {place: answers for place, answers in enumerate(long) if answers}

    def _long_of(self, row: int) -> list[LongAnswer]:
        count, kept = self._table.answers.item(row), self._long.get(row, _Long()).items()
        return [LongAnswer(count - n, one.start, one.digest, one.outputs) for n, one in kept]

    def _ringed(self, places: list[int], there: list[bool]) -> Iterator[LongAnswer]:
        """The answers of several steps that lie at places of the rings, from the newest."""
        for back, (at, flag) in enumerate(zip(places, there, strict=True), 1):
            for ring in self._rings.values() if flag else ():
                if ring.steps > 1 and (found := ring.whole(at, back)):
                    yield found

    def restore(self, rows: Index, words: NDArray[np.uint32], long: Mapping[int, list[LongAnswer]]) -> None:
        """Keep what `record` gave, as far as the budget allows now, for rows that have nothing."""
        if self._capacity < self._table.capacity:
            self._grow()
        count = max(words.shape[1], self._budget.each)
        self._table.answers[rows] = count
        ring = self._rings[1]
        for back in range(1, min(words.shape[1], self._places) + 1):
            at = (count - back) % self._places * self._capacity + rows
            ring.key[at] = np.ascontiguousarray(words[:, back - 1, :4]).view(np.uint64)
            ring.output[at] = words[:, back - 1, 4:].view(np.float32)
        for place, answers in long.items():
            for one in sorted(answers, key=lambda one: -one.back):
                if one.back <= self._budget.each:
                    kept = _Kept(one.start, len(one.outputs), one.digest, one.outputs, one.outputs.nbytes)
                    self._put(rows.item(place), count - one.back, kept)

    def _put(self, row: int, number: int, kept: _Kept) -> None:
        mine = self._long.get(row)
        if mine is None:
            mine = self._long[row] = _Long()
        mine[number] = kept
        mine.size += kept.size
        self._budget.long[self, row, number] = None
        self._budget.bytes += RECORD_BYTES + kept.size

    def find(self, row: int, start: int, steps: int, digest: Digests) -> Array | None:
        """The kept outputs [T, K] of a call, if it is one of the newest of its row."""
        count, asked = int(self._table.answers[row]), (int(digest[0]), int(digest[1]))
        ring = self._rings.get(steps) if row < self._capacity else None
        for number in range(count - 1, max(-1, count - 1 - self._budget.each), -1):
            if kept := self._long.get(row, _Long()).get(number):
                if (kept.start, kept.steps, kept.digest) == (start, steps, asked):
                    return kept.outputs
            elif ring is not None and count - number <= self._places:
                found = ring.get(number % self._places * self._capacity + row, start, *asked)
                if found is not None:
                    return found
        return None

    def newest(self, row: int) -> Array | None:
        """The last outputs [K] of the newest kept answer of a row; None: none is kept."""
        number = self._table.answers.item(row) - 1
        if kept := self._long.get(row, _Long()).get(number):
            last: Array = kept.outputs[-1]
            return last
        if number < 0 or not self._places or row >= self._capacity:
            return None
        at = number % self._places * self._capacity + row
        rings = [ring for ring in self._rings.values() if ring.key[at].any()]
        output: Array | None = rings[0].output[at, -self.width :].copy() if rings else None
        return output

    def forget(self, row: int) -> None:
        """Drop all answers of a row."""
        for number in list(self._long.get(row, ())):
            self._drop(row, number)
        kept = row < self._capacity and self._table.answers.item(row)  # else its pages may never have been written
        for ring in self._rings.values() if kept else ():
            ring.forget(row)
        self._table.answers[row] = 0

    def _empty(self, at: Index, besides: Ring | None = None) -> None:
        """Empty places: what lies there is older than what is kept now."""
        for ring in self._rings.values():
            if ring is not besides:
                ring.key[at] = 0

    def _forget_older(self, row: int, count: int) -> None:
        """Keep the number and the bytes of a row's older answers within their bounds; `count` were given so far."""
        mine = self._long[row]
        newest = mine.get(count - 1)
        most = _OLDER_BYTES + (newest.size if newest else 0)
        while (oldest := next(iter(mine), count)) < count - self._budget.each or (
            mine.size > most and oldest < count - 1
        ):
            self._drop(row, oldest)

    def _drop(self, row: int, number: int) -> None:
        mine = self._long[row]
        size = mine.pop(number).size
        mine.size -= size
        del self._budget.long[self, row, number]
        self._budget.bytes -= RECORD_BYTES + size
        if not mine:
            del self._long[row]

    def _new_ring(self, steps: int, count: int) -> Ring | None:
        """A ring for answers of this length, if `count` of them are worth it and the budget has room for it."""
        size = self._places * size_of(steps, self.width)
        if count < _TOGETHER or len(self._rings) == _LENGTHS or not 0 < size <= _OLDER_BYTES:
            return None
        if size * self._capacity > self._room() - self._ring_bytes:
            return None
        ring = self._rings[steps] = Ring(steps, self.width, self._places, self._capacity)
        self._count_rings()
        return ring

    def _grow(self) -> None:
        """Follow the table; with fewer places, or none, where the budget would not hold them all."""
        capacity, each = self._table.capacity, self._budget.each
        while not (fits := self._room() // (capacity * self._record_bytes())) and len(self._rings) > 1:
            self._rings.popitem()
        places = min(self._places if self._capacity else each, max(0, fits))
        self._rings = {one: ring.resized(places, capacity, self._table.answers) for one, ring in self._rings.items()}
        self._places, self._capacity = places, capacity
        self._count_rings()

    def _room(self) -> int:
        """Bytes that the rings may take."""
        return self._budget.most_bytes // _RING_SHARE - (self._budget.bytes - self._ring_bytes)

    def _record_bytes(self) -> int:
        """Bytes of a place of a row in all rings."""
        return sum(size_of(steps, self.width) for steps in self._rings)

    def _count_rings(self) -> None:
        size = self._places * self._capacity * self._record_bytes()
        self._budget.bytes += size - self._ring_bytes
        self._ring_bytes = size
