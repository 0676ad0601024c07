"""The replay cache: kept answers, by which a retry after a lost answer is safe. Knows rows; not sessions or models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.sessions.memory import zeros

if TYPE_CHECKING:
    from service.engine.call import Digests
    from service.models.model import Array, Index
    from service.sessions.table import Table

_OLDER_BYTES = 64 * 2**10  # of all but a session's newest answer
RECORD_BYTES = 400  # about what a long answer costs beside its numbers
_TABLE_SHARE = 2  # one part in so many of the budget may be tables of one-step answers


class Budget:
    """The bytes that kept answers of all models may take together. Invariant: `bytes` is what they take."""

    def __init__(self, *, each: int, most_bytes: int) -> None:
        self.each, self.most_bytes = each, most_bytes  # answers of a session; bytes of all
        self.bytes = 0
        self.long: OrderedDict[tuple[Answers, int, int], None] = OrderedDict()  # (cache, row, n), oldest first

    def __repr__(self) -> str:
        return f"<Budget {self.bytes} of {self.most_bytes} B>"


class LongAnswer(NamedTuple):
    """A kept answer of several steps, as a store has it. `back` counts the answers of its session, the newest is 1."""

    back: int
    start: int
    digest: tuple[int, int]
    outputs: Array  # [T, K]


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

    Answers of one step lie in a ring [places, rows]: the n-th of a row at place n modulo their number, with as many
    places as the budget allows. Longer answers are kept one by one; the oldest of all sessions is dropped first.
    """

    def __init__(self, table: Table, outputs: int, budget: Budget) -> None:
        self._table, self.width, self._budget = table, outputs, budget
        self._long: dict[int, _Long] = {}  # by row; none is empty
        self._places = self._capacity = self._ring_bytes = 0
        self._arrays(0, 0)
        self._grow()

    def __repr__(self) -> str:
        return f"<Answers {self._places} places of {self._capacity} rows, longer ones of {len(self._long)}>"

    @property
    def row_bytes(self) -> int:
        """What the one-step answers of a row take."""
        return self._places * (16 + 4 * self.width)

    def close(self) -> None:
        """Give the places back: no session is left."""
        self._budget.bytes -= self._ring_bytes
        self._ring_bytes = 0
        self._arrays(0, 0)

    def keep(self, rows: Index, starts: Index, digests: Digests, outputs: Array) -> None:
        """Keep answers of one step each: [N] different rows, digests [N, 2], outputs [N, K]."""
        if self._capacity < self._table.capacity:
            self._grow()
        if not self._places:
            self.keep_long(rows, starts, digests, list(outputs[:, None]))
            return
        numbers = self._table.answers[rows]
        at = numbers % self._places * self._capacity + rows
        keys = digests.copy()
        keys[:, 0] ^= (starts + 1).view(np.uint64)
        self._key[at], self._output[at] = keys, outputs
        self._table.answers[rows] = numbers + 1
        if self._long:
            for row in self._long.keys() & set(rows.tolist()):
                self._forget_older(row, int(self._table.answers[row]))

    def keep_one(self, row: int, start: int, digest: Digests, outputs: Array) -> None:
        """Keep an answer of one step of one row, as `keep` does with arrays: digest [2], outputs [1, K]."""
        if not self._places or row >= self._capacity or row in self._long:
            self.keep(np.array([row]), np.array([start]), digest[None], outputs)
            return
        number = self._table.answers.item(row)
        at = number % self._places * self._capacity + row
        one, other = digest.tolist()
        self._key[at], self._output[at] = (one ^ start + 1, other), outputs[0]
        self._table.answers[row] = number + 1

    def keep_long(self, rows: Index, starts: Index, digests: Digests, outputs: Sequence[Array]) -> None:
        """Keep answers [T, K] of different rows one by one; where the budget is exceeded the oldest are dropped."""
        if self._capacity < self._table.capacity:
            self._grow()
        numbers = self._table.answers[rows]
        self._table.answers[rows] = numbers + 1
        if self._places:
            self._key[numbers % self._places * self._capacity + rows] = 0  # what lay there is older than what is kept
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
        words = np.concatenate([self._key[at].view(np.uint32), self._output[at].view(np.uint32)], axis=2)
        words[~there] = 0
        long: dict[int, list[LongAnswer]] = {}
        for place, row in enumerate(rows.tolist() if self._long else ()):
            if row in self._long:
                count, kept = self._table.answers.item(row), self._long[row].items()
                long[place] = [LongAnswer(count - n, one.start, one.digest, one.outputs) for n, one in kept]
        return words, long

    def restore(self, rows: Index, words: NDArray[np.uint32], long: Mapping[int, list[LongAnswer]]) -> None:
        """Keep what `record` gave, as far as the budget allows now, for rows that have nothing."""
        if self._capacity < self._table.capacity:
            self._grow()
        count = max(words.shape[1], self._budget.each)
        self._table.answers[rows] = count
        for back in range(1, min(words.shape[1], self._places) + 1):
            at = (count - back) % self._places * self._capacity + rows
            self._key[at] = np.ascontiguousarray(words[:, back - 1, :4]).view(np.uint64)
            self._output[at] = words[:, back - 1, 4:].view(np.float32)
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
        for number in range(count - 1, max(-1, count - 1 - self._budget.each), -1):
            if kept := self._long.get(row, _Long()).get(number):
                if (kept.start, kept.steps, kept.digest) == (start, steps, asked):
                    return kept.outputs
            elif steps == 1 and count - number <= self._places and row < self._capacity:
                at = number % self._places * self._capacity + row
                if self._key[at].tolist() == [asked[0] ^ start + 1, asked[1]]:
                    found: Array = self._output[at][None].copy()
                    return found
        return None

    def newest(self, row: int) -> Array | None:
        """The last outputs [K] of the newest kept answer of a row; None: none is kept."""
        number = self._table.answers.item(row) - 1
        if kept := self._long.get(row, _Long()).get(number):
            last: Array = kept.outputs[-1]
            return last
        at = number % max(1, self._places) * self._capacity + row
        if number < 0 or not self._places or row >= self._capacity or not self._key[at].any():
            return None
        output: Array = self._output[at].copy()
        return output

    def forget(self, row: int) -> None:
        """Drop all answers of a row."""
        for number in list(self._long.get(row, ())):
            self._drop(row, number)
        if row < self._capacity:
            self._key[row :: self._capacity] = 0
        self._table.answers[row] = 0

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

    def _grow(self) -> None:
        """Follow the table; with fewer places, or none, where the budget would not hold them all."""
        capacity, record = self._table.capacity, 16 + 4 * self.width
        room = self._budget.most_bytes // _TABLE_SHARE - (self._budget.bytes - self._ring_bytes)
        places = min(self._budget.each, max(0, room // (capacity * record)))
        old: tuple[NDArray[Any], ...] = self._key, self._output
        before, width = self._places, self._capacity
        places = min(before, places) if width else places
        self._arrays(places, capacity)
        self._budget.bytes += places * capacity * record - self._ring_bytes
        self._ring_bytes = places * capacity * record
        new: tuple[NDArray[Any], ...] = self._key, self._output
        most = int(self._table.answers[:width].max(initial=0))
        for place in {n % places for n in range(max(0, most - before), most)} if places == before else ():  # as blocks
            for array, part in zip(new, old, strict=True):
                array[place * capacity : place * capacity + width] = part[place * width : (place + 1) * width]
        rows = np.arange(width)
        for back in range(1, places + 1) if places < before else ():
            number = self._table.answers[:width] - back
            there = (number >= 0) & old[0][number % before * width + rows].any(axis=1)
            number, row = number[there], rows[there]
            for array, part in zip(new, old, strict=True):
                array[number % places * capacity + row] = part[number % before * width + row]

    def _arrays(self, places: int, capacity: int) -> None:
        # the digest, its first word ⊻ the step after the start: it stands for a call; 0: the place is empty
        self._key = zeros((places * capacity, 2), np.uint64)
        self._output = zeros((places * capacity, self.width), np.float32)
        self._places, self._capacity = places, capacity
