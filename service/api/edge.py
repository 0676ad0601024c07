"""The outermost layer: gives every request its id, counts and logs every answer. Knows ASGI; nothing of Carousel."""

import itertools
import logging
import re
import secrets
import time
from collections import Counter
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)

_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_GIVEN = re.compile(r"[\x21-\x7e]{1,128}")
_log = logging.getLogger("carousel.request")


class Edge:
    """Wraps the application: `X-Request-Id` in, out and in every log line between."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._own, self._count = secrets.token_urlsafe(9), itertools.count(1)  # ids of requests that bring none
        self.answers: Counter[tuple[str, str, int]] = Counter()  # (method, route, status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        request_id = given if _GIVEN.fullmatch(given) else f"{self._own}-{next(self._count)}"
        REQUEST_ID.set(request_id)
        begin = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] in _STARTS:
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode("latin-1"))]
                if message["type"] == "http.response.start":
                    self._note(scope, message["status"], time.perf_counter() - begin)
            await send(message)

        await self._app(scope, receive, send_with_id)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope.get("method", "GET")
        route = getattr(scope.get("route"), "path", "unknown")
        self.answers[method, route, status] += 1
        level = logging.ERROR if status == 500 else logging.DEBUG
        if _log.isEnabledFor(level):
            _log.log(level, "%s %s %d", method, scope["path"], status, extra={"milliseconds": round(seconds * 1000, 3)})
