"""HTTP/1.1 for the application: uvicorn's protocol, with the bounds, checks and order of answers that it lacks.

What clients see of it is in docs/wire.md, "HTTP".
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.api import body
from service.api.request import HOST
from service.errors import CarouselError, HeadTooLarge, InvalidRequest, Overloaded, TooSlow

if TYPE_CHECKING:
    from service.api.guard import Guard

_LINES, _HEAD = 100, 2**16  # of a head, its trailers included: lines and bytes
WINDOW = 10.0  # seconds in which a body has to go on
_TURN, _BODY = 2**12, 2**15  # bytes that are parsed in one turn of the loop: of heads, of a body


class Http(HttpToolsProtocol):
    """Invariant: answers are written in the order of the requests, and a refusal of what is no request is the last."""

    def __init__(self, guard: Guard, **how: Any) -> None:
        super().__init__(**how)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True, lenient_chunked_length=True)  # `_check`
        self.guard = guard
        self.due = math.inf  # see `Guarded`
        self._received = self._mark = 0  # bytes; at the beginning of the WINDOW
        self._held = 0  # of them, as the guard has it
        self._later, self._at = b"", 0  # bytes for a later turn, and where they begin
        self._parses = self._served = False  # the parser has a part of a message; the application has it too
        self._size = self._silent = 0  # bytes of the head; bytes of which the parser made nothing
        self._running: RequestResponseCycle | None = None  # that is to answer next
        self._refusal = b""
        self._half_closed = self._left = False  # the client sends no more; another protocol has the connection

    # The connection.

    def connection_made(self, transport: Any) -> None:
        """As asyncio has it."""
        super().connection_made(transport)
        self.due = self.loop.time() + self.guard.head_seconds
        if not self.guard.enter(self):
            self._refuse(Overloaded(f"{self.guard.most} connections are open"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the one that is to answer; uvicorn tells the last of those behind it."""
        self._leave()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        self._running = self.cycle = None  # type: ignore[assignment]  # they know this connection

    def data_received(self, data: bytes) -> None:
        """As asyncio has it."""
        self._received += len(data)
        if self._later:
            self._later += data
            self.flow.pause_reading()
        elif not self._refusal:
            self._receive(data, 0)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's is never true
        """Keep the connection open for answers that are owed: a client may close its sending half (RFC 9112, 9.6)."""
        if not self._later and self._parses and not self._drop_last():
            return False
        self._half_closed = bool(self._later) or self._owes()
        return self._half_closed

    def overdue(self, now: float) -> None:
        """See Guarded."""
        if not self._parses:
            self.transport.close()  # it rests, or never asked anything
        elif not self._served:
            self._refuse(TooSlow(f"a head takes over {self.guard.head_seconds:g} s"))
        elif not self._goes_on(now):
            self._refuse(self._too_slow())

    def _goes_on(self, now: float) -> bool:
        """Whether enough of a body came in the last WINDOW; then it gets another one."""
        enough = self.flow.read_paused or self._received - self._mark >= WINDOW * self.guard.body_rate
        self._mark, self.due = self._received, now + WINDOW
        return enough

    def _too_slow(self) -> TooSlow:
        return TooSlow(f"under {self.guard.body_rate} bytes/s of a body came in {WINDOW:g} s")

    def unread(self) -> int:
        """See Guarded."""
        return self.transport.get_write_buffer_size()

    def abort(self) -> None:
        """See Guarded."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Answer what is there, and wait for no body that is on its way: nothing of it was accepted."""
        if self._running is not None and self._running.more_body:
            self.transport.close()
        else:
            super().shutdown()

    def _rest(self) -> None:
        """Nothing is asked: wait for more."""
        if self._half_closed:
            self.transport.close()
        else:
            self.due = self.loop.time() + self.timeout_keep_alive

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn's clock; see `due`."""

    def _hold(self, size: int) -> None:
        self.guard.hold(size)
        self._held += size

    def _release(self) -> None:
        self.guard.release(self._held)
        self._held = 0

    def _leave(self) -> None:
        self._release()
        self.guard.leave(self)

    # The parser.

    def _receive(self, data: bytes, at: int) -> None:
        """Parse data from `at` on, as many as one turn of the loop has time for."""
        end = at + (_BODY if self._parses and self._served else _TURN)
        self._parse(data[at:end])
        if end >= len(data):
            return
        if self._left:
            cast("Any", self.transport.get_protocol()).data_received(data[end:])
            return
        self._keep(data, end)
        if not self.pipeline:  # else it goes on when they are answered
            self.loop.call_soon(self._go_on)

    def _keep(self, data: bytes, at: int) -> None:
        """Look at data from `at` on later."""
        self._later, self._at = data, at
        self.flow.pause_reading()

    def _go_on(self) -> None:
        """Look at what was kept."""
        if not self._later or self._refusal or self.transport.is_closing():
            return
        later, self._later = self._later, b""
        self.flow.resume_reading()
        self._receive(later, self._at)
        if self._half_closed and not self._later and not self.eof_received():
            self.transport.close()

    def _parse(self, data: bytes) -> None:
        while data:
            self._silent += len(data)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._upgrade(data[upgrade.args[0] :])
                continue
            except httptools.HttpParserError as error:
                known = isinstance(error.__context__, CarouselError)
                self._refuse(cast("CarouselError", error.__context__) if known else InvalidRequest(f"no HTTP: {error}"))
                return
            if self._silent > _HEAD:
                self._refuse(HeadTooLarge(f"a line has over {_HEAD} bytes"))
            elif self._parses and data.endswith(b"\n") and self.parser.get_http_version() == "0.0":
                self._refuse(InvalidRequest("HTTP/0.9 is not served"))
            return

    def _upgrade(self, rest: bytes) -> bytes:
        """Hand the connection over to the stream → b"", or the request without its offer (RFC 9110, 7.8), to parse."""
        lines = [(name, value) for name, value in self.headers if name != b"upgrade"]
        if self._should_upgrade() and not self._owes():
            self._leave()
            self._left = True
            self._running = self.cycle = None  # type: ignore[assignment]  # they know this connection
            self.handle_websocket_upgrade()
            if rest:
                cast("Any", self.transport.get_protocol()).data_received(rest)
            return b""
        if self._should_upgrade() or len(lines) == len(self.headers):
            self._refuse(InvalidRequest("this connection cannot become another one"))
            return b""
        version = self.parser.get_http_version().encode()
        first = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)
        return first + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n" + rest

    def on_message_begin(self) -> None:
        """A head is on its way."""
        self._parses, self._served, self._size, self._silent = True, False, 0, 0
        self.due = self.loop.time() + self.guard.head_seconds
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count; trailers are not headers."""
        self._count(len(name) + len(value) + _HEAD // _LINES * self._served)
        if not self._served:
            if len(self.headers) == _LINES:
                raise HeadTooLarge(f"over {_LINES} header lines")
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
        self._served, self._mark, self.due = True, self._received, self.loop.time() + WINDOW
        super().on_headers_complete()

    def _check(self) -> None:
        """Refuse what could be read in two ways."""
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise InvalidRequest(f"HTTP/{version} is not served")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            raise InvalidRequest(f"{len(hosts)} Host headers")
        if hosts and not HOST.fullmatch(hosts[0]):
            raise InvalidRequest("Host is not a name or address with or without a port")
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (codings != [b"chunked"] or any(name == b"content-length" for name, _ in self.headers)):
            raise InvalidRequest("Transfer-Encoding is other than chunked, or stands beside Content-Length")

    def on_body(self, body: bytes) -> None:
        """Hold it, unless the request is answered already."""
        self._silent = 0
        if not self.cycle.response_complete:
            self._hold(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is for us to act."""
        self._parses, self.due = False, math.inf
        self._release()
        if self._served:
            super().on_message_complete()
            if not self._owes() and not self._later:
                self._rest()

    # Answers.

    def _owes(self) -> bool:
        """Whether the application has an answer to write."""
        return bool(self.pipeline) or not (self._running is None or self._running.response_complete)

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
            if self._later:
                self.loop.call_soon(self._go_on)
            elif not self._parses:
                self._rest()

    def _drop_last(self) -> bool:
        """Forget a request of which a part is missing → whether nothing of it was to be answered yet."""
        if self._served and not (self.pipeline and self.pipeline[0][0] is self.cycle):
            return False
        if self._served:
            self.pipeline.popleft()
        self._parses = False
        return True

    def _refuse(self, error: CarouselError) -> None:
        """Answer what is no request, after the answers that are owed, and close."""
        headers = [(b"x-request-id", secrets.token_urlsafe(12).encode()), (b"connection", b"close")]
        response = body.problem(error)
        self._refusal = text(error.status, [*response.raw_headers, *headers], bytes(response.body))
        self.due = math.inf
        if self._parses and not self._drop_last() and self._running is not None:
            self._running.disconnected = True  # it is what cannot be read
            if self._running.response_started:
                self.transport.close()
            else:
                self._write_refusal()
        elif not self._owes():
            self._write_refusal()

    def _write_refusal(self) -> None:
        self.transport.write(self._refusal)
        self.transport.close()


def text(status: int, headers: Iterable[tuple[bytes, bytes]], content: bytes) -> bytes:
    """An answer."""
    return b"".join((STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", content))
