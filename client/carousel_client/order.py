"""The unfinished calls of a stream and the channels they are on: which call may be sent, and what fails with it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable
from copy import copy
from itertools import islice
from typing import Any, TypeAlias

from carousel_client.errors import CarouselError, InvalidInput, StepConflict
from carousel_client.frames import Array
from carousel_client.recent import Recent

Future: TypeAlias = "asyncio.Future[Any] | concurrent.futures.Future[Any]"


class Call(ABC):
    """One call on some channels: sent when each of them has released it, and answered as a whole."""

    exclusive = False  # whether no other call may be in flight on its channels

    def __init__(self, channels: list[ChannelState], answer: Future, admitted: Future | None = None) -> None:
        self.channels, self.answer = channels, answer
        self.admitted = admitted  # of `submit`: done when the call is released, or failed before
        self.id, self.sends = -1, 0
        self.held = len(channels)  # how many channels have not released it
        self.received_before = 0  # frames of the service before the call was made
        self.in_flight = False  # sent on this socket, and not answered
        self.failed = False  # its caller has an error; it may still be in flight
        self.finished = False  # its caller has an outcome, and it is not in flight

    def release(self) -> None:  # noqa: B027  # most calls take no steps
        """All its channels released it: take the next steps."""

    def revert(self) -> None:  # noqa: B027  # likewise
        """The call failed: give its steps back."""

    @abstractmethod
    def frame(self) -> str | bytearray:
        """What to send."""

    @abstractmethod
    def result(self, frame: Any) -> Any:
        """What the answer of the service is to the caller. Raises ForeignAnswer where it does not fit."""


class ChannelState:
    """A session on a stream: its `session` id, `model` and `version`; whether opening `created` the session; its
    `next_step`, as far as answers told; `replay`, the most calls in flight; `feature_count` F and `output_count` K.

    Invariants: `calls[:released]` are released, at most `replay` of them counted from the oldest unfinished one, so
    that the service keeps every answer that may get lost. `ahead` is the step after the last of them. Nothing passes a
    failed call in flight, and nothing shares the channel with an exclusive call.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self.model = self.version = ""
        self.created = False
        self.next_step = self.feature_count = self.output_count = 0
        self.replay = 1
        # for the stream only:
        self.recent = Recent[Array]()
        self.number: int | None = None  # of the channel, on this socket
        self.opened = self.own = False  # own: the client made the session id
        self.ahead = 0
        self.calls: deque[Call] = deque()
        self.released = 0
        self.failed: CarouselError | None = None  # a submitted call failed: no call is taken until `resume`
        self.ended: CarouselError | None = None  # why the channel takes no more calls

    def resume(self) -> None:
        """After a failed `submit`: take calls again; the next one starts at the step of the first that failed.

        Send the failed calls again in their order: the service replays what it applied, and applies the rest.
        """
        self.failed = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session} of {self.model}/{self.version} at step {self.next_step}>"

    def may_release(self) -> bool:
        """Whether the first call that is not released may be."""
        if self.released in {0, len(self.calls)}:
            return self.released < len(self.calls)
        call, before = self.calls[self.released], self.calls[self.released - 1]
        free = not (before.held or before.failed or before.exclusive or call.exclusive)
        return free and self.released < self.replay

    def behind(self, call: Call) -> list[Call]:
        """The calls that are out of order if this one fails: those up to an exclusive one, which depends on none."""
        behind: list[Call] = []
        for later in islice(self.calls, self.calls.index(call) + 1, None):
            if later.exclusive:
                break
            behind.append(later)
        return behind

    def drop_finished(self) -> None:
        """Forget the oldest calls, as far as they are finished."""
        while self.calls and self.calls[0].finished:
            self.calls.popleft()
            self.released = max(0, self.released - 1)


