"""One call as a conversation: what to send, when to wait, when to send again, when to give up; does no I/O.

A `Flow` yields `Attempt`s and `Pause`s; whoever drives it performs them and sends back what came: a response, the
failure to get one, or None after a pause. The drivers of `client.py` and `async_client.py` are the only I/O.

What is sent again, at most `retries` times and never beyond the call's deadline:
- never connected, or refused with 503 by Carousel (`Unavailable`): nothing was applied, so any call is;
- no whole answer, or a proxy's 502, 503 or 504: the call may have been applied, so only a `replayable` one is.
Anything else is an answer.
"""

from __future__ import annotations

import json
import math
import random
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import httpx

from carousel_client.errors import (
    CarouselError,
    ConnectionFailed,
    ForeignAnswer,
    InvalidRequest,
    TimedOut,
    Unavailable,
    answer_error,
)

FIRST_PAUSE = 0.1  # seconds; doubles with every retry
LONGEST_PAUSE = 5.0
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
PROXY_FAILURES = {502, 503, 504}


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, and whether a second arrival would change nothing and be answered like the first."""

    method: str
    path: str
    content: bytes | None = None
    version: str | None = None
    replayable: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """To the driver: send this once; `timeout` seconds bound each wait on the socket."""

    request: Request
    headers: dict[str, str]
    timeout: float | None

    def arguments(self) -> dict[str, Any]:
        """As keywords of `httpx.Client.request`."""
        version = {} if self.request.version is None else {"version": self.request.version}
        return {
            "method": self.request.method,
            "url": self.request.path,
            "params": version,
            "content": self.request.content,
            "headers": self.headers,
            "timeout": self.timeout,
        }


@dataclass(frozen=True, slots=True)
class Pause:
    """To the driver: sleep."""

    seconds: float


T = TypeVar("T")
Reply: TypeAlias = httpx.Response | httpx.RequestError | None
Flow: TypeAlias = Generator[Attempt | Pause, Reply, T]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. `lost`: an earlier attempt of it may have been applied without our hearing of it."""

    response: httpx.Response | None
    error: CarouselError | None
    lost: bool

    def unwrap(self) -> httpx.Response:
        """The response of a success; raises the error otherwise."""
        if self.response is None:
            assert self.error is not None
            raise self.error
        return self.response


@dataclass(frozen=True, slots=True)
class Policy:
    """How long and how often to try; `clock` in seconds."""

    timeout: float | None
    retries: int
    clock: Callable[[], float]
    jitter: Callable[[float, float], float] = field(default=random.uniform)

    def deadline(self, timeout: float | None) -> float:
        """When a call that begins now, with its own timeout or the client's, is to be over."""
        seconds = self.timeout if timeout is None else timeout
        return math.inf if seconds is None else self.clock() + seconds

    def pause(self, retry: int, error: CarouselError) -> float:
        """Seconds to wait before retry number `retry`, the first being 0."""
        return (error.retry_after or 0) + self.jitter(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**retry))

    def exchange(self, request: Request, deadline: float) -> Flow[httpx.Response]:
        """Perform a call; its successful response, or the error raised."""
        return (yield from self.outcome(request, deadline)).unwrap()

    def outcome(self, request: Request, deadline: float) -> Flow[Outcome]:
        """Perform a call, however often that takes."""
        headers = {"X-Request-Id": uuid.uuid4().hex}
        loss: CarouselError | None = None
        for retry in range(self.retries + 1):
            reply = yield self._attempt(request, headers, deadline)
            if isinstance(reply, httpx.Response) and reply.is_success:
                return Outcome(reply, None, lost=loss is not None)
            error, lost = judge(reply, headers["X-Request-Id"])
            loss = loss or (error if lost else None)
            again = request.replayable if lost else isinstance(error, Unavailable) or isinstance(reply, UNSENT)
            if not again:
                return Outcome(None, error, lost=loss is not None)
            pause = self.pause(retry, error)
            if retry == self.retries or self.clock() + pause >= deadline:
                break
            yield Pause(pause)
        return Outcome(None, loss or error, lost=loss is not None)  # a loss says more: it may have been applied

    def _attempt(self, request: Request, headers: Mapping[str, str], deadline: float) -> Attempt:
        if deadline == math.inf:
            return Attempt(request, dict(headers), None)
        left = max(deadline - self.clock(), 0.001)
        return Attempt(request, {**headers, "X-Request-Timeout-Ms": str(math.ceil(left * 1000))}, left)


def judge(reply: Reply, request_id: str) -> tuple[CarouselError, bool]:
    """The error in a reply that is no success, and whether the call may have been applied all the same."""
    if isinstance(reply, httpx.Response):
        error = answer_error(reply)
        return error, isinstance(error, ForeignAnswer) and reply.status_code in PROXY_FAILURES
    kind = TimedOut if isinstance(reply, httpx.TimeoutException) else ConnectionFailed
    failed = kind(f"{type(reply).__name__}: {reply}", request_id=request_id)
    failed.__cause__ = reply
    return failed, not isinstance(reply, UNSENT)


class Answer(dict[str, Any]):
    """The JSON object of a successful response; a missing key means that it is not Carousel's."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        try:
            super().__init__(json.loads(response.content))
        except (TypeError, ValueError):
            raise self._foreign("no JSON object") from None

    def __missing__(self, key: str) -> Any:
        raise self._foreign(f"no {key!r}")

    def _foreign(self, what: str) -> ForeignAnswer:
        request_id = self._response.headers.get("X-Request-Id")
        status = self._response.status_code
        return ForeignAnswer(f"status {status}, but {what} in the answer", status=status, request_id=request_id)


def route(*names: str) -> str:
    """`/v1/…` with every name percent-encoded. Raises InvalidRequest for a name that would lead elsewhere."""
    for name in names:
        if name in {"", ".", ".."}:
            raise InvalidRequest(f"{name!r} is no name")
    return "/".join(["/v1", *(quote(name, safe="") for name in names)])
