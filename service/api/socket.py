"""The connection of a stream: a WebSocket by picows, below ASGI. Knows uvicorn and picows; nothing of Carousel.

uvicorn reads the request and makes a `Socket`, its public `ws=` class. The socket answers the handshake, and from then
on picows reads the bytes. picows checks opcodes, masks, lengths and control frames. What it leaves to its user is here:
reserved bits, the order of fragments, UTF-8, close codes, pings, bounds of its buffer, and a close that is read.
"""

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from picows import WSAutoPingStrategy, WSFrame, WSListener, WSMsgType, WSProtocolError, WSTransport
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # its stubs leave it out

from service.api.edge import Edge
from service.api.handshake import Handshake, refused
from service.errors import CarouselError

_UPGRADE = (  # a handshake for picows, which reads one before frames: the client's own was answered
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_BUFFER = 2**14  # bytes of picows' buffer at first; it doubles when it is nearly full, and never shrinks
_LARGE = 2**18  # bytes of a message after which it is replaced
_READ = 2**16  # bytes read at once, or it would be filled as far as it goes while others wait
_DROPPED = bytearray(_READ)  # what is read after a violation, of all sockets
_PING_SECONDS = 20.0  # between pings, by which proxies see a live connection and TCP finds dead ones
_CLOSE_SECONDS = 10.0  # for the client's part in closing
_CLOSE_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}  # that a frame may name (RFC 6455, 7.4)
_TEXT, _BINARY, _GOES_ON = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
_CLOSE, _PING, _PONG = WSMsgType.CLOSE, WSMsgType.PING, WSMsgType.PONG
_BAD, _NOT_UTF8, _TOO_LONG = 1002, 1007, 1009  # close codes of violations


class _Log(logging.LoggerAdapter[logging.Logger]):
    """picows' log. What it calls an error is a violation by a client."""

    error = logging.LoggerAdapter.debug


_log = _Log(logging.getLogger("picows"), None)


Take = Callable[[bytes | str], None]


def _ignore(*_: object) -> None:
    """Do nothing."""


