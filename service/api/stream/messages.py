"""Messages from the bytes of a WebSocket, by picows. Knows the protocol (RFC 6455); no connection.

picows checks opcodes, masks, lengths and control frames. What it leaves to its user is here: reserved bits, the order
of fragments, UTF-8, the codes of close frames, and bounds of its buffer.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from picows import WSAutoPingStrategy, WSFrame, WSListener, WSMsgType, WSProtocolError, WSTransport
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # its stubs leave it out

if TYPE_CHECKING:
    from service.api.stream.websocket import Socket

TEXT, BINARY, CLOSE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CLOSE
_GOES_ON, _PING, _PONG = WSMsgType.CONTINUATION, WSMsgType.PING, WSMsgType.PONG
_BAD, _NOT_UTF8, _TOO_LONG = 1002, 1007, 1009  # close codes of violations
_CLOSE_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}  # that a frame may name (7.4)
_UPGRADE = (  # a handshake for picows, which reads one before frames: the client's own was answered
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_BUFFER = 2**14  # bytes of picows' buffer at first; it doubles when it is nearly full, and never shrinks
_LARGE = 2**18  # bytes of a message after which it is replaced
READ = 2**16  # bytes read at once, or it would be filled as far as it goes while others wait


class _Log(logging.LoggerAdapter[logging.Logger]):
    """picows' log. What it calls an error is a violation by a client."""

    error = logging.LoggerAdapter.debug


_log = _Log(logging.getLogger("picows"), None)


class Messages(WSListener):
    """Reads what one client sends. Invariant: no message is passed on after a close frame or a violation."""

    def __init__(self, transport: Any, most: int, socket: Socket) -> None:
        self._transport, self._most, self._socket = transport, most, socket  # most: bytes of a message
        self._kind: WSMsgType | None = None  # of the message whose fragments are coming
        self._parts = bytearray()  # of it
        self._came = 0  # bytes since the last frame
        self._holds = self._ended = False
        self._begin()

    def get_buffer(self, sizehint: int = -1) -> Any:
        """Return the memory to read into."""
        memory = self._protocol.get_buffer(sizehint)
        return memory if len(memory) <= READ else memory[:READ]

    def buffer_updated(self, nbytes: int) -> None:
        """Read bytes that were written there."""
        self._came += nbytes
        self._protocol.buffer_updated(nbytes)
        if self._came > READ or self._parts or self._holds:
            self._hold()

    def feed(self, data: bytes) -> None:
        """Read bytes that came otherwise."""
        rest = memoryview(data)
        while rest:
            space = self.get_buffer()
            size = min(len(space), len(rest))
            space[:size] = rest[:size]
            self.buffer_updated(size)
            rest = rest[size:]

    def _begin(self) -> None:
        """Let picows read what comes from here on, with an empty buffer."""
        transport = self._transport
        line = SimpleNamespace(
            write=transport.write,
            writelines=lambda pieces: transport.write(b"".join(pieces)),  # uvloop would keep views of picows' buffer
            get_write_buffer_size=transport.get_write_buffer_size,
            get_extra_info=transport.get_extra_info,
            close=self._socket.linger,
        )
        server = None, None, False, lambda _: self, _log, True, None
        no_pings = False, 0, 0, WSAutoPingStrategy.PING_WHEN_IDLE, False
        self._protocol = WSProtocol(*server, *no_pings, self._most, None, _BUFFER)
        self._protocol.connection_made(line)
        self._socket.ws, line.write = self._protocol.transport, _ignore  # the answer to the handshake below
        self.feed(_UPGRADE)

    def on_ws_frame(self, ws: WSTransport, frame: WSFrame) -> None:
        """Read a frame."""
        kind, self._came = frame.msg_type, 0
        if self._ended or ws.is_close_frame_sent:
            if kind is CLOSE:
                self._socket.end(None)
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise WSProtocolError(_BAD, "a reserved bit is set, and no extension was negotiated")
        elif kind is BINARY and frame.fin and self._kind is None:
            content = frame.get_payload_as_bytes()
            self._socket.take(content)
            if len(content) > _LARGE:
                self._free(frame)
        elif kind is _PING:
            self._socket.answer_ping(frame.get_payload_as_bytes())
        elif kind is CLOSE:
            self._close(frame.get_payload_as_bytes())
        elif kind is not _PONG:
            self._read(kind, frame)

    def _read(self, kind: WSMsgType, frame: WSFrame) -> None:
        """Read a frame of a text or of a fragmented message."""
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
            self._socket.take(content if kind is BINARY else content.decode())
        except UnicodeDecodeError:
            raise WSProtocolError(_NOT_UTF8, "a text that is not UTF-8") from None
        if len(content) > _LARGE:
            self._free(frame)

    def _free(self, frame: WSFrame) -> None:
        """Replace a large buffer, unless a part of the next frame is in it."""
        if not (frame.tail_size or self._ended or self._socket.ws.is_close_frame_sent):
            self._begin()

    def _hold(self) -> None:
        size = self._came + len(self._parts)
        self._holds = size > READ
        self._socket.hold(size if self._holds else 0)

    def _close(self, content: bytes) -> None:
        if content and int.from_bytes(content[:2]) not in _CLOSE_CODES:
            raise WSProtocolError(_BAD, "a close frame with a code that is not sent")
        self._ended = True
        self._socket.end(content)


def _ignore(*_: object) -> None:
    """Do nothing."""
