"""The stream for asyncio: one WebSocket, and the conversation that is led over it; decides nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Any, Self, TypeAlias

import httpx
import numpy as np
from numpy.typing import ArrayLike
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from carousel_client.channels import ChannelView
from carousel_client.conversation import Conversation
from carousel_client.errors import (
    CarouselError,
    ConnectionFailed,
    SessionExpired,
    SessionNotFound,
    TimedOut,
    Unavailable,
)
from carousel_client.exchange import Policy
from carousel_client.frames import Array, Inputs, Outputs
from carousel_client.lanes import Call, Lane
from carousel_client.losses import FAILURES, Loss, loss

Answer: TypeAlias = "asyncio.Future[Any] | Future[Any]"

GONE = "its caller waits no longer"
LONG = 1e8  # seconds: what a timer may be set to for no limit

# No pings from here: a service whose queue is full reads no more, and would not answer them.
OPTIONS: dict[str, Any] = {"compression": None, "max_size": None, "ping_interval": None, "close_timeout": 2}


class AsyncStream:
    """One WebSocket to the service, with any number of sessions on it. `async with` closes it.

    Calls of one session are applied in the order made, each exactly once. A lost socket is replaced, the sessions are
    opened again and the unanswered calls sent again, `retries` times at most. `timeout` seconds bound a call with all
    that; None: as the client. Errors are CarouselError. After one that is not PartlyFailed, the same inputs may be sent
    again in the same order: what was applied is answered again, not applied again. After StateLost and SessionExpired
    there is nothing to go on from.
    """

    def __init__(self, url: httpx.URL, policy: Policy, sleep: Callable[[float], Awaitable[None]]) -> None:
        scheme = {"http": "ws", "https": "wss"}.get(url.scheme, url.scheme)
        self._url = str(url.copy_with(scheme=scheme, path=url.path.rstrip("/") + "/v1/stream"))
        self._policy = policy
        self._sleep = sleep
        self._conversation = Conversation(policy)
        self._news = asyncio.Event()  # something may be to be sent
        self._unanswered: set[Answer] = set()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._closed = False

    async def open(
        self,
        model: str,
        session: str | None = None,
        *,
        version: str | None = None,
        ttl_seconds: float | None = None,
        timeout: float | None = None,
    ) -> AsyncChannel:
        """A session, made or taken up where it stands; without an id it is made, and ends with its channel.

        Opening a session again gives the same channel, at the step where the service has it.
        """
        return AsyncChannel(self, await self._open(model, session, version, ttl_seconds, timeout))

    async def open_many(
        self,
        model: str,
        sessions: Iterable[str | None],
        *,
        version: str | None = None,
        ttl_seconds: float | None = None,
        timeout: float | None = None,
    ) -> list[AsyncChannel]:
        """`open` for many sessions, without a round trip for each."""
        return [
            AsyncChannel(self, lane) for lane in await self._open_many(model, sessions, version, ttl_seconds, timeout)
        ]

    async def step(self, channels: Sequence[ChannelView], inputs: Inputs, *, timeout: float | None = None) -> Outputs:
        """Advance sessions of one model version, and wait for the outputs.

        `inputs`: [N, F], one step of each channel; [N, T, F]; or a list of N arrays [T, F]. The outputs have the same
        form, as read-only float32. Raises InvalidInput before anything is sent; PartlyFailed if some
        sessions failed.
        """
        answer: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        lanes = [channel._lane for channel in channels]
        self._begin(self._conversation.step(lanes, inputs, answer), answer, self._policy.deadline(timeout))
        return await answer

    async def submit(
        self, channels: Sequence[ChannelView], inputs: Inputs, *, timeout: float | None = None
    ) -> asyncio.Future[Outputs]:
        """`step` without waiting for the outputs: a future of them. Waits while a session has `replay` calls under way.

        If it fails, so do those behind it, and its channels take no calls until `resume`.
        """
        answer: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        await self._submit(channels, inputs, timeout, answer)
        return answer

    async def close(self) -> None:
        """Wait for what is under way, end the sessions whose ids were made here, and close the socket."""
        if self._closed:
            return
        made = [self._close(lane, None, None) for lane in self._conversation.made()]
        await asyncio.gather(*made, return_exceptions=True)  # what cannot be ended now ends with its TTL
        while self._unanswered:
            self._answered.clear()
            await self._answered.wait()
        await self._stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        await (self._stop() if error else self.close())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._url}>"

    async def _open(
        self, model: str, session: str | None, version: str | None, ttl_seconds: float | None, timeout: float | None
    ) -> Lane:
        id = uuid.uuid4().hex if session is None else session
        deadline = self._policy.deadline(timeout)
        for retry in count():
            answer: asyncio.Future[Lane] = asyncio.get_running_loop().create_future()
            self._begin(self._conversation.open(id, model, version, ttl_seconds, answer), answer, deadline)
            try:
                lane = await answer
                lane.made = session is None
                return lane
            except Unavailable as error:  # nothing was applied
                pause = self._policy.pause(retry, error)
                if retry == self._policy.retries or self._policy.clock() + pause >= deadline:
                    raise
                await self._sleep(pause)
        raise AssertionError

    async def _open_many(
        self,
        model: str,
        sessions: Iterable[str | None],
        version: str | None,
        ttl_seconds: float | None,
        timeout: float | None,
    ) -> list[Lane]:
        asked = [self._open(model, session, version, ttl_seconds, timeout) for session in sessions]
        return await asyncio.gather(*asked)

    async def _submit(
        self, channels: Sequence[ChannelView], inputs: Inputs, timeout: float | None, answer: Answer
    ) -> None:
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lanes = [channel._lane for channel in channels]
        call = self._conversation.step(lanes, inputs, answer, admitted)
        self._begin(call, answer, self._policy.deadline(timeout))
        try:
            await admitted
        except asyncio.CancelledError:
            self._conversation.abandon(call, ConnectionFailed(GONE))
            raise

    async def _close(self, lane: Lane, end: bool | None, timeout: float | None) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call = self._conversation.close(lane, answer, end=lane.made if end is None else end)
        self._begin(call, answer, self._policy.deadline(timeout))
        with suppress(SessionNotFound, SessionExpired):
            await answer

    def _begin(self, call: Call, answer: Answer, deadline: float) -> None:
        """Bound a call in time, and have it sent."""
        if self._closed:
            self._conversation.abandon(call, ConnectionFailed("the stream is closed"))
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        left = min(deadline - self._policy.clock(), LONG)
        timer = asyncio.get_running_loop().call_later(left, self._expire, call)
        self._unanswered.add(answer)

        def done(answer: Answer) -> None:
            timer.cancel()
            if answer.cancelled():
                self._conversation.abandon(call, ConnectionFailed(GONE))
            self._unanswered.discard(answer)
            self._answered.set()
            self._news.set()

        answer.add_done_callback(done)
        self._news.set()

    def _expire(self, call: Call) -> None:
        silent = self._conversation.abandon(call, TimedOut("the timeout of the call passed before its answer came"))
        if silent and self._socket is not None:
            self._socket.transport.abort()  # it may be dead without our hearing of it: the next call gets another

    async def _serve(self) -> None:
        """Hold a socket while one is needed."""
        try:
            while True:
                while not self._conversation.wants:
                    self._news.clear()
                    await self._news.wait()
                lost = await self._converse()
                await self._sleep(self._conversation.lost(lost.error, code=lost.code, again=lost.again))
        finally:
            self._conversation.lost(ConnectionFailed("the stream was closed"), again=False)

    async def _converse(self) -> Loss:
        """Lead the conversation over one socket until that is gone."""
        try:
            async with connect(self._url, **OPTIONS) as self._socket:
                self._conversation.connected()
                tasks = [asyncio.create_task(work(self._socket)) for work in (self._read, self._write)]
                try:
                    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                    for task in done:
                        task.result()
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
        except FAILURES as failure:
            return loss(failure)
        finally:
            self._socket = None
        raise AssertionError  # the reader ends only with its socket

    async def _read(self, socket: ClientConnection) -> None:
        while True:
            self._conversation.received(await socket.recv())
            self._news.set()

    async def _write(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):  # the reader sees it too
            while True:
                while (frame := self._conversation.next_frame()) is not None:
                    await socket.send(frame)
                self._news.clear()
                await self._news.wait()

    async def _stop(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


class AsyncChannel(ChannelView):
    """A session on an AsyncStream. `async with` closes it."""

    def __init__(self, stream: AsyncStream, lane: Lane) -> None:
        super().__init__(lane)
        self._stream = stream

    async def step(self, inputs: ArrayLike, *, timeout: float | None = None) -> Array:
        """Advance the session alone: by a row [F] → [K], or by [T, F] → [T, K]. See AsyncStream.step."""
        return (await self._stream.step([self], np.asarray(inputs)[None], timeout=timeout))[0]

    async def close(self, *, end: bool | None = None, timeout: float | None = None) -> None:
        """Give the channel up once its calls are over. `end` deletes the session; None: if the client made its id."""
        await self._stream._close(self._lane, end, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        with suppress(*[CarouselError] if error else []):  # the block's own error says more
            await self.close()
