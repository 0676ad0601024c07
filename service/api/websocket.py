"""The connection of a stream: below ASGI, frames as they come. Knows uvicorn; nothing of Carousel."""

import struct
from collections.abc import Callable
from typing import Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.api.http import refusal

_TEXT, _BINARY = 0x81, 0x82  # first bytes of a whole frame of a server (RFC 6455, 5.2)


class Socket(Protocol):
    """What a stream needs of its connection: frames as they come, in the turn of the loop that brings them."""

    def attach(self, take: Callable[[bytes | str], None] | None, writable: Callable[[], None] | None) -> None:
        """Let `take` have the frames (None: discard them), and tell `writable` when `writes` is true again."""

    def answer(self, content: bytes, *, text: bool) -> None:
        """Send a frame; nobody is to blame for one that is lost on the way."""

    def writes(self) -> bool:
        """Whether the client reads what is sent."""

    def hold(self) -> None:
        """Read nothing, so that the client has to wait."""

    def go_on(self) -> None:
        """Read again."""


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which would never answer a handshake that cannot be parsed, and would close while the client
    still sends: the reset overtakes the close code. By way of ASGI each frame would cost two more turns of the loop and
    a pause of the reading, so a stream finds this in its scope, as a `Socket`.
    """

    _attached = False
    _take: Callable[[bytes | str], None] | None = None
    _writable: Callable[[], None] | None = None
    _pong = b""  # to a client that does not read

    async def run_asgi(self) -> None:
        """Put this into the scope."""
        self.scope["extensions"]["carousel.socket"] = self  # type: ignore[assignment]  # an extension may be anything
        await super().run_asgi()

    def attach(self, take: Callable[[bytes | str], None] | None, writable: Callable[[], None] | None) -> None:
        """See Socket."""
        self._take, self._writable, self._attached = take, writable, True

    def answer(self, content: bytes, *, text: bool) -> None:
        """See Socket."""
        if self.disconnected or self.close_sent or self.transport.is_closing():
            return
        kind, size = _TEXT if text else _BINARY, len(content)
        if size < 126:
            head = bytes((kind, size))
        else:
            head = struct.pack(">BBH", kind, 126, size) if size < 2**16 else struct.pack(">BBQ", kind, 127, size)
        self.transport.write(head + content)

    def writes(self) -> bool:
        """See Socket."""
        return self.writable.is_set()

    def hold(self) -> None:
        """See Socket."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self) -> None:
        """See Socket."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def handle_ping(self) -> None:
        """Answer; a client that does not read gets the last pong (RFC 6455, 5.5.3), as all of them would pile up."""
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(pong)
        else:
            self._pong = pong

    def resume_writing(self) -> None:
        """Tell the stream too."""
        super().resume_writing()
        if self._pong:
            self.transport.write(self._pong)
            self._pong = b""
        if self._writable is not None:
            self._writable()

    def send_receive_event_to_app(self) -> None:
        """Give a whole message to the stream, once there is one."""
        if not self._attached or self.close_sent:
            super().send_receive_event_to_app()
            return
        content, self.frames = b"".join(self.frames), []
        if self.curr_msg_data_type == "bytes":
            frame: bytes | str = content
        else:
            try:
                frame = content.decode()
            except UnicodeDecodeError:
                self.conn.fail(1007, "a text frame is not UTF-8")
                self.handle_parser_exception()
                return
        if self._take is not None:
            self._take(frame)

    def data_received(self, data: bytes) -> None:
        """Refuse a handshake that cannot be parsed; it may have a body, say."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(refusal(f"no WebSocket handshake: {self.conn.handshake_exc}"))
            self.transport.close()

    def handle_parser_exception(self) -> None:
        """Say why (1009: a frame over the limit), then discard what still comes until the client closes."""
        if self.close_timer is not None:
            return
        told = self.conn.close_sent
        assert told is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": told.code, "reason": told.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.close_sent = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)
