"""Which waiting works run next; pure: no clock, no asyncio, no sessions.

Continuous batching: a batch is what is ready now, and a tick advances each of its works by one chunk at most. Single
steps take every other turn, so that a step which arrives while long calls run waits for one chunk at most. Longer works
wait in classes of about one length (up to a power of two, above the one before); a batch is of the class whose turn it
is, and of those nearest to it as long as padding all to the longest at most doubles the steps. Single steps that wait
behind each other run in rounds of one tick.
"""

from collections import deque

import numpy as np

from service.models.fitness import Policy
from service.models.model import Index

_ROUNDS = 8  # more of them gain nothing any more, and hold up others
_NONE = np.zeros(0, np.int64)


class Ready:
    """Ready works in the order they came, in pieces."""

    def __init__(self) -> None:
        self._pieces: deque[Index] = deque()
        self.count = 0

    def add(self, ids: Index) -> None:
        """Queue them."""
        self._pieces.append(ids)
        self.count += len(ids)

    def take(self, most: int) -> Index:
        """The first ones."""
        taken: list[Index] = []
        left = min(most, self.count)
        self.count -= left
        while left:
            piece = self._pieces.popleft()
            if len(piece) > left:
                self._pieces.appendleft(piece[left:])
                piece = piece[:left]
            taken.append(piece)
            left -= len(piece)
        return taken[0] if len(taken) == 1 else np.concatenate(taken) if taken else _NONE


class Scheduler:
    """Queues of ready works by length class. Invariant: a work is in at most one of them, at most once."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._single = Ready()
        self._longer: dict[int, Ready] = {}  # class → works; the class whose turn it is comes first; none is empty
        self._single_was_last = False

    def __repr__(self) -> str:
        longer = sum(ready.count for ready in self._longer.values())
        return f"<Scheduler {self._single.count} single, {longer} longer>"

    def __len__(self) -> int:
        return self._single.count + sum(ready.count for ready in self._longer.values())

    def add(self, ids: Index, left: Index) -> None:
        """Queue works that have so many steps left; again after each chunk that did not end them."""
        if left.max() == 1:
            self._single.add(ids)
            return
        classes = np.frexp(np.minimum(left, self._policy.chunk) - 1)[1]  # 1 → 0, 2 → 1, 3…4 → 2, 5…8 → 3
        for length in sorted(set(classes.tolist())):
            mine = ids[classes == length]
            if length == 0:
                self._single.add(mine)
            else:
                self._longer.setdefault(length, Ready()).add(mine)

    def add_equal(self, ids: Index, left: int) -> None:
        """Queue works that all have so many steps left."""
        length = (min(left, self._policy.chunk) - 1).bit_length()  # as above
        (self._longer.setdefault(length, Ready()) if length else self._single).add(ids)

    def next_batch(self) -> Index:
        """What runs next, of each class in the order they came; empty when nothing waits.

        No more works than the policy's batch, and longer ones of no more than about its steps, padding included.
        """
        if self._single.count and not (self._single_was_last and self._longer):
            self._single_was_last = True
            return self._single.take(self._policy.batch)
        self._single_was_last = False
        if not self._longer:
            return _NONE
        first = next(iter(self._longer))
        count = max(1, min(self._longer[first].count, self._policy.batch, self._policy.steps >> first))
        pieces, longest, steps = [self._take(first, count)], first, count << first
        for length in sorted(self._longer, key=lambda length: abs(length - first)):
            top = max(longest, length)
            more = min(self._longer[length].count, min(self._policy.batch, self._policy.steps >> top) - count)
            if more > 0 and (count + more) << top <= 2 * (steps + (more << length)):
                pieces.append(self._take(length, more))
                longest, count, steps = top, count + more, steps + (more << length)
        return np.concatenate(pieces)

    def rounds(self, rows: int) -> int:
        """How many single steps of each of so many rows may run in one tick."""
        return min(_ROUNDS, self._policy.chunk, self._policy.steps // rows)

    def _take(self, length: int, count: int) -> Index:
        """The first works of a class; the others go behind all classes."""
        ready = self._longer.pop(length)
        taken = ready.take(count)
        if ready.count:
            self._longer[length] = ready
        return taken
