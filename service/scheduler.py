"""Which waiting work runs next; pure: no clock, no asyncio, no sessions.

Continuous batching: a batch is what is ready now, of one length class, and a tick advances each of its works by one
chunk at most. Classes (a single step; more) take turns, so a step that arrives while a long predict runs waits for one
chunk at most.
"""

from collections import deque
from itertools import accumulate, islice

from service.work import Work


class Scheduler:
    """Two queues of ready work. Invariant: a work is in at most one of them, at most once."""

    def __init__(self, *, batch: int, steps: int | None = None) -> None:
        self._batch, self._steps = batch, steps
        self._single: deque[Work] = deque()
        self._several: deque[Work] = deque()
        self._turn, self._other = self._single, self._several

    def __repr__(self) -> str:
        return f"<Scheduler {len(self._single)} single, {len(self._several)} longer>"

    def __len__(self) -> int:
        return len(self._single) + len(self._several)

    def add(self, work: Work) -> None:
        """Queue what is left of a work; call it again after each chunk that did not end it."""
        (self._single if work.steps - work.done == 1 else self._several).append(work)

    def next_batch(self) -> list[Work]:
        """Up to `batch` works of the class whose turn it is, in the order they came; empty when nothing waits.

        Of works that cannot be cut in chunks, no more than together stay within `steps` when padded to the longest.
        """
        if self._other:
            self._turn, self._other = self._other, self._turn
        count = min(len(self._turn), self._batch)
        if self._steps is not None:
            longest = list(accumulate((work.steps for work in islice(self._turn, count)), max))
            count = max([1, *(n for n, steps in enumerate(longest, 1) if n * steps <= self._steps)]) if count else 0
        return [self._turn.popleft() for _ in range(count)]
