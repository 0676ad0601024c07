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
from typing import TypedDict
from urllib.parse import quote

import aiohttp

from carousel_client.answers import Answer
from carousel_client.errors import (
    CarouselError,
    CommitUnknown,
    ConnectionFailed,
    ForeignAnswer,
    InvalidRequest,
    TimedOut,
    Unavailable,
)
from carousel_client.transport import HttpTransport, Request

FIRST_PAUSE = 0.1  # seconds; doubles with every retry; also the time that the last attempt has at least
LONGEST_PAUSE = 5.0
FOREVER = 1e8  # seconds: a longer timeout is none
FAILURES = (aiohttp.ClientError, OSError, ValueError)  # of an attempt; TimeoutError is an OSError
PROXY_FAILURES = {502, 503, 504}


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

    def __post_init__(self) -> None:
        """Check all but what is of a test. Raises InvalidRequest."""
        self.deadline(None)
        for given, least in ((self.retries or 0, 0), (self.max_answer_bytes, 1)):
            if not (isinstance(given, int) and given >= least):
                raise InvalidRequest(f"retries or max_answer_bytes: {given!r} is no whole number from {least} on")

    def deadline(self, timeout: float | None) -> float:
        """When a call that begins now ends at the latest; `timeout` None: by the timeout of the client.

        Raises:
            InvalidRequest: the timeout is no number of seconds.

        """
        seconds = self.timeout if timeout is None else timeout
        try:
            fits = seconds is None or seconds >= 0  # NaN is not
        except TypeError:
            fits = False
        if not fits:
            raise InvalidRequest(f"timeout: {seconds!r} is no number of seconds from 0 on, nor None")
        return math.inf if seconds is None or seconds > FOREVER else self.clock() + seconds

    def pause(self, retry: int, error: CarouselError, deadline: float) -> float | None:
        """Seconds to wait before retry number `retry`, the first being 0; None: give up."""
        asked = error.retry_after or 0.0
        room = deadline - self.clock() - FIRST_PAUSE
        if room < FIRST_PAUSE or asked > room or (self.retries is not None and retry >= self.retries):
            return None
        backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(retry, 10))
        return min(asked + self.jitter(backoff / 2, backoff), room)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Performs calls over HTTP."""

    transport: HttpTransport
    policy: Policy

    async def __call__(self, request: Request, deadline: float, retries: int | None = None) -> Answer:
        """The answer of a call's success, after all its retries, or at most `retries`. Raises its error."""
        request_id = uuid.uuid4().hex
        loss: CarouselError | None = None  # the first attempt that may have been applied
        for retry in count():
            try:
                return await self._attempt(request, request_id, deadline)
            except CarouselError as error:
                loss = loss or (error if error.uncertain else None)
                again = request.replayable if error.uncertain else isinstance(error, Unavailable | ConnectionFailed)
                pause = self.policy.pause(retry, error, deadline) if again and retry != retries else None
                if pause is None:
                    error.uncertain = loss is not None
                    if again and loss:
                        raise loss from None  # says more than a refusal after it: the call may have been applied
                    raise
            await self.policy.sleep(pause)
        raise AssertionError

    async def _attempt(self, request: Request, request_id: str, deadline: float) -> Answer:
        """Send the request once. Raises ConnectionFailed, `uncertain` unless there was no connection."""
        left = None if deadline == math.inf else max(deadline - self.policy.clock(), 0.001)
        headers = {"X-Request-Id": request_id}
        if left is not None:
            headers["X-Request-Timeout-Ms"] = str(math.ceil(left * 1000))
        try:
            async with asyncio.timeout(left):
                answer = await self.transport.send(request, headers, self.policy.max_answer_bytes)
        except FAILURES as failure:
            kind = TimedOut if isinstance(failure, TimeoutError) else ConnectionFailed
            failed = kind(f"{type(failure).__name__}: {failure}", request_id=request_id)
            failed.uncertain = not isinstance(failure, aiohttp.ClientConnectorError)
            raise failed from failure
        if answer.success:
            return answer
        error = answer.error()
        proxy = isinstance(error, ForeignAnswer) and answer.status in PROXY_FAILURES
        error.uncertain = proxy or isinstance(error, CommitUnknown)
        raise error


def route(*names: str, **query: str | None) -> str:
    """`/v1/…?version=…`, percent-encoded; None in the query is left out.

    Raises InvalidRequest for a name, or a version, that would lead to another route.
    """
    given = {key: value for key, value in query.items() if value is not None}
    for name in (*names, *[value for key, value in given.items() if key == "version"]):
        if not isinstance(name, str) or name in {"", ".", ".."}:
            raise InvalidRequest(f"{name!r} is no name")
    try:
        path = "/".join(["/v1", *(quote(name, safe="") for name in names)])
        asked = "&".join(f"{key}={quote(value, safe='')}" for key, value in given.items())
        return f"{path}?{asked}" if asked else path
    except (UnicodeEncodeError, TypeError):
        raise InvalidRequest(f"{(*names, given)!r}: not Unicode text") from None
