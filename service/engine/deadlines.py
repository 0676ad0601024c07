"""Deadlines of calls that have not begun: timers, and the check before a call is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from service.errors import DeadlineExceeded

if TYPE_CHECKING:
    from service.engine.call import Call, Deadline
    from service.engine.failures import Failure


class Deadlines:
    """Deadlines that may still pass; `fail` ends calls then. Invariant: each has a timer, unless it is infinite."""

    def __init__(self, clock: Callable[[], float], fail: Callable[[Iterable[Failure]], None]) -> None:
        self._clock, self._fail = clock, fail
        self._armed: set[Deadline] = set()

    def __len__(self) -> int:
        return len(self._armed)

    def add(self, call: Call, deadline: Deadline) -> None:
        """Watch the deadline of a call that was accepted, unless it is void."""
        deadline.calls[call] = None
        if not deadline.taken:
            self._arm(deadline)

    def extend(self, deadline: Deadline, other: Deadline | None) -> None:
        """Move a deadline to the later of both; None is never."""
        if not deadline.taken:
            deadline.at = max(deadline.at, float("inf") if other is None else other.at)
            self._arm(deadline)

    def done(self, call: Call, deadline: Deadline) -> None:
        """Forget a call that has ended."""
        deadline.calls.pop(call, None)
        if not deadline.calls:
            self._disarm(deadline)

    def take(self, calls: Iterable[Call]) -> None:
        """Calls are about to run: expire those whose deadline has passed; for the others it is void from now on."""
        for call in calls:
            deadline = call.deadline
            if deadline is None or deadline.taken or call.told:
                continue
            if self._clock() >= deadline.at:
                self._passed(deadline)
            else:
                deadline.taken = True
                self._disarm(deadline)

    def _passed(self, deadline: Deadline) -> None:
        """It has passed before any of its calls began."""
        if not deadline.taken:  # the clock is not asked: some loops run timers half a millisecond early
            deadline.taken = True
            rows = [(call, index) for call in deadline.calls for index in range(len(call.rows))]
            self._fail((call, index, DeadlineExceeded()) for call, index in rows)

    def _arm(self, deadline: Deadline) -> None:
        if deadline.timer is not None:
            deadline.timer.cancel()
            deadline.timer = None
        self._armed.add(deadline)
        left = max(0.0, deadline.at - self._clock())
        if left < float("inf"):
            deadline.timer = asyncio.get_running_loop().call_later(left, self._passed, deadline)

    def _disarm(self, deadline: Deadline) -> None:
        self._armed.discard(deadline)
        if deadline.timer is not None:
            deadline.timer.cancel()  # the loop would hold the arrays of its calls until then
            deadline.timer = None
