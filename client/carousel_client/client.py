"""The blocking client: drives the flows of `calls` and `session_calls` over httpx.Client; decides nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

import httpx

from carousel_client.calls import Calls
from carousel_client.errors import CarouselError
from carousel_client.exchange import Attempt, Flow, Pause, Policy, Reply
from carousel_client.sequences import S
from carousel_client.session_calls import Opening, SessionCalls, SessionView
from carousel_client.stream import Stream

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


class Driver(Protocol[C_co]):
    """Has calls, and runs their flows."""

    @property
    def _calls(self) -> C_co: ...
    def _run(self, flow: Flow[T]) -> T: ...


def blocking(call: Callable[Concatenate[C, P], Flow[T]]) -> Callable[Concatenate[Driver[C], P], T]:
    """The method that runs a call's flow to its end."""

    @wraps(call)
    def method(self: Driver[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(call(self._calls, *args, **kwargs))

    return method


class Client:
    """A Carousel service at `url`.

    `timeout`: seconds for a whole call, retries and waits included, unless the call names its own; None: no limit.
    `retries`: how often a call is sent again where that is safe. Every call raises CarouselError or one of its kinds.
    Threads may share a client and its sessions.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = 60.0,
        retries: int = 4,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(base_url=url, transport=transport)
        self._calls = Calls(Policy(timeout, retries, clock))
        self._sleep = sleep

    ready = blocking(Calls.ready)
    models = blocking(Calls.models)
    model = blocking(Calls.model)
    predict = blocking(Calls.predict)
    steps = blocking(Calls.steps)

    def session(
        self,
        model: str,
        id: str | None = None,
        version: str | None = None,
        *,
        ttl_seconds: float | None = None,
        history: S | None = None,
    ) -> Session:
        """A session, opened by `with`, `open` or its first step. See Session."""
        opening = Opening.of(model, id, version, ttl_seconds=ttl_seconds, history=history)
        return Session(self, SessionCalls(self._calls.policy, opening))

    def stream(self) -> Stream:
        """One socket for any number of sessions and many calls at once. See Stream."""
        return Stream(self._http.base_url, self._calls.policy)

    def restore(self, id: str, state: bytes, *, timeout: float | None = None) -> Session:
        """The session `id` made, or replaced, from what `Session.state` gave. Raises StateMismatch."""
        session = Session(self, SessionCalls(self._calls.policy, Opening(id=id)))
        session._run(session._calls.restore(state, timeout=timeout))
        return session

    def close(self) -> None:
        """Close the connections; sessions live on in the service."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._http.base_url}>"

    def _run(self, flow: Flow[T]) -> T:
        reply: Reply = None
        while True:
            try:
                action = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            reply = self._perform(action)

    def _perform(self, action: Attempt | Pause) -> Reply:
        if isinstance(action, Pause):
            return self._sleep(action.seconds)
        try:
            return self._http.request(**action.arguments())
        except httpx.RequestError as failure:
            return failure


class Session(SessionView):
    """One live sequence with its hidden state, held by the service.

    `with` opens it. At the end of the block, a session whose id the client made is deleted; one that the caller named
    stays alive, to be resumed by that id. Its calls run one at a time, in the order in which threads get their turn.
    """

    def __init__(self, client: Client, calls: SessionCalls) -> None:
        super().__init__(calls)
        self._client = client
        self._turn = threading.Lock()

    open = blocking(SessionCalls.open)
    resume = blocking(SessionCalls.resume)
    step = blocking(SessionCalls.step)
    state = blocking(SessionCalls.state)
    delete = blocking(SessionCalls.delete)
    close = blocking(SessionCalls.close)

    def fork(self, id: str | None = None, *, timeout: float | None = None) -> Session:
        """A new session with a copy of this one's state, step and TTL. Raises SessionExists if `id` is taken."""
        return Session(self._client, self._run(self._calls.fork(id, timeout=timeout)))

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        with suppress(*[CarouselError] if error else []):  # the block's own error says more
            self.close()

    def _run(self, flow: Flow[T]) -> T:
        with self._turn:
            return self._client._run(flow)
