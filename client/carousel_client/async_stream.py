"""The stream for asyncio: a WebSocket for each StreamProtocol, replaced when it is lost."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, TypedDict, TypeVar, Unpack

from carousel_client.async_channel import AsyncChannel
from carousel_client.closing import Closing
from carousel_client.errors import (
    ConnectionFailed,
    SessionExpired,
    SessionNotFound,
    TimedOut,
    Unavailable,
)
from carousel_client.frames import Inputs, Outputs
from carousel_client.order import Call, ChannelState
from carousel_client.order import Future as Answer
from carousel_client.retry import FOREVER, Policy
from carousel_client.sequences import listed
from carousel_client.stream_calls import Asked
from carousel_client.stream_protocol import StreamProtocol
from carousel_client.stream_socket import StreamSocket
from carousel_client.transport import Service

T = TypeVar("T")


class OpenOptions(TypedDict, total=False):
    """Keywords of `open`: as of AsyncClient.session, and the timeout of the call in seconds."""

    version: str | None
    ttl_seconds: float | None
    snapshots: Mapping[str, int] | None
    constants: Mapping[str, Any] | None
    initial: Mapping[str, Any] | None
    timeout: float | None


class AsyncStream(Closing):
    """One WebSocket to the service, with any number of sessions on it. `async with` closes it.

    Calls of one session are applied in the order made, each exactly once. A lost socket is replaced until the `timeout`
    of the calls: the sessions are opened again and the unanswered calls sent again. `timeout`: seconds for a call with
    all that; None: as the client. Errors are CarouselError. After one that is not PartlyFailed, the same inputs may be
    sent again in the same order: what was applied is answered again, not applied again. After StateLost and
    SessionExpired there is nothing to go on from. A forked process opens a socket of its own.
    """

    def __init__(self, service: Service, policy: Policy) -> None:
        self._service = service
        self._policy = policy
        self._protocol = StreamProtocol(policy, lambda session: AsyncChannel(self, session))
        self._closed = False
        self._begin_process()

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        url = str(self._service.route("/v1/stream", {"http": "ws", "https": "wss"}[self._service.url.scheme]))
        self._socket = StreamSocket(url, self._service.headers, self._policy.max_answer_bytes, self._protocol)
        self._unanswered: set[Answer] = set()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _usable(self) -> StreamProtocol:
        """The protocol; after a fork one that leaves the socket, alive, to the parent. Raises ConnectionFailed."""
        if self._pid != os.getpid():
            self._inherited = (self._task, self._socket, self._unanswered)
            self._protocol.forget()
            self._begin_process()
        if self._closed:
            raise ConnectionFailed("the stream is closed")
        return self._protocol

    async def open(self, model: str, session: str | None = None, **options: Unpack[OpenOptions]) -> AsyncChannel:
        """A session, created or resumed at its step; without an id it is created, and ends with its channel.

        Opening a session again gives the same channel, at the step where the service has it.
        """
        id = uuid.uuid4().hex if session is None else session
        deadline = self._policy.deadline(options.pop("timeout", None))
        asked = {"model": model, **options}
        for retry in count():
            answer: asyncio.Future[AsyncChannel] = asyncio.get_running_loop().create_future()
            self._begin(self._usable().open(id, asked, answer), answer, deadline)
            try:
                channel = await answer
                channel.own = session is None
                return channel
            except Unavailable as error:  # nothing was applied
                pause = self._policy.pause(retry, error, deadline)
                if pause is None:
                    raise
                await self._policy.sleep(pause)
        raise AssertionError

    async def open_many(
        self, model: str, sessions: Iterable[str | None], **options: Unpack[OpenOptions]
    ) -> list[AsyncChannel]:
        """`open` for many sessions, without a round trip for each."""
        return await asyncio.gather(*(self.open(model, session, **options) for session in listed(sessions)))

    async def step(self, channels: Sequence[ChannelState], inputs: Inputs, *, timeout: float | None = None) -> Outputs:
        """Advance sessions of one model version, and wait for the outputs.

        `inputs`: [N, F], one step of each channel; [N, T, F]; or a list of N arrays [T, F]. The outputs have the same
        form, as read-only float32. Raises InvalidInput before anything is sent; PartlyFailed if some
        sessions failed.
        """
        answer: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        call = self._start(channels, inputs, timeout, answer)
        try:
            return await answer
        except asyncio.CancelledError:
            self._give_up(call)
            raise

    async def submit(
        self, channels: Sequence[ChannelState], inputs: Inputs, *, timeout: float | None = None
    ) -> asyncio.Future[Outputs]:
        """`step` without waiting for the outputs: a future of them. Waits while a session has `replay` calls in flight.

        If it fails, so do those behind it, and its channels take no calls until `resume`.
        """
        answer: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        await self._submit(channels, inputs, timeout, answer)
        return answer

    async def _submit(
        self, channels: Sequence[ChannelState], inputs: Inputs, timeout: float | None, answer: Answer
    ) -> None:
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call = self._start(channels, inputs, timeout, answer, admitted)
        try:
            await admitted
        except asyncio.CancelledError:
            self._give_up(call)
            raise

    def _start(
        self,
        channels: Sequence[ChannelState],
        inputs: Inputs,
        timeout: float | None,
        answer: Answer,
        admitted: Answer | None = None,
    ) -> Call:
        deadline = self._policy.deadline(timeout)
        call = self._usable().step(list(channels), inputs, answer, admitted)
        self._begin(call, answer, deadline)
        return call

    def _give_up(self, call: Call) -> None:
        self._protocol.abandon(call, ConnectionFailed("its caller no longer waits"))

    async def close(self) -> None:
        """Wait for what is in flight, end the sessions whose ids were made here, and close the socket."""
        if self._closed:
            return
        own = [self._close(channel, None, None) for channel in self._usable().own()]
        await asyncio.gather(*own, return_exceptions=True)  # what cannot be ended now ends with its TTL
        while self._unanswered:
            self._answered.clear()
            await self._answered.wait()
        await self._stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._socket.url}>"

    async def _close(self, channel: ChannelState, end: bool | None, timeout: float | None) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        end = channel.own if end is None else end
        deadline = self._policy.deadline(timeout)
        self._begin(self._usable().close(channel, answer, end=end), answer, deadline)
        with suppress(SessionNotFound, SessionExpired):
            await answer

    async def _ask(
        self, kind: type[Asked[T]], channel: ChannelState, asked: dict[str, Any], timeout: float | None
    ) -> T:
        """A call that has the channel for itself."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        deadline = self._policy.deadline(timeout)
        self._begin(self._usable().ask(kind, channel, asked, answer), answer, deadline)
        return await answer

    def _begin(self, call: Call, answer: Answer, deadline: float) -> None:
        """Bound a call in time, and have it sent."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        left = min(deadline - self._policy.clock(), FOREVER)
        timer = asyncio.get_running_loop().call_later(left, self._expire, call)
        self._unanswered.add(answer)

        def done(answer: Answer) -> None:
            timer.cancel()
            if answer.cancelled():
                self._give_up(call)
            self._unanswered.discard(answer)
            self._answered.set()
            self._socket.news.set()

        answer.add_done_callback(done)
        self._socket.news.set()

    def _expire(self, call: Call) -> None:
        last = f"; the last socket: {self._protocol.loss}" if self._protocol.loss else ""
        error = TimedOut(f"the timeout of the call passed before its answer came{last}")
        if self._protocol.abandon(call, error):
            self._socket.abort()  # it may be dead without a sign: the next call gets another

    async def _serve(self) -> None:
        """Hold a socket while one is needed."""
        try:
            while True:
                while not self._protocol.wants_socket:
                    self._socket.news.clear()
                    await self._socket.news.wait()
                await self._policy.sleep(await self._socket.carry())
        finally:
            self._protocol.lost(ConnectionFailed("the stream was closed"), again=False)

    async def _stop(self) -> None:
        with suppress(ConnectionFailed):
            self._usable()
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
