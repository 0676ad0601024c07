"""The client for threads: AsyncClient and AsyncSession with calls that block."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

from carousel_client.async_client import AsyncClient
from carousel_client.async_session import AsyncSession
from carousel_client.blocking import Blocking, blocking, run
from carousel_client.stream import Stream
from carousel_client.transport import Transport


class Client(Blocking):
    """A Carousel service at `url`, such as `http://127.0.0.1:8000` or `https://user:password@host/path`.

    `timeout`: seconds for a whole call with all its retries, unless the call names its own; None: no limit. Until then
    a call is sent again wherever that is safe, at most `retries` times if that is a number. An answer of more than
    `max_answer_bytes` is AnswerTooLarge. Every error is a CarouselError. Threads may share a client and its sessions; a
    forked process makes connections of its own. `transport`, `clock` and `sleep` are for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = 60.0,
        retries: int | None = None,
        max_answer_bytes: int = 2**28,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        settings: dict[str, Any] = {"transport": transport, "clock": clock, "sleep": sleep}
        super().__init__(
            AsyncClient(url, timeout=timeout, retries=retries, max_answer_bytes=max_answer_bytes, **settings)
        )

    ready = blocking(AsyncClient.ready)
    models = blocking(AsyncClient.models)
    model = blocking(AsyncClient.model)
    predict = blocking(AsyncClient.predict)
    steps = blocking(AsyncClient.steps)
    close = blocking(AsyncClient.close)

    def session(
        self,
        model: str,
        id: str | None = None,
        version: str | None = None,
        *,
        ttl_seconds: float | None = None,
        history: Any = None,
    ) -> Session:
        """A session, opened by `with`, `open` or its first step. `history`: a sequence to run first."""
        return Session(self._async.session(model, id, version, ttl_seconds=ttl_seconds, history=history))

    def stream(self) -> Stream:
        """One socket for any number of sessions and many calls at once. See Stream."""
        return Stream(self._async.stream())

    def restore(self, id: str, state: bytes, *, timeout: float | None = None) -> Session:
        """The session `id` made, or replaced, from what `Session.state` gave. Raises StateMismatch."""
        return Session(run(self._async.restore(id, state, timeout=timeout)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session(Blocking):
    """One live sequence; the service holds its hidden state.

    `with` opens it. The end of the block deletes a session whose id the client made, in the process that made it; one
    with an id of the caller stays, to be resumed by that id. Calls of several threads run one at a time. AsyncSession
    tells the attributes.
    """

    id: str
    model: str
    version: str | None
    next_step: int | None
    created: bool

    open = blocking(AsyncSession.open)
    resume = blocking(AsyncSession.resume)
    step = blocking(AsyncSession.step)
    state = blocking(AsyncSession.state)
    delete = blocking(AsyncSession.delete)
    close = blocking(AsyncSession.close)

    def fork(self, id: str | None = None, *, timeout: float | None = None) -> Session:
        """A new session with a copy of this one's state, step and TTL. Raises SessionExists if `id` is taken."""
        return Session(run(self._async.fork(id, timeout=timeout)))

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *error: Any) -> None:
        run(self._async.__aexit__(*error))