class Order:
    """The channels by session, and their calls.

    Invariant: `released` holds every call that is released and unfinished, in the order for the service; `outbox` holds
    those that are to be sent on this socket, and stays empty until `connected`.
    """

    def __init__(self) -> None:
        self.channels: dict[str, ChannelState] = {}
        self.released: dict[Call, None] = {}
        self.outbox: deque[Call] = deque()
        self._connected = False

    def connected(self) -> None:
        """The released calls may be sent."""
        self._connected = True
        self.outbox.extend(self.released)

    def disconnected(self) -> None:
        """The socket is gone: the released calls are to be sent again, unless they failed."""
        self._connected = False
        self.outbox.clear()
        for call in self.released:
            call.in_flight = False
        self.finish([call for call in self.released if call.failed])

    def forget(self) -> None:
        """In a forked child: drop all calls, which are those of the parent, and keep the open channels."""
        self._connected = False
        self.outbox.clear()
        self.released.clear()
        self.channels = {session: channel for session, channel in self.channels.items() if channel.opened}
        for channel in self.channels.values():
            channel.calls.clear()
            channel.released, channel.ahead, channel.failed, channel.own = 0, channel.next_step, None, False

    def check(self, channels: list[ChannelState]) -> None:
        """Raise why no call can be made on these channels, if there is a reason."""
        if not channels:
            raise InvalidInput("channels: none")
        model = f"{channels[0].model}/{channels[0].version}"
        for item, channel in enumerate(channels):
            if channel.ended:
                raise copy(channel.ended)
            if self.channels.get(channel.session) is not channel:
                raise InvalidInput(f"channels[{item}]: of another stream")
            if f"{channel.model}/{channel.version}" != model:
                raise InvalidInput(f"channels[{item}]: of {channel.model}/{channel.version}, channels[0] of {model}")
            if channel.failed:
                why = f"{_behind(channel, channel.failed).detail}; nothing of this one was sent"
                hint = f"resume() the channel to go on at step {channel.ahead}"
                raise StepConflict(f"{why}: {hint}", session=channel.session)
        if len(set(channels)) < len(channels):
            item, channel = next((i, channel) for i, channel in enumerate(channels) if channel in channels[:i])
            raise InvalidInput(f"channels[{item}]: session {channel.session!r} a second time")

    def add(self, call: Call) -> Call:
        """A new call, behind all others on its channels."""
        for channel in call.channels:
            channel.calls.append(call)
        self._release(call.channels)
        return call

    def settle(self, call: Call, outcome: Any) -> None:
        """The call was answered; an error as its outcome does not concern the calls behind it."""
        self.finish([call])
        _tell(call, outcome)

    def fail(self, call: Call, error: CarouselError) -> None:
        """The call failed, and with it those behind it on its channels, which would be out of order."""
        failing, failed = [(call, error)], {}
        while failing:
            call, error = failing.pop()
            if call.failed or call.finished:
                continue
            call.failed = True
            failed[call] = error
            for channel in call.channels:
                failing.extend((later, _behind(channel, error)) for later in channel.behind(call))
                if call.admitted is not None:
                    channel.failed = error
            call.revert()
        self.finish(failed)
        for call, error in failed.items():  # last: the caller may be another thread, and call again at once
            _tell(call, error)

    def fail_channel(self, channel: ChannelState, error: CarouselError) -> None:
        """All calls on the channel failed."""
        for call in list(channel.calls):  # each with an error of its own: they may be raised in several threads
            own = copy(error)
            own.session = channel.session if len(call.channels) == 1 else error.session
            self.fail(call, own)

    def part(self, call: Call, errors: dict[ChannelState, CarouselError]) -> None:
        """The call failed on some of its channels, and goes on without them."""
        behind = [(later, _behind(one, error)) for one, error in errors.items() for later in one.behind(call)]
        for channel, error in errors.items():
            channel.calls.remove(call)
            channel.released -= 1
            if call.admitted is not None:
                channel.failed = error
        for later, error in behind:
            self.fail(later, error)
        self._tidy(errors)

    def finish(self, calls: Collection[Call]) -> None:
        """These calls have their outcomes: those that are not in flight make room for the next."""
        for call in calls:
            if not call.in_flight:
                call.finished = True
                self.released.pop(call, None)
        self._tidy(dict.fromkeys(channel for call in calls for channel in call.channels))

    def _tidy(self, channels: Collection[ChannelState]) -> None:
        for channel in channels:
            channel.drop_finished()
            if not channel.calls and not channel.opened and self.channels.get(channel.session) is channel:
                del self.channels[channel.session]
        self._release(channels)

    def _release(self, channels: Iterable[ChannelState]) -> None:
        """Release what may be on these channels, and what may be behind that."""
        todo = list(channels)
        while todo:
            channel = todo.pop()
            while channel.may_release():
                call = channel.calls[channel.released]
                channel.released += 1
                call.held -= 1
                if not call.held and not call.failed:
                    self._released(call)
                    todo.extend(other for other in call.channels if other.released < len(other.calls))

    def _released(self, call: Call) -> None:
        call.release()
        self.released[call] = None
        if call.admitted is not None and not call.admitted.done():
            call.admitted.set_result(None)
        if self._connected:
            self.outbox.append(call)


def _tell(call: Call, outcome: Any) -> None:
    if not call.answer.done():
        (call.answer.set_exception if isinstance(outcome, CarouselError) else call.answer.set_result)(outcome)
    if call.admitted is not None and not call.admitted.done():
        call.admitted.set_result(None)


def _behind(channel: ChannelState, error: CarouselError) -> StepConflict:
    return StepConflict(f"a call before on session {channel.session!r} failed: {error}", session=channel.session)
