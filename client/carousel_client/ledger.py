"""All calls of a stream that are not over, and what a failure means for those behind it; knows no frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from copy import copy
from typing import Any

from carousel_client.errors import CarouselError, InvalidInput, StepConflict
from carousel_client.lanes import Call, Lane, advance


class Ledger:
    """The lanes by session, and their calls.

    Invariant: `passed` has every call that has passed and is not over, in the order in which the service is to have
    them; `outbox` has those of them that are to be sent on this socket, and stays empty until it `opens`.
    """

    def __init__(self) -> None:
        self.lanes: dict[str, Lane] = {}
        self.passed: dict[Call, None] = {}
        self.outbox: deque[Call] = deque()
        self._open = False

    def open(self) -> None:
        """What has passed may be sent."""
        self._open = True
        self.outbox.extend(self.passed)

    def shut(self) -> None:
        """The socket is gone: what has passed is to be sent again, if somebody waits for it."""
        self._open = False
        self.outbox.clear()
        for call in self.passed:
            call.under_way = False
        self.clear([call for call in self.passed if call.failed])

    def check(self, lanes: list[Lane]) -> None:
        """Whether one call may be made on these lanes. Raises what is against it."""
        if not lanes:
            raise InvalidInput("channels: none")
        model = f"{lanes[0].model}/{lanes[0].version}"
        for item, lane in enumerate(lanes):
            if lane.ended:
                raise copy(lane.ended)
            if self.lanes.get(lane.session) is not lane:
                raise InvalidInput(f"channels[{item}]: of another stream")
            if f"{lane.model}/{lane.version}" != model:
                raise InvalidInput(f"channels[{item}]: of {lane.model}/{lane.version}, channels[0] of {model}")
            if lane.failed:
                why = f"{_behind(lane, lane.failed).detail}; nothing of this one was sent"
                raise StepConflict(f"{why}: resume() the channel to go on at step {lane.ahead}", session=lane.session)
        if len(set(lanes)) < len(lanes):
            item, lane = next((item, lane) for item, lane in enumerate(lanes) if lane in lanes[:item])
            raise InvalidInput(f"channels[{item}]: session {lane.session!r} a second time")

    def add(self, call: Call) -> Call:
        """A new call, behind all others on its lanes."""
        for lane in call.lanes:
            lane.calls.append(call)
        self._advance(call.lanes)
        return call

    def settle(self, call: Call, outcome: Any) -> None:
        """A call was answered; those behind it are not concerned, even if its outcome is an error."""
        self.clear([call])
        _tell(call, outcome)

    def fail(self, call: Call, error: CarouselError) -> None:
        """A call has failed, and with it those behind it on its lanes: they would be out of order."""
        falling, fallen = [(call, error)], {}
        while falling:
            call, error = falling.pop()
            if call.failed or call.over:
                continue
            call.failed = True
            fallen[call] = error
            for lane in call.lanes:
                falling.extend((later, _behind(lane, error)) for later in lane.behind(call))
                if call.admitted is not None:
                    lane.failed = error
            call.undo()
        self.clear(fallen)
        for call, error in fallen.items():  # last: its caller may be another thread, and go on at once
            _tell(call, error)

    def fail_all(self, lane: Lane, error: CarouselError) -> None:
        """Nothing comes of the calls on a lane."""
        for call in list(lane.calls):  # each has an error of its own: it may be raised in a thread of its own
            mine = copy(error)
            mine.session = lane.session if len(call.lanes) == 1 else error.session
            self.fail(call, mine)

    def split(self, call: Call, errors: dict[Lane, CarouselError]) -> None:
        """A call has failed on some of its lanes, and goes on without them."""
        behind = [(later, _behind(lane, error)) for lane, error in errors.items() for later in lane.behind(call)]
        for lane, error in errors.items():
            lane.calls.remove(call)
            lane.passed -= 1
            if call.admitted is not None:
                lane.failed = error
        for later, error in behind:
            self.fail(later, error)
        self._tidy(errors)

    def clear(self, calls: Collection[Call]) -> None:
        """Make room for what is behind these calls, where nothing of them is under way."""
        for call in calls:
            if not call.under_way:
                call.over = True
                self.passed.pop(call, None)
        self._tidy(dict.fromkeys(lane for call in calls for lane in call.lanes))

    def _tidy(self, lanes: Collection[Lane]) -> None:
        for lane in lanes:
            lane.clear()
            if not lane.calls and not lane.opened and self.lanes.get(lane.session) is lane:
                del self.lanes[lane.session]
        self._advance(lanes)

    def _advance(self, lanes: Iterable[Lane]) -> None:
        for call in advance(lanes):
            self.passed[call] = None
            if call.admitted is not None and not call.admitted.done():
                call.admitted.set_result(None)
            if self._open:
                self.outbox.append(call)


def _tell(call: Call, outcome: Any) -> None:
    if not call.answer.done():
        (call.answer.set_exception if isinstance(outcome, CarouselError) else call.answer.set_result)(outcome)
    if call.admitted is not None and not call.admitted.done():
        call.admitted.set_result(None)


def _behind(lane: Lane, error: CarouselError) -> StepConflict:
    return StepConflict(f"a call before on session {lane.session!r} failed: {error}", session=lane.session)
