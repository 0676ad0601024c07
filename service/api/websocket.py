"""The connection of a stream, below ASGI: messages as they come. Knows uvicorn; nothing of Carousel."""

from collections.abc import Callable
from typing import Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.api.http import refusal
from service.api.rfc6455 import BINARY, CLOSE, PING, PONG, TEXT, Control, Parser, Violation, closing, frame

Take = Callable[[bytes | str], None]


class Socket(Protocol):
    """What a stream needs of its connection: messages in the turn of the loop that brings them."""

    def attach(self, take: Take, writable: Callable[[], None], lost: Callable[[], None]) -> None:
        """Let `take` have the messages; tell `writable` when the client reads again, and `lost` when none will come."""

    def discard(self) -> None:
        """Read on, for the client's close, and take no message any more."""

    def answer(self, content: bytes, *, text: bool) -> bool:
        """Send a message, for which nobody is to blame if it is lost on the way → whether the client reads."""

    def hold(self) -> None:
        """Read nothing, so that the client has to wait."""

    def go_on(self) -> None:
        """Read again."""

    def close(self, code: int) -> None:
        """Close, unless that has begun."""


def _nobody(*message: object) -> None:
    """Takes what nobody wants."""


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which makes the handshake. By way of ASGI each frame would cost two more turns of the loop, a
    pause of the reading and a dearer parser, so a stream finds this in its scope, as a `Socket`, and attaches itself.
    """

    _parser: Parser | None = None  # once a stream is attached, until nothing that comes counts any more
    _take: Take = staticmethod(_nobody)
    _writable: Callable[[], None] = staticmethod(_nobody)
    _lost: Callable[[], None] = staticmethod(_nobody)
    _pong = b""  # to a client that does not read

    # What the stream asks for.

    def attach(self, take: Take, writable: Callable[[], None], lost: Callable[[], None]) -> None:
        """See Socket."""
        self._take, self._writable, self._lost = take, writable, lost
        self._parser = Parser(self.config.ws_max_size)

    def discard(self) -> None:
        """See Socket."""
        self._take = _nobody
        self.go_on()

    def answer(self, content: bytes, *, text: bool) -> bool:
        """See Socket."""
        reads = self.writable.is_set()
        if not (self.close_sent or self.transport.is_closing()):
            self.transport.write(frame(TEXT if text else BINARY, content))
        return reads

    def hold(self) -> None:
        """See Socket."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self) -> None:
        """See Socket."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self, code: int, reason: str = "") -> None:
        """See Socket."""
        if not (self.close_sent or self.transport.is_closing()):
            self.transport.write(closing(code, reason))
            self.close_sent = True
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    # What the loop tells.

    def data_received(self, data: bytes) -> None:
        """Read messages; before there is a stream, a handshake."""
        if self._parser is not None:
            if (message := self._parser.whole(data)) is not None:
                self._take(message)
            else:
                self._read(self._parser, data)
        elif not self.handshake_initiated:
            self._shake_hands(data)
        elif not self.close_sent:  # the client did not wait for our answer (RFC 6455, 4.1)
            self.transport.close()

    def resume_writing(self) -> None:
        """Tell the stream too."""
        super().resume_writing()
        if self._pong:
            self.transport.write(self._pong)
            self._pong = b""
        self._writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the stream too."""
        super().connection_lost(exc)
        self._lost()

    async def run_asgi(self) -> None:
        """Put this into the scope."""
        self.scope["extensions"]["carousel.socket"] = self  # type: ignore[assignment]  # an extension may be anything
        await super().run_asgi()

    # What came.

    def _shake_hands(self, data: bytes) -> None:
        """uvicorn would not answer a handshake that cannot be parsed; it may have a body, say."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(refusal(f"no WebSocket handshake: {self.conn.handshake_exc}"))
            self.transport.close()

    def _read(self, parser: Parser, data: bytes) -> None:
        try:
            for message in parser.feed(data):
                if not isinstance(message, Control):
                    self._take(message)
                elif message.kind == PING:
                    self._answer_ping(message.content)
                elif message.kind == CLOSE:
                    self._closed(message.content)
                    return
        except Violation as violation:
            self._fail(violation)

    def _answer_ping(self, content: bytes) -> None:
        """A client that does not read gets the last pong (RFC 6455, 5.5.3), as all of them would pile up."""
        pong = frame(PONG, content)
        if self.writable.is_set():
            self.transport.write(pong)
        else:
            self._pong = pong

    def _closed(self, content: bytes) -> None:
        """The client's close: an answer to ours, or to be answered."""
        self._parser = None
        if not self.close_sent:
            self.transport.write(frame(CLOSE, content))
            self.close_sent = True
        self.transport.close()
        self._lost()

    def _fail(self, violation: Violation) -> None:
        """Say why (1009: a message over the limit), then discard what still comes until the client closes: while it
        sends, a reset would overtake the code.
        """
        self._parser = None
        self.close(violation.code, violation.reason)
        self.transport.write_eof()
        self._lost()
