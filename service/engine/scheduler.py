"""Which pieces of calls run next. Pure: no clock, no asyncio, no sessions.

Continuous batching: a batch is what is ready now, and a tick advances each row by one chunk at most. Single steps take
every other tick, so that a step that arrives while long calls run waits for one chunk at most. Longer pieces wait in
classes of length (up to a power of two, above the one before); a batch is of the class whose turn it is, and of the
classes nearest to it while padding all rows to the longest at most doubles the steps.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from service.engine.call import ALL, Call, Piece

if TYPE_CHECKING:
    from service.models.speed import Policy

_RIDERS = 8  # further single steps of a row in one tick; more gain nothing, and hold up others


class Ready:
    """Pieces of one class in the order they came. Invariant: `count` is the number of their rows."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self.count = 0

    def add(self, piece: Piece) -> None:
        """Queue a piece."""
        self._pieces.append(piece)
        self.count += piece.count

    def take(self, most: int) -> list[Piece]:
        """The first pieces, of at most so many rows together; the last one is cut."""
        taken: list[Piece] = []
        left = min(most, self.count)
        self.count -= left
        while left:
            piece = self._pieces.popleft()
            if piece.count > left:
                rows = np.arange(piece.count)
                self._pieces.appendleft(piece.pick(rows[left:]))
                piece = piece.pick(rows[:left])
            taken.append(piece)
            left -= piece.count
        return taken


class Scheduler:
    """Queues of ready pieces by length class. Invariant: a row of a call is in at most one of them, at most once."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._single = Ready()
        self._longer: dict[int, Ready] = {}  # by class; the class whose turn it is comes first; none is empty
        self._single_was_last = False

    def __repr__(self) -> str:
        longer = sum(ready.count for ready in self._longer.values())
        return f"<Scheduler {self._single.count} single steps, {longer} longer rows>"

    def __len__(self) -> int:
        return self._single.count + sum(ready.count for ready in self._longer.values())

    def add(self, call: Call) -> None:
        """Queue the rows of a call that did not fail while they waited."""
        piece = Piece(call, ALL, len(call.rows), 0, call.state)
        if call.errors:
            piece = piece.pick(np.array([row for row in range(piece.count) if row not in call.errors]))
        self.go_on(piece)

    def go_on(self, piece: Piece) -> None:
        """Queue a piece in the class of the steps that it has left: 1, 2, 3…4, 5…8, …"""
        length = (min(piece.left, self._policy.chunk) - 1).bit_length()
        (self._longer.setdefault(length, Ready()) if length else self._single).add(piece)

    def clear(self) -> None:
        """Forget all pieces."""
        self._single = Ready()
        self._longer.clear()

    def next_batch(self) -> list[Piece]:
        """What runs next, of each class in the order it came; empty when nothing waits.

        No more rows than the policy's batch, and longer ones of no more than about its steps, padding included.
        """
        if self._single.count and not (self._single_was_last and self._longer):
            self._single_was_last = True
            return self._single.take(self._policy.batch)
        self._single_was_last = False
        if not self._longer:
            return []
        first = next(iter(self._longer))
        count = max(1, min(self._longer[first].count, self._policy.batch, self._policy.steps >> first))
        pieces, longest, steps = self._take(first, count), first, count << first
        for length in sorted(self._longer, key=lambda length: abs(length - first)):
            top = max(longest, length)
            more = min(self._longer[length].count, min(self._policy.batch, self._policy.steps >> top) - count)
            if more > 0 and (count + more) << top <= 2 * (steps + (more << length)):
                pieces += self._take(length, more)
                longest, count, steps = top, count + more, steps + (more << length)
        return pieces

    def riders(self, batch: list[Piece]) -> list[list[Call]]:
        """For each piece, the calls that may run with it as further steps: single steps that wait for nothing but it.

        They are on the same rows, so that nothing is gathered for them; and half of the batch at least is not padding.
        """
        rows = steps = sum(piece.count for piece in batch)
        riders: list[list[Call]] = [[] for _ in batch]
        fronts: list[Call | None] = [_whole(piece) for piece in batch]
        for depth in range(2, min(_RIDERS, self._policy.chunk, self._policy.steps // rows) + 1):
            fronts = [front and _rider(front) for front in fronts]
            steps += sum(len(front.rows) for front in fronts if front is not None)
            if 2 * steps < rows * depth or not any(fronts):
                break
            for mine, front in zip(riders, fronts, strict=True):
                if front is not None:
                    mine.append(front)
        return riders

    def _take(self, length: int, count: int) -> list[Piece]:
        """The first rows of a class; the others go behind all classes."""
        ready = self._longer.pop(length)
        taken = ready.take(count)
        if ready.count:
            self._longer[length] = ready
        return taken


def _whole(piece: Piece) -> Call | None:
    """The call of a piece, if that is all of it, and it is a single step of sessions."""
    call, places = piece.call, piece.places
    whole = isinstance(places, slice) and places == ALL
    return call if whole and call.each == 1 and call.commits else None


def _rider(call: Call) -> Call | None:
    """The call behind one, if it is on the same rows and otherwise ready: single steps without a deadline."""
    if len(call.behind) != 1:
        return None
    [rider] = call.behind
    if not isinstance(rider, Call) or len(rider.before) != 1 or rider.each != 1 or rider.told or rider.errors:
        return None
    if rider.deadline is not None or not rider.kept or len(rider.rows) != len(call.rows):
        return None
    same = rider.rows is call.rows or bool((rider.rows == call.rows).all())
    return rider if same else None