class Socket(WSListener, asyncio.BufferedProtocol):
    """One connection. Invariant: once it is `_closed`, nothing is sent and no message is passed on."""

    transport: Any  # the stream pauses its reading, so that the client has to wait

    def __init__(
        self, serve: Callable[["Socket"], None], edge: Edge, most: int, *, server_state: Any, **uvicorn: Any
    ) -> None:
        self._serve, self._edge, self._most = serve, edge, most  # bytes of a message
        self._connections: set[object] = server_state.connections  # which uvicorn shuts down at its end
        self._loop = asyncio.get_running_loop()
        self._reader: Any = None  # picows' protocol; None: what comes is dropped
        self._ws: Any = None  # its sending side
        self._kind: WSMsgType | None = None  # of the message whose fragments are coming
        self._parts = bytearray()  # of it
        self._reads = True  # the client reads what is written
        self._pong: bytes | None = None  # for a client that does not read
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self.attach(_ignore, _ignore, _ignore)

    # What the stream calls.

    def attach(self, take: Take, writable: Callable[[], None], lost: Callable[[], None]) -> None:
        """Pass messages to `take`; call `writable` when the client reads again, `lost` when no message will come."""
        self._take, self._writable, self._lost = take, writable, lost

    def discard(self) -> None:
        """Drop messages from now on, but read on for the client's close frame."""
        self._take = _ignore
        self.transport.resume_reading()

    def answer(self, content: bytes, *, text: bool) -> bool:
        """Send a message, unless the connection is closed. Return whether the client reads."""
        if not self._closed:
            self._ws.send(_TEXT if text else _BINARY, content)
        return self._reads

    def close(self, code: int) -> None:
        """Send a close frame and wait for the client's, unless one was sent."""
        if not (self._closed or self._ws.is_close_frame_sent):
            self._closed = True
            self._ws.send_close(code)
            self._after(_CLOSE_SECONDS, self.transport.close)

    # What uvicorn and the transport call.

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Read the handshake; then frames that came in its segment."""
        if self._ws is None and not self.transport.is_closing():
            self._open(Handshake(data))
        elif self._reader is not None:
            self._feed(data)

    def get_buffer(self, sizehint: int) -> Any:
        """Where to read to: picows' buffer."""
        return _DROPPED if self._reader is None else self._reader.get_buffer(sizehint)[:_READ]

    def buffer_updated(self, nbytes: int) -> None:
        """Let picows read."""
        if self._reader is not None:
            self._reader.buffer_updated(nbytes)

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        self._reads = False

    def resume_writing(self) -> None:
        """Tell the stream that the client reads again."""
        self._reads = True
        if self._pong is not None and not self._closed:
            self._ws.send_pong(self._pong)
        self._pong = None
        self._writable()

    def shutdown(self) -> None:
        """Close at once: the server stops."""
        self.close(1012)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: nothing comes or goes any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._connections.discard(self)
        self._lost()
        self.attach(_ignore, _ignore, _ignore)
        self._reader = self._ws = None  # they refer to this

    def _open(self, handshake: Handshake) -> None:
        request_id = self._edge.name(handshake.headers)
        try:
            self.transport.write(handshake.accepted(request_id))
        except CarouselError as error:
            self.transport.write(refused(error, request_id))
            self.transport.close()
            return
        self._read_frames()
        self._after(_PING_SECONDS, self._ping)
        self._serve(self)

    def _read_frames(self) -> None:
        """Let picows read from here on, with an empty buffer."""
        transport = self.transport
        line = SimpleNamespace(
            write=transport.write,
            writelines=lambda pieces: transport.write(b"".join(pieces)),  # uvloop would keep views of picows' buffer
            get_write_buffer_size=transport.get_write_buffer_size,
            get_extra_info=transport.get_extra_info,
            close=self._linger,
        )
        server = None, None, False, lambda _: self, _log, True, None
        no_pings = False, 0, 0, WSAutoPingStrategy.PING_WHEN_IDLE, False
        self._reader = WSProtocol(*server, *no_pings, self._most, None, _BUFFER)
        self._reader.connection_made(line)
        self._ws, line.write = self._reader.transport, _ignore  # the answer to the handshake below
        self._feed(_UPGRADE)

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and self._reader is not None:
            space = self._reader.get_buffer(-1)
            size = min(len(space), len(rest))
            space[:size] = rest[:size]
            self._reader.buffer_updated(size)
            rest = rest[size:]

    def _linger(self) -> None:
        """Close after a violation, for which a close frame was sent.

        While the client sends, a reset would overtake that frame: read and drop what comes until the client closes.
        """
        if not self._closed:
            self._closed, self._reader = True, None
            self.transport.resume_reading()
            self.transport.write_eof()
            self._after(_CLOSE_SECONDS, self.transport.close)
            self._lost()

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, act)

    def _ping(self) -> None:
        """No pong is waited for: a client that back-pressure holds is alive."""
        if self._reads:
            self._ws.send_ping()
        self._after(_PING_SECONDS, self._ping)

    # What picows calls.

    def on_ws_frame(self, ws: WSTransport, frame: WSFrame) -> None:
        """Take a frame."""
        kind = frame.msg_type
        if self._closed or ws.is_close_frame_sent:
            if kind is _CLOSE:
                self.transport.close()
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise WSProtocolError(_BAD, "a reserved bit is set, and no extension was negotiated")
        elif kind is _BINARY and frame.fin and self._kind is None:
            self._pass_on(frame.get_payload_as_bytes(), frame)
        elif kind is _PING:
            self._answer_ping(frame.get_payload_as_bytes())
        elif kind is _CLOSE:
            self._answer_close(frame.get_payload_as_bytes())
        elif kind is not _PONG:
            self._read(kind, frame)

    def _read(self, kind: WSMsgType, frame: WSFrame) -> None:
        """Read a text or a fragment; pass the message on if it is whole."""
        if (kind is _GOES_ON) is (self._kind is None):
            raise WSProtocolError(_BAD, "a message begins before the end of another, or goes on before its beginning")
        if len(self._parts) + frame.payload_size > self._most:
            raise WSProtocolError(_TOO_LONG, f"a message of more than {self._most} bytes")
        self._parts += frame.get_payload_as_memoryview()
        self._kind = kind = self._kind or kind
        if not frame.fin:
            return
        content, self._kind, self._parts = bytes(self._parts), None, bytearray()
        try:
            self._pass_on(content if kind is _BINARY else content.decode(), frame)
        except UnicodeDecodeError:
            raise WSProtocolError(_NOT_UTF8, "a text that is not UTF-8") from None

    def _pass_on(self, message: bytes | str, frame: WSFrame) -> None:
        self._take(message)
        if len(message) > _LARGE and not (frame.tail_size or self._closed):
            self._read_frames()

    def _answer_ping(self, content: bytes) -> None:
        """Send a pong; a client that does not read gets the last one later (RFC 6455, 5.5.3), or they would pile up."""
        if self._reads:
            self._ws.send_pong(content)
        else:
            self._pong = content

    def _answer_close(self, content: bytes) -> None:
        """Send the client's close frame back."""
        if content and int.from_bytes(content[:2]) not in _CLOSE_CODES:
            raise WSProtocolError(_BAD, "a close frame with a code that is not sent")
        self._closed = True
        self._ws.send(_CLOSE, content)
        self.transport.close()
        self._lost()
