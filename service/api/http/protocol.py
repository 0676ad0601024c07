"""HTTP/1.1 for the application: uvicorn's protocol, with the bounds, checks and order of answers that it lacks.

What clients see of it is in docs/wire.md, "HTTP".
"""

from __future__ import annotations

import math
import re
import secrets
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.api.http import body
from service.api.http.guarded import WINDOW, GuardedHttp
from service.api.http.head import HeadSize, check
from service.errors import CarouselError, HeadTooLarge, InvalidRequest

if TYPE_CHECKING:
    from service.api.guard import Guard

_ORIGIN = re.compile(rb"^[a-z]+://[^/?]+/?", re.IGNORECASE)  # of a target in absolute form (RFC 9112, 3.2.2)
_TURN, _BODY = 2**12, 2**15  # bytes that are parsed in one turn of the loop: of heads, of a body


class Http(GuardedHttp):
    """Invariant: answers are written in the order of the requests, and a refusal of what is no request is the last."""

    def __init__(self, guard: Guard, **how: Any) -> None:
        super().__init__(guard, **how)
        self.parser = self._new_parser()
        self._later, self._at = b"", 0  # bytes for a later turn, and where they begin
        self._head = HeadSize()
        self._running: RequestResponseCycle | None = None  # that is to answer next
        self._refusal = b""
        self._half_closed = self._left = False  # the client sends no more; another protocol has the connection

    # The connection.

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
            self._head.feed(len(data))
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._upgrade(data[upgrade.args[0] :])
                continue
            except httptools.HttpParserError as error:
                ours = isinstance(error, httptools.HttpParserCallbackError)  # else the context is that of our caller
                known = ours and isinstance(error.__context__, CarouselError)  # in a variable: a cycle
                self._refuse(cast("CarouselError", error.__context__) if known else InvalidRequest(f"no HTTP: {error}"))
                return
            if self._head.endless:
                self._refuse(HeadTooLarge("a line does not end"))
            elif self._parses and data.endswith(b"\n") and self.parser.get_http_version() == "0.0":
                self._refuse(InvalidRequest("HTTP/0.9 is not served"))
            return

    def _new_parser(self) -> Any:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True, lenient_chunked_length=True)  # see `check`
        return parser

    def _get_upgrade(self) -> bytes | None:
        """`websocket` if the client offers it, in any place of a list: uvicorn reads the last line as one offer."""
        offered = self._tokens(b"connection") >= {b"upgrade"} and b"websocket" in self._tokens(b"upgrade")
        return b"websocket" if offered else None

    def _tokens(self, name: bytes) -> set[bytes]:
        lists = (value for one, value in self.headers if one == name)
        return {token.strip().lower() for value in lists for token in value.split(b",")}

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
        self.parser = self._new_parser()  # the old one takes no more data after a last request
        return first + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n" + rest

    def on_message_begin(self) -> None:
        """A head is on its way."""
        self._parses, self._served = True, False
        self._head.begin()
        self.due = self.loop.time() + self.guard.head_seconds
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count."""
        self._head.add(len(url), 0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count; trailers are not headers, and blanks behind a value are no part of it (RFC 9110, 5.5)."""
        self._head.add(len(name) + len(value))
        if not self._served:
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """Check the head; the application begins."""
        self._head.heard()
        if self.parser.should_upgrade() and not self._should_upgrade():
            return  # it comes again without its offer
        check(self.parser.get_http_version(), self.headers)
        if not self.url.startswith(b"/"):
            self.url = _ORIGIN.sub(b"/", self.url)
        self._served, self._mark, self.due = True, self._received, self.loop.time() + WINDOW
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hold it, unless the request is answered already."""
        self._head.heard()
        if not self.cycle.response_complete:
            self._hold(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is for us to act."""
        self._parses, self.due = False, math.inf
        self._release()
        if self._served:
            super().on_message_complete()
            if not (self._owes() or self._later or self._half_closed):  # what is parsed may have another request
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
            if not self._parses and not self._later:
                self._rest()
        if self._later and not self.pipeline:
            self.loop.call_soon(self._go_on)  # be it with the body of the one that has just begun

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
        response = body.refusal(error, getattr(self, "url", b"").decode("latin-1"))
        self._refusal = body.rendered(error.status, [*response.raw_headers, *headers], bytes(response.body))
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
