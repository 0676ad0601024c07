"""One HTTP connection: load requests go straight to the lane, all others through uvicorn to the application.

Invariant: while a request of the lane is not answered, the bytes behind it are kept for later.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import Response

from service.api.http import body
from service.api.http.guarded import WINDOW
from service.api.http.protocol import Http
from service.api.http.request import LEFT, Request, read
from service.errors import CarouselError, InvalidRequest

if TYPE_CHECKING:
    from service.api.guard import Guard

_VERSION = b"HTTP/1.1 "  # every answer begins with it
_PROBE = 0.1  # seconds between pieces of it


class Lane(Protocol):
    """Where load requests go."""

    most: int  # bytes of a body
    serves: Callable[[bytes], bool]  # requests with this Host

    def early(self, request: Request) -> None:
        """The head is there, not yet the body: refuse the request if there is no room."""

    def add(self, request: Request) -> None:
        """All of it is there."""

    def note(self, request: Request, status: int) -> None:
        """Count and log an answer."""


class HttpConnection(Http):
    """What uvicorn makes for each connection that it accepts."""

    def __init__(self, lane: Lane, guard: Guard, **how: Any) -> None:
        super().__init__(guard, **how)
        self._lane = lane
        self._request: Request | None = None  # of the lane, not done with
        self._answered = False  # it is, before its body is through
        self._closing = False  # the server stops
        self._written = 0  # bytes of the next answer's _VERSION

    # What the client sends.

    def _receive(self, data: bytes, at: int) -> None:
        """Read data from `at` on."""
        request, new = self._request, False
        if request is None:
            head = None if self._parses or self._owes() or self.flow.write_paused else read(data, at)
            if head is None or head.length > self._lane.most or not self._lane.serves(head.headers[b"host"]):
                super()._receive(data, at)
                return
            request, new, at = Request(self, head), True, head.end
            self._request, self._answered, self.due = request, False, math.inf
        whole = not (new or request.missing)
        if new and at + request.length > len(data):
            self._mark, self.due = self._received, self.loop.time() + WINDOW
            self._lane.early(request)
        if not whole:
            at = self._take(request, data, at)
        if at < len(data):
            self._keep(data, at)
        if whole or request.missing:
            return
        self.due = math.inf
        if self._answered:
            self._finish()
        else:
            self._lane.add(request)

    def _take(self, request: Request, data: bytes, at: int) -> int:
        """Take what data have of the body → where the rest of them begins."""
        end = request.take(data, at, keep=not self._answered)
        if not request.missing:
            if self._held:
                self._release()
        elif not self._answered:
            try:
                self._hold(end - at)
            except CarouselError as error:
                request.refuse(error)
        return end

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's is never true
        """As Http has it."""
        if self._request is None:
            return super().eof_received()
        self._half_closed = not self._request.missing
        if self._half_closed:
            self._probe()
        return self._half_closed

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio has it."""
        request, self._request, self._later = self._request, None, b""
        if request is not None and not self._answered:
            if request.missing:
                self._lane.note(request, InvalidRequest.status)  # it is cut off
            elif request.leave():
                self._lane.note(request, LEFT)
        super().connection_lost(exc)

    def overdue(self, now: float) -> None:
        """As Http has it."""
        if self._request is None:
            super().overdue(now)
        elif not self._goes_on(now):
            if not self._answered:
                self._closing = True
                self._request.refuse(self._too_slow())
            self.transport.close()

    def shutdown(self) -> None:
        """As Http has it."""
        if self._request is None:
            super().shutdown()
        elif self._request.missing:
            self.transport.close()
        else:
            self._closing = True

    # Requests of the lane.

    def answer(self, request: Request, response: Response) -> None:
        """Write the answer to a request of the lane, unless its client has left."""
        self._lane.note(request, response.status_code)
        if request is not self._request:
            return
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"x-request-id", request.id)]
        if self._closing:
            headers.append((b"connection", b"close"))
        self.write(body.rendered(response.status_code, headers, bytes(response.body)))

    def hears(self, request: Request) -> bool:
        """Whether a plain answer to this request can be written now by `write`."""
        return request is self._request and not self._closing

    def write(self, answer: bytes) -> None:
        """Write the whole answer to the request of the lane, and go on if its body is through."""
        self.transport.write(answer[self._written :] if self._written else answer)
        self._answered, self._written = True, 0
        if self._request is not None and not self._request.missing:
            self._finish()

    def _finish(self) -> None:
        self._request = None
        self.server_state.total_requests += 1
        if self._closing:
            self.transport.close()
        elif self._later:
            self._go_on()
        else:
            self._rest()

    def _probe(self) -> None:
        """Write a piece of what every answer begins with: a client that has closed both directions refuses it."""
        if self._request is not None and self._written < len(_VERSION) and not self.transport.is_closing():
            self.transport.write(_VERSION[self._written : self._written + 3])
            self._written += 3
            self.loop.call_later(_PROBE, self._probe)
