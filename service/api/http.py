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
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.api import body, head
from service.api.head import Head
from service.api.hot import LEFT, Asked, Hot, Route
from service.api.texts import dump
from service.errors import CarouselError, InvalidRequest
from service.reply import Reply

_log = logging.getLogger("carousel.request")


class Http(HttpToolsProtocol):
    """uvicorn's protocol, past which hot routes are served, and whose own refusal would be plain text without an id."""

    _rests_since = math.inf  # by the loop's clock: nothing is asked
    _parses = False  # the parser has a part of a request
    _first: "Exchange | RequestResponseCycle | None" = None  # that is to answer

    def __init__(self, hot: Hot, most: int, **how: Any) -> None:
        super().__init__(**how)
        self.hot, self._most = hot, most  # bytes of a body

    def data_received(self, data: bytes) -> None:
        """Begin or go on with an exchange; what is not of one is for the parser, and a matter of ASGI."""
        if isinstance(self._first, Exchange) and self._first.more_body:
            data = self._first.take(data)
        elif not (self._parses or self.flow.write_paused) and (self.cycle is None or self.cycle.response_complete):
            data = self._begin(data)
        if data:
            super().data_received(data)

    def _begin(self, data: bytes) -> bytes:
        """Begin an exchange, if data ask a hot route in the usual way → what of them is left."""
        request = head.read(data)
        if request is None or request.length > self._most or (found := self.hot.find(request.path)) is None:
            return data
        self._unset_keepalive_if_required()
        exchange = Exchange(self, found, request)
        self.cycle = self._first = exchange  # type: ignore[assignment]  # it has what is asked of a cycle
        return exchange.take(data[request.size :])

    def on_message_begin(self) -> None:
        """Leave to the parser what it has begun."""
        self._parses = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """See on_message_begin."""
        self._parses = False
        super().on_message_complete()

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

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP request, and close."""
        self.transport.write(refusal(msg))
        self.transport.close()


class Exchange:
    """A request of a hot route and its answer, where uvicorn has a cycle of its own: it looks at the public attributes,
    and tells by `message_event` that the connection is lost.

    The route runs without a task, in company (`cohort`): it begins with the head, and goes on when what it waits for is
    there. It may answer before the body is there; the rest is then thrown away.
    """

    more_body, keep_alive, disconnected, response_complete = True, True, False, False
    _asked: Asked | None = None
    _running: Coroutine[Any, Any, Response] | None = None  # until its answer is written
    _response: Response | None = None

    def __init__(self, http: Http, found: tuple[str, Route, str], request: Head) -> None:
        self._http, self._found, self._request, self._begin = http, found, request, time.perf_counter()
        self._missing = request.length  # bytes of the body
        self._context = copy_context()  # of its log lines

    def take(self, data: bytes) -> bytes:
        """Take what data have of the body → what is left of them."""
        mine, rest = (data, b"") if len(data) <= self._missing else (data[: self._missing], data[self._missing :])
        self._missing -= len(mine)
        self.more_body = self._missing > 0
        if self._asked is None:
            self._pieces = [mine]
            self._asked = Asked(self._request.headers, self._request.length, None if self.more_body else mine)
            self._running = self._run(self._asked)
            self._later()
        elif self._running is not None:
            self._pieces.append(mine)
            if not self.more_body:
                self._asked.arrive(b"".join(self._pieces))
        elif not self.more_body:
            self._finish()
        return rest

    @property
    def message_event(self) -> "Exchange":
        """What uvicorn tells."""
        return self

    def set(self) -> None:
        """See message_event."""
        if self._running is not None and self._asked is not None:
            self._asked.leave()

    async def _run(self, asked: Asked) -> Response:
        _, route, name = self._found
        self._id = self._http.hot.edge.name(self._request.headers)
        try:
            return await route(asked, name)
        except CarouselError as error:
            return body.problem(error)
        except Exception:
            _log.exception("%s", self._request.path.decode("ascii"))
            return body.problem(CarouselError())

    def _later(self, _: object = None) -> None:
        self._http.hot.cohort.add(self._go_on)

    def _go_on(self) -> None:
        try:
            self._context.run(self._advance if self._response is None else self._answer)
        except Exception:
            _log.exception("%s", self._request.path.decode("ascii"))
            self._http.transport.abort()

    def _advance(self) -> None:
        try:
            future = self._running.send(None)  # type: ignore[union-attr]  # it is there until it answers
        except StopIteration as done:
            self._response = done.value
            self._later()
        except asyncio.CancelledError:
            self._end(LEFT)
        else:
            if future is None:  # it lets others come first
                self._later()
            elif isinstance(future, Reply):
                future.at_once = self._later
                if future.hurry is not None and self._http.hot.cohort.alone:
                    future.hurry()
            else:
                future.add_done_callback(self._later)

    def _answer(self) -> None:
        response = self._response
        assert response is not None
        self._end(response.status_code)
        if self.disconnected:
            return
        http = self._http
        headers = [*http.server_state.default_headers, *response.raw_headers, (b"x-request-id", self._id)]
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        lines = [b"%b: %b\r\n" % header for header in headers]
        http.transport.write(b"".join((STATUS_LINE[response.status_code], *lines, b"\r\n", response.body)))
        if not self.more_body:
            self._finish()

    def _end(self, status: int) -> None:
        self._running = None
        self._http.hot.edge.note("POST", self._found[0], self._request.path.decode("ascii"), status, self._begin)

    def _finish(self) -> None:
        """The answer is written and the body is through: on to the next exchange."""
        self.response_complete = True
        if not self.keep_alive:
            self._http.transport.close()
        self._http.on_response_complete()


def refusal(detail: str) -> bytes:
    """An answer to bytes that are no HTTP request."""
    content = dump(InvalidRequest(detail).problem())
    lines = (
        f"HTTP/1.1 400 Bad Request\r\ncontent-type: {body.PROBLEM}\r\ncontent-length: {len(content)}\r\n"
        f"x-request-id: {secrets.token_urlsafe(12)}\r\nconnection: close\r\n\r\n"
    )
    return lines.encode() + content
