"""One stream's side of WIRE §2 without its I/O: what to send next, whose answer came, what a lost socket means.

Whoever drives it sends what `next_frame` gives, hands over what comes, and tells of every socket's begin and end. It
keeps every call until it is over: after a lost socket the sessions are opened again and the unanswered calls sent
again under the same steps, so that the service applies each of them once and answers it like the first time.
"""

from __future__ import annotations

import json
from collections import deque
from concurrent.futures import Future
from copy import copy
from typing import Any

from carousel_client.errors import CarouselError, ForeignAnswer, PayloadTooLarge, problem_error
from carousel_client.exchange import Policy
from carousel_client.frames import Inputs, StepFrame, frame_id
from carousel_client.lanes import Call, Lane, Promise
from carousel_client.ledger import Ledger
from carousel_client.stream_calls import Close, Open, Reopen, Step

TOO_BIG = 1009  # the close code for a frame over the service's limit


class Conversation:
    """The calls of one stream, over one socket after the other.

    Invariant: `_sent` has, by id, what was sent on this socket and not answered. Until all `_reopening` sessions are
    open on it, nothing else is sent.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._ledger = Ledger()
        self._sent: dict[int, Call] = {}
        self._reopening: deque[Reopen] = deque()  # still to be sent
        self._unopened = 0  # sessions
        self._last_id = 0
        self._heard = 0  # frames
        self._fruitless = 0  # sockets in a row that brought no answer

    def open(self, session: str, model: str, version: str | None, ttl_seconds: float | None, answer: Promise) -> Call:
        """Open a session; the answer is its lane."""
        asked = {"model": model, "session": session, "version": version, "ttl_seconds": ttl_seconds}
        call = Open(self._ledger.lanes.get(session) or Lane(session), asked, answer)
        self._ledger.lanes[session] = call.lane
        return self._add(call)

    def step(self, lanes: list[Lane], inputs: Inputs, answer: Promise, admitted: Promise | None = None) -> Call:
        """Advance sessions. With `admitted`, a failure stops them until `resume`."""
        self._ledger.check(lanes)
        request = StepFrame.of(inputs, len(lanes), lanes[0].feature_count)
        return self._add(Step(lanes, request, answer, admitted))

    def close(self, lane: Lane, answer: Promise, *, end: bool) -> Call:
        """Give a channel up once the calls on it are over."""
        lane.failed = None
        self._ledger.check([lane])
        return self._add(Close(lane, answer, end=end))

    def made(self) -> list[Lane]:
        """The open sessions whose ids the client made."""
        return [lane for lane in self._ledger.lanes.values() if lane.made and not lane.ended]

    @property
    def wants(self) -> bool:
        """Whether a socket is needed."""
        return bool(self._ledger.passed)

    def next_frame(self) -> str | bytearray | None:
        """What to send now, if anything."""
        while queue := self._reopening or self._ledger.outbox:
            call = queue.popleft()
            if not call.failed:
                self._last_id = (self._last_id + 1) % 2**32
                call.id = self._last_id
                call.sent += 1
                call.under_way = True
                self._sent[call.id] = call
                return call.frame()
        return None

    def connected(self) -> None:
        """A new socket is open."""
        self._reopening.extend(Reopen(lane, Future()) for lane in self._ledger.lanes.values() if lane.opened)
        self._unopened = len(self._reopening)
        if not self._unopened:
            self._ledger.open()

    def received(self, message: str | bytes) -> None:
        """Something came. Raises ForeignAnswer if it is nothing that Carousel sends."""
        self._heard += 1
        try:
            told: Any = json.loads(message) if isinstance(message, str) else message
            call = self._sent.pop(told["id"] if isinstance(message, str) else frame_id(told), None)
        except (KeyError, TypeError, ValueError) as error:
            raise ForeignAnswer(f"a frame that no Carousel sends: {str(message)[:80]}") from error
        if call is None:
            return
        call.under_way = False
        if call.failed:  # its caller has stopped waiting
            self._ledger.clear([call])
            return
        try:
            self._answered(call, told)
        except (KeyError, TypeError, ValueError) as error:
            raise ForeignAnswer(f"an answer that no Carousel sends: {str(told)[:80]}: {error!r}") from error

    def lost(self, error: CarouselError, *, code: int | None = None, again: bool = True) -> float:
        """The socket is gone, or was not to be had; seconds to wait before the next. Not `again`: all calls fail."""
        self._sent.clear()
        self._reopening.clear()
        self._ledger.shut()
        if code == TOO_BIG:
            self._refuse_largest()
        for call in list(self._ledger.passed):
            if call.sent > self._policy.retries:
                self._ledger.fail(call, copy(error))
        self._fruitless += 1
        if not again or self._fruitless > self._policy.retries:
            self._fruitless = 0
            for lane in list(self._ledger.lanes.values()):
                self._ledger.fail_all(lane, error)
        return self._policy.pause(max(self._fruitless - 1, 0), error)

    def abandon(self, call: Call, error: CarouselError) -> bool:
        """Its caller waits no longer → whether the socket may be dead: nothing has come since the call was made."""
        self._ledger.fail(call, error)
        return call.heard_before == self._heard

    def _add(self, call: Call) -> Call:
        call.heard_before = self._heard
        return self._ledger.add(call)

    def _answered(self, call: Call, told: Any) -> None:
        if isinstance(call, Reopen):
            self._reopened(call, told)
            return
        self._fruitless = 0
        if isinstance(told, dict) and "error" in told:
            self._refused(call, told)
        else:
            self._ledger.settle(call, call.heard(told))

    def _refused(self, call: Call, told: dict[str, Any]) -> None:
        lanes = {lane.number: lane for lane in call.lanes}
        failed: list[dict[str, Any]] = told.get("failed", [])
        if isinstance(call, Step) and failed and len(lanes) > 1:
            problems = {lanes[item["channel"]]: item["error"] for item in failed}
            self._split(call, {lane: problem_error(one, session=lane.session) for lane, one in problems.items()})
            return
        lane = call.lanes[0] if len(lanes) == 1 else lanes.get(told.get("channel"))
        error = problem_error(failed[0]["error"] if failed else told["error"], session=lane and lane.session)
        if isinstance(call, Step) and call.errors:
            self._ledger.settle(call, call.forgotten(error))
        else:
            self._ledger.fail(call, error)

    def _split(self, call: Step, errors: dict[Lane, CarouselError]) -> None:
        """Some sessions of a call did not move; ask for the kept answers of those that did."""
        call.part(errors)
        self._ledger.split(call, errors)
        if call.lanes:
            self._ledger.outbox.append(call)
        else:
            self._ledger.settle(call, call.partly([]))

    def _reopened(self, call: Reopen, told: Any) -> None:
        lane = call.lane
        try:
            if "error" in told:
                raise problem_error(told["error"], session=lane.session)
            call.heard(told)
        except CarouselError as error:
            lane.ended, lane.opened = error, False
            self._ledger.fail_all(lane, error)
        self._unopened -= 1
        if not self._unopened:
            self._ledger.open()

    def _refuse_largest(self) -> None:
        """The service closed the socket over a frame beyond its limit: the largest one is, whichever it read."""
        steps = [call for call in self._ledger.passed if isinstance(call, Step) and call.sent]
        if steps:
            largest = max(steps, key=lambda call: len(call.request.bytes))
            why = f"a frame of {len(largest.request.bytes)} bytes is over the service's limit"
            self._ledger.fail(largest, PayloadTooLarge(why))
