"""The client for threads: AsyncClient and AsyncSession with calls that block."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Unpack, cast

from carousel_client.async_client import AsyncClient
from carousel_client.async_session import AsyncSession
from carousel_client.blocking import Blocking, blocking, giving, run
from carousel_client.retry import Settings
from carousel_client.sequences import S
from carousel_client.stream import Stream
from carousel_client.transport import HttpTransport, PerProcess


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

    def __init__(self, session: AsyncSession) -> None:
        super().__init__(session)
        self._turn = PerProcess(threading.Lock)

    open = blocking(AsyncSession.open)
    resume = blocking(AsyncSession.resume)
    forecast = blocking(AsyncSession.forecast)
    rewind = blocking(AsyncSession.rewind)
    snapshots = blocking(AsyncSession.snapshots)
    state = blocking(AsyncSession.state)
    delete = blocking(AsyncSession.delete)
    close = blocking(AsyncSession.close)
    fork = giving(lambda fork: Session(fork), AsyncSession.fork)  # noqa: PLW0108  (Session is not there yet)

    def fork_many(self, ids: int | Sequence[str], *, timeout: float | None = None) -> list[Session]:
        """See AsyncSession.fork_many."""
        return [Session(copy) for copy in run(self._async.fork_many(ids, timeout=timeout))]

    def step(self, inputs: S, *, timeout: float | None = None) -> S:
        """See AsyncSession.step. After an interrupt, as of Ctrl-C, send the same inputs again."""
        with self._turn():  # until the step counts
            outputs, self._async.next_step = run(self._async._step(inputs, timeout))
        return cast(S, outputs)


class Client(Blocking):
    """A Carousel service at `url`; see AsyncClient. Threads may share a client and its sessions."""

    def __init__(self, url: str, *, transport: HttpTransport | None = None, **settings: Unpack[Settings]) -> None:
        super().__init__(AsyncClient(url, transport=transport, **settings))

    ready = blocking(AsyncClient.ready)
    models = blocking(AsyncClient.models)
    model = blocking(AsyncClient.model)
    predict = blocking(AsyncClient.predict)
    steps = blocking(AsyncClient.steps)
    sessions = blocking(AsyncClient.sessions)
    delete_sessions = blocking(AsyncClient.delete_sessions)
    close = blocking(AsyncClient.close)
    session = giving(Session, AsyncClient.session)
    restore = giving(Session, AsyncClient.restore)
    stream = giving(Stream, AsyncClient.stream)
