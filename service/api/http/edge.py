"""What every request gets, by whichever way it comes: its id, a count and a log line. Knows nothing of Carousel."""

import itertools
import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)

_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_GIVEN = re.compile(rb"[\x21-\x7e]{1,128}")
_log = logging.getLogger("carousel.request")


class Edge:
    """Names requests, and counts and logs their answers."""

    def __init__(self) -> None:
        self._own = secrets.token_urlsafe(9).encode()  # ids of requests that bring none begin with it
        self._count = itertools.count(1)
        self.answers: Counter[tuple[str, str, int]] = Counter()  # (method, route, status)

    @property
    def verbose(self) -> bool:
        """Whether every answer is logged."""
        return _log.isEnabledFor(logging.DEBUG)

    def id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The id of a request: its own if it brings a good one."""
        given = headers.get(b"x-request-id")
        return given if given is not None and _GIVEN.fullmatch(given) else b"%b-%d" % (self._own, next(self._count))

    def name(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The id of the request of this context, which is in every log line of it from now on."""
        id = self.id(headers)
        REQUEST_ID.set(id.decode("ascii"))
        return id

    def note(self, method: str, route: str, path: str, status: int, begin: float) -> None:
        """Count and log an answer to the request of this context, which came at `begin` by the performance counter."""
        self.answers[method, route, status] += 1
        level = logging.ERROR if status == 500 else logging.DEBUG
        if _log.isEnabledFor(level):
            milliseconds = round((time.perf_counter() - begin) * 1000, 3)
            _log.log(level, "%s %s %d", method, path, status, extra={"milliseconds": milliseconds})


class Named:
    """Wraps an application: `X-Request-Id` in, out and in every log line between; HEAD wherever there is GET."""

    def __init__(self, app: ASGIApp, edge: Edge) -> None:
        self._app, self._edge = app, edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id, begin = self._edge.name(dict(scope["headers"])), time.perf_counter()
        method = scope.get("method", "GET")
        if method == "HEAD":  # the server leaves the body of the answer out
            scope = {**scope, "method": "GET"}

        async def send_with_id(message: Message) -> None:
            if message["type"] in _STARTS:
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
                if message["type"] == "http.response.start":
                    route = getattr(scope.get("route"), "path", "unknown")
                    self._edge.note(method, route, scope["path"], message["status"], begin)
            await send(message)

        await self._app(scope, receive, send_with_id)
