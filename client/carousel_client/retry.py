"""One call over HTTP with its retries: what is sent again, how long, and what a failed attempt means.

Until the deadline of the call, these are sent again:
- an attempt without a connection, or refused as `Unavailable`: nothing was applied, so any request is;
- an attempt without a whole answer, a 502, 503 or 504 of a proxy, `CommitUnknown`: the request may have been applied,
  so only a `replayable` one is.
Every other answer ends the call.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias, TypedDict
from urllib.parse import quote

import aiohttp

from carousel_client.answers import Answer
from carousel_client.errors import (
    AnswerTooLarge,
    CarouselError,
    CommitUnknown,
    ConnectionFailed,
    ForeignAnswer,
    InvalidRequest,
    TimedOut,
    Unavailable,
)
from carousel_client.transport import Body, HttpTransport, Request

FIRST_PAUSE = 0.1  # seconds; doubles with every retry; also the time that the last attempt has at least
LONGEST_PAUSE = 5.0
FOREVER = 1e8  # seconds: a longer timeout is none
UNSENT = aiohttp.ClientConnectorError
FAILURES = (aiohttp.ClientError, OSError, ValueError, CarouselError)  # of an attempt; TimeoutError is an OSError
PROXY_FAILURES = {502, 503, 504}

Reply: TypeAlias = Answer | Exception


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a call: answer or error. `lost`: an attempt before the last one may have been applied."""

    answer: Answer | None
    error: CarouselError | None
    lost: bool

    def unwrap(self) -> Answer:
        """The answer of a success. Raises the error."""
        if self.answer is None:
            assert self.error is not None
            raise self.error
        return self.answer


class Settings(TypedDict, total=False):
    """Keywords of a client."""

    timeout: float | None  # seconds for a call with all its retries, if it names none of its own; None: no limit
    retries: int | None  # most attempts after the first; None, the default: until the timeout
    max_answer_bytes: int  # a larger answer is AnswerTooLarge
    clock: Callable[[], float]  # of a test
    sleep: Callable[[float], Awaitable[None]]  # of a test


@dataclass(frozen=True, slots=True)
class Policy:
    """How long calls may take: Settings with their defaults."""

    timeout: float | None = 60.0
    retries: int | None = None
    max_answer_bytes: int = 2**28
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform

    def deadline(self, timeout: float | None) -> float:
        """When a call that begins now ends at the latest; `timeout` None: by the timeout of the client."""
        seconds = self.timeout if timeout is None else timeout
        return math.inf if seconds is None or seconds > FOREVER else self.clock() + seconds

    def pause(self, retry: int, error: CarouselError, deadline: float) -> float | None:
        """Seconds to wait before retry number `retry`, the first being 0; None: give up."""
        asked = error.retry_after or 0.0
        room = deadline - self.clock() - FIRST_PAUSE
        if asked > room or (self.retries is not None and retry >= self.retries):
            return None
        backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(retry, 10))
        return min(asked + self.jitter(backoff / 2, backoff), room)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Performs calls over HTTP."""

    transport: HttpTransport
    policy: Policy

    async def __call__(self, request: Request, deadline: float) -> Answer:
        """Perform a call: the answer of its success, or the error raised."""
        return (await self.outcome(request, deadline)).unwrap()

    async def outcome(self, request: Request, deadline: float, retries: int | None = None) -> Outcome:
        """Perform a call, with all its retries, at most `retries` if that is a number."""
        request_id = uuid.uuid4().hex
        loss: CarouselError | None = None
        for retry in count():
            reply = await self._attempt(request, request_id, deadline)
            if isinstance(reply, Answer) and reply.success:
                return Outcome(reply, None, lost=loss is not None)
            error, lost = judge(reply, request_id)
            loss = loss or (error if lost else None)
            again = request.replayable if lost else isinstance(error, Unavailable) or isinstance(reply, UNSENT)
            if not again:
                return Outcome(None, error, lost=loss is not None)
            pause = None if retry == retries else self.policy.pause(retry, error, deadline)
            if pause is None:
                break
            await self.policy.sleep(pause)
        return Outcome(None, loss or error, lost=loss is not None)  # the loss says more: it may have been applied

    async def _attempt(self, request: Request, request_id: str, deadline: float) -> Reply:
        clock, headers, left = self.policy.clock, {"X-Request-Id": request_id}, None
        if deadline != math.inf:
            left = max(deadline - clock(), 0.001)
            headers["X-Request-Timeout-Ms"] = str(math.ceil(left * 1000))
        body = Body(self.policy.max_answer_bytes, lambda: clock() >= deadline)
        try:
            async with asyncio.timeout(left):
                return await self.transport.send(request, headers, body)
        except FAILURES as failure:
            return failure


def judge(reply: Reply, request_id: str) -> tuple[CarouselError, bool]:
    """The error of an attempt without success, and whether the request may have been applied all the same."""
    if isinstance(reply, Answer):
        error = reply.error()
        proxy = isinstance(error, ForeignAnswer) and reply.status in PROXY_FAILURES
        return error, proxy or isinstance(error, CommitUnknown)
    if isinstance(reply, AnswerTooLarge):
        reply.request_id = request_id
        return reply, False
    late = isinstance(reply, TimeoutError | TimedOut)
    failed = (TimedOut if late else ConnectionFailed)(f"{type(reply).__name__}: {reply}", request_id=request_id)
    failed.__cause__ = reply
    return failed, not isinstance(reply, UNSENT)


def route(*names: str, version: str | None = None) -> str:
    """`/v1/…?version=…`, percent-encoded. Raises InvalidRequest for a name that would lead to another route."""
    for name in names if version is None else (*names, version):
        if not isinstance(name, str) or name in {"", ".", ".."}:
            raise InvalidRequest(f"{name!r} is no name")
    try:
        path = "/".join(["/v1", *(quote(name, safe="") for name in names)])
        return path if version is None else f"{path}?version={quote(version, safe='')}"
    except UnicodeEncodeError:
        raise InvalidRequest(f"{names!r}: not Unicode text") from None
