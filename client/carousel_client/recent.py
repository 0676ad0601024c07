"""The calls of a session that were answered lately: those that a service which writes behind may lose."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_SLACK = 1.0  # seconds: answers do not arrive as regularly as they are given


class _Answered(NamedTuple, Generic[T]):
    at: float  # on the clock
    step: int
    after: int
    call: T


class Recent(Generic[T]):
    """Invariant: the calls follow one another, and were answered within the window before the last answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._calls = clock, deque[_Answered[T]]()
        self.seconds = 0.0  # of answers that the service may lose; 0: it loses none

    def add(self, step: int, after: int, call: T) -> None:
        """A call from one step to another was answered."""
        if not self.seconds:
            return
        if self._calls and self._calls[-1].after != step:
            self._calls.clear()
        now = self._clock()
        self._calls.append(_Answered(now, step, after, call))
        while self._calls[0].at < now - self.seconds - _SLACK:
            self._calls.popleft()

    def clear(self) -> None:
        """The session stands elsewhere: what was answered is no part of it."""
        self._calls.clear()

    def lost(self, step: int, expected: int | None) -> list[tuple[int, int, T]] | None:
        """The calls that lead from the step that the service has to `step`, with their steps; empty: nothing is lost.

        None: not all of them are here.
        """
        if expected is None or expected >= step:
            return []
        found = [(one.step, one.after, one.call) for one in self._calls if one.step >= expected]
        return found if found and (found[0][0], found[-1][1]) == (expected, step) else None
