"""The asyncio client: drives the flows of `calls` and `session_calls` over httpx.AsyncClient; decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

import httpx

from carousel_client.async_stream import AsyncStream
from carousel_client.calls import Calls
from carousel_client.errors import CarouselError
from carousel_client.exchange import Attempt, Flow, Pause, Policy, Reply
from carousel_client.sequences import S
from carousel_client.session_calls import Opening, SessionCalls, SessionView

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


class Driver(Protocol[C_co]):
    """Has calls, and runs their flows."""

    @property
    def _calls(self) -> C_co: ...
    async def _run(self, flow: Flow[T]) -> T: ...


def awaiting(
    call: Callable[Concatenate[C, P], Flow[T]],
) -> Callable[Concatenate[Driver[C], P], Coroutine[Any, Any, T]]:
    """The coroutine method that runs a call's flow to its end."""

    @wraps(call)
    async def method(self: Driver[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(call(self._calls, *args, **kwargs))

    return method


class AsyncClient:
    """A Carousel service at `url`, for asyncio: `Client` with every call awaited.

    Tasks of one event loop may share a client and its sessions.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = 60.0,
        retries: int = 4,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, transport=transport)
        self._calls = Calls(Policy(timeout, retries, clock))
        self._sleep = sleep

    ready = awaiting(Calls.ready)
    models = awaiting(Calls.models)
    model = awaiting(Calls.model)
    predict = awaiting(Calls.predict)
    steps = awaiting(Calls.steps)

    def session(
        self,
        model: str,
        id: str | None = None,
        version: str | None = None,
        *,
        ttl_seconds: float | None = None,
        history: S | None = None,
    ) -> AsyncSession:
        """A session, opened by `async with`, `open` or its first step. See AsyncSession."""
        opening = Opening.of(model, id, version, ttl_seconds=ttl_seconds, history=history)
        return AsyncSession(self, SessionCalls(self._calls.policy, opening))

    def stream(self) -> AsyncStream:
        """One socket for any number of sessions and many calls at once. See AsyncStream."""
        return AsyncStream(self._http.base_url, self._calls.policy, self._sleep)

    async def restore(self, id: str, state: bytes, *, timeout: float | None = None) -> AsyncSession:
        """The session `id` made, or replaced, from what `AsyncSession.state` gave. Raises StateMismatch."""
        session = AsyncSession(self, SessionCalls(self._calls.policy, Opening(id=id)))
        await session._run(session._calls.restore(state, timeout=timeout))
        return session

    async def close(self) -> None:
        """Close the connections; sessions live on in the service."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self._http.base_url}>"

    async def _run(self, flow: Flow[T]) -> T:
        reply: Reply = None
        while True:
            try:
                action = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            reply = await self._perform(action)

    async def _perform(self, action: Attempt | Pause) -> Reply:
        if isinstance(action, Pause):
            await self._sleep(action.seconds)
            return None
        try:
            return await self._http.request(**action.arguments())
        except httpx.RequestError as failure:
            return failure


class AsyncSession(SessionView):
    """One live sequence with its hidden state, held by the service.

    `async with` opens it. At the end of the block, a session whose id the client made is deleted; one that the caller
    named stays alive, to be resumed by that id. Its calls run one at a time, in the order in which tasks made them.
    """

    def __init__(self, client: AsyncClient, calls: SessionCalls) -> None:
        super().__init__(calls)
        self._client = client
        self._turn = asyncio.Lock()

    open = awaiting(SessionCalls.open)
    resume = awaiting(SessionCalls.resume)
    step = awaiting(SessionCalls.step)
    state = awaiting(SessionCalls.state)
    delete = awaiting(SessionCalls.delete)
    close = awaiting(SessionCalls.close)

    async def fork(self, id: str | None = None, *, timeout: float | None = None) -> AsyncSession:
        """A new session with a copy of this one's state, step and TTL. Raises SessionExists if `id` is taken."""
        return AsyncSession(self._client, await self._run(self._calls.fork(id, timeout=timeout)))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        with suppress(*[CarouselError] if error else []):  # the block's own error says more
            await self.close()

    async def _run(self, flow: Flow[T]) -> T:
        async with self._turn:
            return await self._client._run(flow)
