"""The protocol of a stream without its I/O: what to send next, whose answer came, what to send again after a loss.

The stream sends what `next_frame` gives, hands over what arrives, and tells when a socket begins and ends. After a lost
socket the sessions are opened again and the unanswered calls are sent again with the same steps: the service applies
each of them once and replays its answer.
"""

from __future__ import annotations

import concurrent.futures
import math
from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any, TypeVar

from carousel_client.checks import check, problem_error
from carousel_client.errors import CarouselError, ForeignAnswer, PayloadTooLarge
from carousel_client.frames import Inputs, StepFrame
from carousel_client.order import Call, ChannelState, Future, Order
from carousel_client.retry import Policy
from carousel_client.stream_answers import Frame
from carousel_client.stream_calls import Asked, Close, Open, Resend, Step

T = TypeVar("T")

TOO_BIG = 1009  # the close code for a frame over the limit


class StreamProtocol:
    """The calls of one stream, over one socket after the other.

    Invariant: `_sent` has, by id, what was sent on this socket and not answered. Until all sessions are open again on
    it, `_reopening` of them not even asked for, nothing else is sent.
    """

    def __init__(self, policy: Policy, channel: Callable[[str], ChannelState] = ChannelState) -> None:
        self._policy = policy
        self._channel = channel  # makes one for a session
        self._order = Order()
        self._sent: dict[int, Call] = {}
        self._reopening: deque[Call] = deque()
        self._unopened = 0  # sessions
        self._numbers: dict[int, str] = {}  # channel → session, on this socket
        self._last_id = 0
        self._received = 0  # frames
        self._fruitless = 0  # sockets in a row without an answer to a call
        self.loss: CarouselError | None = None  # of the last socket, while no answer came after it

    def open(self, session: str, asked: dict[str, Any], answer: Future) -> Call:
        """Open a session; `asked`: model, version, ttl_seconds. The outcome is its channel."""
        channel = self._order.channels.get(session) or self._channel(session)
        call = Open(channel, {"session": session, **asked}, answer)
        self._order.channels[session] = channel
        return self._add(call)

    def step(
        self, channels: list[ChannelState], inputs: Inputs, answer: Future, admitted: Future | None = None
    ) -> Call:
        """Advance sessions. With `admitted`, a failure stops their channels until `resume`."""
        self._order.check(channels)
        request = StepFrame.of(inputs, len(channels), channels[0].feature_count)
        return self._add(Step(channels, request, answer, admitted))

    def ask(self, kind: type[Asked[T]], channel: ChannelState, asked: dict[str, Any], answer: Future) -> Call:
        """A call that has a channel for itself, when the calls before it are finished."""
        self._order.check([channel])
        return self._add(kind(channel, asked, answer))

    def close(self, channel: ChannelState, answer: Future, *, end: bool) -> Call:
        """Close a channel when the calls on it are finished."""
        channel.failed = None
        self._order.check([channel])
        return self._add(Close(channel, answer, end=end))

    def own(self) -> list[ChannelState]:
        """The open channels whose session ids the client made."""
        return [channel for channel in self._order.channels.values() if channel.own and not channel.ended]

    @property
    def wants_socket(self) -> bool:
        """Whether there is something to send or to wait for."""
        return bool(self._order.released)

    def next_frame(self) -> str | bytearray | None:
        """What to send now; None: nothing."""
        while queue := self._reopening or self._order.outbox:
            call = queue.popleft()
            if not call.failed:
                self._last_id = call.id = (self._last_id + 1) % 2**32
                call.sends += 1
                call.in_flight = True
                self._sent[call.id] = call
                return call.frame()
        return None

    def connected(self) -> None:
        """A new socket is open."""
        self._numbers.clear()
        for channel in self._order.channels.values():
            if channel.opened:
                asked = {"model": channel.model, "session": channel.session, "version": channel.version}
                self._reopening.append(Open(channel, asked, concurrent.futures.Future(), again=True))
        self._unopened = len(self._reopening)
        if not self._unopened:
            self._order.connected()

    def received(self, message: str | bytes) -> None:
        """A frame arrived. Raises ForeignAnswer if it is no answer to a call."""
        self._received += 1
        frame = Frame.of(message)
        call = self._sent.pop(frame.id, None)
        if call is None:
            raise ForeignAnswer(f"a frame of id {frame.id}, which no call has")
        call.in_flight = False
        if isinstance(call, Open | Resend) and (isinstance(call, Resend) or call.again):
            self._reopened(call, frame)
            return
        self._fruitless, self.loss = 0, None
        if call.failed:  # its caller no longer waits
            self._order.finish([call])
        elif frame.error is None:
            self._order.settle(call, self._result(call, frame))
        else:
            self._refused(call, frame, frame.error)

    def lost(self, error: CarouselError, *, code: int | None = None, again: bool = True) -> float:
        """The socket is gone, with this close code, or did not open; seconds to wait before the next one.

        Not `again`: no other socket would help, so all calls fail.
        """
        self.loss = error
        self._sent.clear()
        self._reopening.clear()
        self._order.disconnected()
        if code == TOO_BIG:
            self._refuse_largest()
        most = math.inf if self._policy.retries is None else self._policy.retries
        for call in list(self._order.released):
            if call.sends > most:
                self._order.fail(call, copy(error))
        self._fruitless += 1
        if not again or self._fruitless > most:
            self._fruitless = 0
            for channel in list(self._order.channels.values()):
                self._order.fail_channel(channel, error)
        return self._policy.pause(max(self._fruitless - 1, 0), error, math.inf) or 0.0

    def abandon(self, call: Call, error: CarouselError) -> bool:
        """The caller does not get the outcome; whether the socket may be dead: nothing arrived since it made the call.

        The steps of the call are free again, even if it was answered: the same call again has the same answer.
        """
        if call.finished and not call.failed:
            call.revert()
        self._order.fail(call, error)
        return call.received_before == self._received

    def forget(self) -> None:
        """In a forked child: the calls and the socket are those of the parent."""
        self._sent.clear()
        self._reopening.clear()
        self._order.forget()

    def _add(self, call: Call) -> Call:
        call.received_before = self._received
        return self._order.add(call)

    def _result(self, call: Call, frame: Frame) -> Any:
        if isinstance(call, Open) and frame.opened is not None:
            number, session = frame.opened.channel, call.channel.session
            check(self._numbers.setdefault(number, session) == session, f"channel {number} for two sessions")
        return call.result(frame)

    def _reopened(self, call: Open | Resend, frame: Frame) -> None:
        """A session is open on the new socket and stands where it stood, or cannot be: then its channel ends."""
        channel = call.channel
        try:
            if frame.error is not None:
                raise problem_error(frame.error, session=channel.session)
            if isinstance(call, Open):
                self._result(call, frame)
                self._reopening.extend(call.lost)
                self._unopened += len(call.lost)
        except ForeignAnswer:
            raise
        except CarouselError as error:
            channel.ended, channel.opened = error, False
            self._order.fail_channel(channel, error)
        self._unopened -= 1
        if not self._unopened:
            self._order.connected()

    def _refused(self, call: Call, frame: Frame, problem: dict[str, Any]) -> None:
        """The service refused the call, or applied it on some of its channels only."""
        errors = call.errors_in(frame) if isinstance(call, Step) else {}
        if isinstance(call, Step) and errors and len(call.channels) > 1:
            self._part(call, errors)
            return
        channels = call.channels if len(call.channels) == 1 else [c for c in call.channels if c.number == frame.channel]
        session = channels[0].session if channels else None
        error = next(iter(errors.values()), None) or problem_error(problem, session=session)
        if isinstance(call, Step) and call.errors:
            self._order.settle(call, call.forgotten(error))
        else:
            self._order.fail(call, error)

    def _part(self, call: Step, errors: dict[ChannelState, CarouselError]) -> None:
        """Some sessions of a call did not move: ask for the kept answers of those that did."""
        call.part(errors)
        self._order.part(call, errors)
        if call.channels:
            self._order.outbox.append(call)
        else:
            self._order.settle(call, call.partly([]))

    def _refuse_largest(self) -> None:
        """The service closed the socket over a frame beyond its limit: that was the largest one, if any."""
        steps = [call for call in self._order.released if isinstance(call, Step) and call.sends]
        if steps:
            largest = max(steps, key=lambda call: len(call.request.bytes))
            why = f"a frame of {len(largest.request.bytes)} bytes is over the limit of the service"
            self._order.fail(largest, PayloadTooLarge(why))
