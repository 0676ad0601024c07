"""One HTTP connection: load requests go straight to the lane, all others through uvicorn to the application.

Invariant: while a request of the lane is not answered, the bytes behind it are kept and not looked at.
"""

import math
import secrets
from collections.abc import Iterable
from typing import Any, Protocol, cast

import httptools
from starlette.responses import Response
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.api import body
from service.api.request import HOST, LEFT, Request, read
from service.errors import CarouselError, HeadTooLarge, InvalidRequest

_LINES, _HEAD = 100, 2**16  # of a head, its trailers included: lines and bytes
_VERSION = b"HTTP/1.1 "  # every answer begins with it
_PROBE = 0.1  # seconds between pieces of it


class Lane(Protocol):
    """Where load requests go."""

    most: int  # bytes of a body

    def early(self, request: Request) -> None:
        """The head is there, not yet the body: refuse the request if there is no room."""

    def add(self, request: Request) -> None:
        """All of it is there."""

    def note(self, request: Request, status: int) -> None:
        """Count and log an answer."""


class HttpConnection(HttpToolsProtocol):
    """uvicorn's protocol; what it adds for all requests is in docs/wire.md, "HTTP"."""

    def __init__(self, lane: Lane, **how: Any) -> None:
        super().__init__(**how)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True, lenient_chunked_length=True)  # `_check`
        self._lane = lane
        self._request: Request | None = None  # of the lane, not done with
        self._answered = False  # it is, before its body is through
        self._later, self._at = b"", 0  # bytes behind it, and where they begin
        self._parses = self._served = False  # the parser has a part of a message; the application has it too
        self._size = self._silent = 0  # bytes of the head; bytes that gave the parser nothing to tell
        self._running: RequestResponseCycle | None = None  # that is to answer next
        self._refusal = b""  # of what follows what is still to be answered
        self._closing = self._half_closed = False  # the server stops; the client sends no more
        self._written = 0  # bytes of the next answer's _VERSION
        self._rests_since = math.inf  # on the loop's clock; inf: something is asked

    # What the client sends.

    def data_received(self, data: bytes) -> None:
        """As asyncio has it."""
        if self._later:
            self._later += data
        elif not self._refusal:
            self._receive(data, 0)

    def eof_received(self) -> bool:
        """Keep the connection open for answers that are owed: a client may close its sending half (RFC 9112, 9.6)."""
        if self._request is not None:
            self._half_closed = not self._request.missing
            self._probe()
        elif self._parses and not self._drop_last():
            return False
        else:
            self._half_closed = self._owes()
        return self._half_closed

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell those that are to answer; uvicorn tells the last of its own."""
        request, self._request, self._later = self._request, None, b""
        if request is not None and not self._answered:
            if request.missing:
                self._lane.note(request, InvalidRequest.status)  # it is cut off
            elif request.leave():
                self._lane.note(request, LEFT)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self._stop_timer()
        super().connection_lost(exc)
        self._running = self.cycle = None  # type: ignore[assignment]  # they know this connection

    def _receive(self, data: bytes, at: int) -> None:
        """Read data from `at` on."""
        request, new = self._request, False
        if request is None:
            head = None if self._parses or self._owes() or self.flow.write_paused else read(data, at)
            if head is None or head.length > self._lane.most:
                self._parse(data[at:] if at else data)
                return
            request, new, at = Request(self, head), True, head.end
            self._request, self._answered, self._rests_since = request, False, math.inf
        whole = not (new or request.missing)
        if not whole:
            at = request.take(data, at)
        if at < len(data):
            self._later, self._at = data, at
            self.flow.pause_reading()
        if whole:
            return
        if request.missing:
            if new:
                self._lane.early(request)
        elif self._answered:
            self._finish()
        else:
            self._lane.add(request)

    # Requests of the lane.

    def answer(self, request: Request, response: Response) -> None:
        """Write the answer to a request of the lane, unless its client has left."""
        self._lane.note(request, response.status_code)
        if request is not self._request:
            return
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"x-request-id", request.id)]
        if self._closing:
            headers.append((b"connection", b"close"))
        self.write(_text(response.status_code, headers, bytes(response.body)))

    def hears(self, request: Request) -> bool:
        """Whether a plain answer to this request can be written now by `write`."""
        return request is self._request and not self._closing

    def write(self, text: bytes) -> None:
        """Write the whole answer to the request of the lane, and go on if its body is through."""
        self.transport.write(text[self._written :] if self._written else text)
        self._answered, self._written = True, 0
        if self._request is not None and not self._request.missing:
            self._finish()

    def _finish(self) -> None:
        self._request = None
        self.server_state.total_requests += 1
        if self._closing:
            self.transport.close()
        elif self._later:
            later, self._later = self._later, b""
            self.flow.resume_reading()
            self._receive(later, self._at)
        else:
            self._rest()

    def _rest(self) -> None:
        """Nothing is asked: wait for more, by one timer, since to set it anew after each answer took 2 µs."""
        if self._half_closed:
            self.transport.close()
            return
        self._rests_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _probe(self) -> None:
        """Write a piece of what every answer begins with: a client that did not only close its sending half refuses it."""
        if self._request is not None and self._written < len(_VERSION) and not self.transport.is_closing():
            self.transport.write(_VERSION[self._written : self._written + 3])
            self._written += 3
            self.loop.call_later(_PROBE, self._probe)

    # Requests of the application.

    def _owes(self) -> bool:
        """Whether the application has an answer to write."""
        return bool(self.pipeline) or not (self._running is None or self._running.response_complete)

    def _parse(self, data: bytes) -> None:
        self._rests_since = math.inf
        while data:
            self._silent += len(data)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._upgrade(data[upgrade.args[0] :])
                continue
            except httptools.HttpParserError as error:
                cause = error.__context__
                self._refuse(
                    cause if isinstance(cause, CarouselError) else InvalidRequest(f"this is not HTTP: {error}")
                )
                return
            if self._silent > _HEAD:
                self._refuse(HeadTooLarge(f"a line has over {_HEAD} bytes"))
            elif self._parses and data.endswith(b"\n") and self.parser.get_http_version() == "0.0":
                self._refuse(InvalidRequest("HTTP/0.9 is not served"))
            return

    def _upgrade(self, rest: bytes) -> bytes:
        """Hand the connection over to the stream, or give what to parse: the request without its offer (RFC 9110, 7.8)."""
        lines = [(name, value) for name, value in self.headers if name != b"upgrade"]
        if self._should_upgrade() and not self._owes():
            self.handle_websocket_upgrade()
            if rest:
                cast("Any", self.transport.get_protocol()).data_received(rest)
        elif self._should_upgrade() or len(lines) == len(self.headers):
            self._refuse(InvalidRequest("this connection cannot become another one"))
        else:
            first = b"%b %b HTTP/%b\r\n" % (
                self.parser.get_method(),
                self.url,
                self.parser.get_http_version().encode(),
            )
            return first + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n" + rest
        return b""

    def on_message_begin(self) -> None:
        """As httptools has it, and so are the next ones."""
        self._parses, self._served, self._size, self._silent = True, False, 0, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count; trailers are not headers."""
        self._count(len(name) + len(value))
        if len(self.headers) >= _LINES:
            raise HeadTooLarge(f"over {_LINES} header lines")
        if self._served:
            self._size += _HEAD // _LINES
        else:
            super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._silent = 0
        self._size += size
        if self._size > _HEAD:
            raise HeadTooLarge(f"the head has over {_HEAD} bytes")

    def on_headers_complete(self) -> None:
        """Check the head; the application begins."""
        self._silent = 0
        if self.parser.should_upgrade() and not self._should_upgrade():
            return  # it comes again without its offer
        self._check()
        self._served = True
        super().on_headers_complete()

    def _check(self) -> None:
        """Refuse what could be read in two ways."""
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            raise InvalidRequest(f"HTTP/{self.parser.get_http_version()} is not served")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            raise InvalidRequest(f"{len(hosts)} Host headers")
        if hosts and not HOST.fullmatch(hosts[0]):
            raise InvalidRequest("Host is not a name or address with or without a port")
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in self.headers}:
            raise InvalidRequest("Content-Length and Transfer-Encoding")

    def on_body(self, body: bytes) -> None:
        """As httptools has it."""
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See on_message_begin."""
        self._parses = False
        if self._served:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Begin what was sent ahead, or rest."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        elif self._refusal:
            self._write_refusal()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            self._rest()

    def _drop_last(self) -> bool:
        """Forget a request of which a part is missing → whether it was not yet to be answered."""
        if self._served and self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
        elif self._served:
            return False
        self._parses = False
        return True

    def _refuse(self, error: CarouselError) -> None:
        """Answer what is no request, after the answers that are owed, and close."""
        headers = [(b"x-request-id", secrets.token_urlsafe(12).encode()), (b"connection", b"close")]
        response = body.problem(error)
        self._refusal = _text(error.status, [*response.raw_headers, *headers], bytes(response.body))
        if self._parses and not self._drop_last() and self._running is not None:
            self._running.disconnected = True  # its body is what cannot be read
            if self._running.response_started:
                self.transport.close()
            else:
                self._write_refusal()
        elif not self._owes():
            self._write_refusal()

    def _write_refusal(self) -> None:
        self.transport.write(self._refusal)
        self.transport.close()

    # Ends.

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn's; the timer goes on."""

    def _stop_timer(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()

    def timeout_keep_alive_handler(self) -> None:
        """Close, unless the connection has not rested for so long."""
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            left = min(left, self.timeout_keep_alive)
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol."""
        self._stop_timer()
        self._running = self.cycle = None  # type: ignore[assignment]  # as above
        super().handle_websocket_upgrade()

    def shutdown(self) -> None:
        """Answer what is there, and wait for no body that is on its way: nothing of it was accepted."""
        if self._request is not None and not self._request.missing:
            self._closing = True
        elif self._request is not None or (self._running is not None and self._running.more_body):
            self.transport.close()
        else:
            super().shutdown()


def _text(status: int, headers: Iterable[tuple[bytes, bytes]], content: bytes) -> bytes:
    return b"".join((STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", content))
