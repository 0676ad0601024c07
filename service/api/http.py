"""Below ASGI: serves hot routes, and answers what the parser refuses like everything else. Knows uvicorn."""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from starlette.responses import Response
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.api import body
from service.api.hot import LEFT, Asked, Hot, Route
from service.errors import CarouselError, InvalidRequest

_UNUSUAL = frozenset((b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"))  # headers that ASGI sees to

_log = logging.getLogger("carousel.request")


class Http(HttpToolsProtocol):
    """uvicorn's protocol, past which hot routes are served, and whose own refusal would be plain text without an id."""

    _rests_since = math.inf  # by the loop's clock: nothing is asked
    _first: "Exchange | RequestResponseCycle | None" = None  # that is to answer

    def __init__(self, hot: Hot, most: int, **how: Any) -> None:
        super().__init__(**how)
        self.hot, self._most = (
            hot,
            min(most, HIGH_WATER_LIMIT),
        )  # bytes of a body; ASGI stops the reading of longer ones

    def on_headers_complete(self) -> None:
        """Begin an exchange with a hot route, if it is asked in the usual way; else it is a matter of ASGI."""
        found = self.hot.find(self.url)
        headers = None if found is None else self._usual()
        if found is None or headers is None:
            super().on_headers_complete()
        else:
            self.cycle = self._first = Exchange(self, found, headers)  # type: ignore[assignment]  # it is like a cycle

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._first = cycle
        super()._start_asgi_task(cycle, app)

    def _unset_keepalive_if_required(self) -> None:
        self._rests_since = math.inf

    def on_response_complete(self) -> None:
        """Begin what was sent ahead, or wait for more: by one timer, since to set it at each answer took 2 µs."""
        rests_since = math.inf if self.pipeline else self.loop.time()
        if self.pipeline or self.timeout_keep_alive_task is None or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        self._rests_since = rests_since

    def timeout_keep_alive_handler(self) -> None:
        """Close, unless the connection has not rested for so long."""
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            left = min(left, self.timeout_keep_alive)
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who is to answer first too; uvicorn tells the last of those that were sent ahead."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        if self._first is not None and not self._first.response_complete:
            self._first.disconnected = True
            self._first.message_event.set()
        super().connection_lost(exc)

    def _usual(self) -> dict[bytes, bytes] | None:
        """The headers of a request that may be answered as soon as its body, a short one, is there."""
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return None
        if self.flow.write_paused or not (self.cycle is None or self.cycle.response_complete):
            return None  # its answer has to wait, for a client who does not read or for those before it
        headers = dict(self.headers)
        usual = _UNUSUAL.isdisjoint(headers) and int(headers.get(b"content-length", 0)) <= self._most
        return headers if usual else None

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP request, and close."""
        self.transport.write(refusal(msg))
        self.transport.close()


class Exchange:
    """A request of a hot route and its answer, where uvicorn has a cycle of its own: it reads and writes the public
    attributes, and tells by `message_event` that something has come.

    The route runs without a task: it begins with the last byte, and goes on when the future is done that it waits for.
    """

    body, more_body, disconnected, response_complete = b"", True, False, False
    _running: Coroutine[Any, Any, Response] | None = None

    def __init__(self, http: Http, found: tuple[str, Route, str], headers: dict[bytes, bytes]) -> None:
        self.keep_alive = http.parser.should_keep_alive()
        self._http, self._found, self._headers = http, found, headers
        self._path, self._begin = http.url, time.perf_counter()

    @property
    def message_event(self) -> "Exchange":
        """What uvicorn tells."""
        return self

    def set(self) -> None:
        """A part of the body has come, or its end, or that of the connection."""
        if self.response_complete:
            return
        if self._running is None and (self.disconnected or not self.more_body):
            copy_context().run(self._start)  # the context of its log lines
        elif self.disconnected and self._asked.abandon is not None:
            self._asked.abandon()

    def _start(self) -> None:
        self._id = self._http.hot.edge.name(self._headers)
        self._running = self._run()
        self._go_on()

    async def _run(self) -> Response:
        _, route, name = self._found
        try:
            if self.disconnected:
                raise InvalidRequest("the body is cut off")  # nobody reads it; it is counted as the caller's fault
            self._asked = Asked(self.body, self._headers)
            return await route(self._asked, name)
        except CarouselError as error:
            return body.problem(error)
        except Exception:
            _log.exception("%s", self._path.decode("ascii"))
            return body.problem(CarouselError())

    def _go_on(self, _: object = None) -> None:
        try:
            future = self._running.send(None)  # type: ignore[union-attr]  # it is there from the start
        except StopIteration as done:
            self._answer(done.value)
        except asyncio.CancelledError:
            self._end(LEFT)
        else:
            future.add_done_callback(self._go_on)

    def _answer(self, response: Response) -> None:
        self._end(response.status_code)
        if self.disconnected:
            return
        http = self._http
        headers = [*http.server_state.default_headers, *response.raw_headers, (b"x-request-id", self._id)]
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        lines = [b"%b: %b\r\n" % header for header in headers]
        http.transport.write(b"".join((STATUS_LINE[response.status_code], *lines, b"\r\n", response.body)))
        if not self.keep_alive:
            http.transport.close()
        http.on_response_complete()

    def _end(self, status: int) -> None:
        self.response_complete = True
        self._http.hot.edge.note("POST", self._found[0], self._path.decode("ascii"), status, self._begin)


def refusal(detail: str) -> bytes:
    """An answer to bytes that are no HTTP request."""
    content = body.dump(InvalidRequest(detail).problem())
    head = (
        f"HTTP/1.1 400 Bad Request\r\ncontent-type: {body.PROBLEM}\r\ncontent-length: {len(content)}\r\n"
        f"x-request-id: {secrets.token_urlsafe(12)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + content
