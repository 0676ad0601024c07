"""Whose turn it is: the calls on each session of a stream, in the order made; knows neither frames nor sockets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from carousel_client.errors import CarouselError


class Promise(Protocol):
    """What the futures of asyncio and of concurrent.futures have in common."""

    def done(self) -> bool:
        """Whether it has either."""

    def set_result(self, result: Any, /) -> None:
        """It succeeded."""

    def set_exception(self, exception: BaseException, /) -> None:
        """It failed."""


class Call:
    """Something asked on some lanes at once: sent when it has passed on each of them, and answered as a whole."""

    alone = False  # whether nothing else may be under way on its lanes

    def __init__(self, lanes: list[Lane], answer: Promise, admitted: Promise | None = None) -> None:
        self.lanes = lanes
        self.answer = answer
        self.admitted = admitted  # of a submitted call: told when it has passed, or failed before
        self.id = -1
        self.waiting = len(lanes)  # on how many lanes it has not passed
        self.sent = 0  # how often
        self.heard_before = 0  # frames from the service when it was made
        self.under_way = False  # sent on this socket, and not answered
        self.failed = False  # its caller has an error; it may still be under way
        self.over = False  # its caller has something, and it is not under way

    def passed(self) -> None:
        """It has passed on all its lanes."""

    def undo(self) -> None:
        """It has failed: what it took is free."""

    def frame(self) -> str | bytearray:
        """What to send."""
        raise NotImplementedError

    def heard(self, told: Any) -> Any:
        """What its answer, WIRE's object or frame, is to its caller."""
        raise NotImplementedError


class Lane:
    """One session on a stream, and the calls on it that are not over.

    Invariants: `calls[:passed]` have passed, and are never more than `replay`, counted from the oldest that is not
    over: so the service still keeps every answer that a lost socket may take. `ahead` is the step behind the last of
    them. Nothing passes a failed call while it is under way, and nothing shares the lane with a call that goes alone.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self.model = self.version = ""
        self.number: int | None = None  # the channel's, on this socket
        self.opened = self.created = self.made = False  # `made`: the client made the id
        self.step = 0  # the service's next one, as far as answers told
        self.ahead = 0  # that of the next call to pass
        self.replay = 1
        self.feature_count = self.output_count = 0
        self.calls: deque[Call] = deque()
        self.passed = 0
        self.failed: CarouselError | None = None  # a submitted call has failed: none is taken until `resume`
        self.ended: CarouselError | None = None  # why the channel is no more

    def may_pass(self) -> bool:
        """Whether the first call that has not passed may."""
        if self.passed == len(self.calls):
            return False
        if self.passed == 0:
            return True
        call, before = self.calls[self.passed], self.calls[self.passed - 1]
        free = not (before.waiting or before.failed or before.alone or call.alone)
        return free and self.passed < self.replay

    def behind(self, call: Call) -> list[Call]:
        """The calls that are out of order if this one fails: those up to one that goes alone, which needs no other."""
        behind: list[Call] = []
        for later in islice(self.calls, self.calls.index(call) + 1, None):
            if later.alone:
                break
            behind.append(later)
        return behind

    def clear(self) -> None:
        """Forget the oldest calls that are over."""
        while self.calls and self.calls[0].over:
            self.calls.popleft()
            self.passed = max(0, self.passed - 1)


def advance(lanes: Iterable[Lane]) -> list[Call]:
    """Let pass what may, and what may behind that → the calls that have now passed on all their lanes, in order."""
    ready: list[Call] = []
    todo = list(lanes)
    while todo:
        lane = todo.pop()
        while lane.may_pass():
            call = lane.calls[lane.passed]
            lane.passed += 1
            call.waiting -= 1
            if not call.waiting and not call.failed:
                call.passed()
                ready.append(call)
                todo.extend(other for other in call.lanes if other.passed < len(other.calls))
    return ready
