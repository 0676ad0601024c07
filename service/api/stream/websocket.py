"""The connection of a stream: a WebSocket below ASGI. Knows uvicorn and the guard; nothing of Carousel.

uvicorn reads the request and makes a `Socket`, its public `ws=` class. The socket answers the handshake and lets
`Messages` read what follows. It sends, pings, closes, and tells whether the client reads.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from service.api.stream.handshake import Handshake, refused
from service.api.stream.messages import BINARY, CLOSE, READ, TEXT, Messages
from service.errors import CarouselError, Overloaded

if TYPE_CHECKING:
    from service.api.guard import Guard
    from service.api.http.edge import Edge

_PING_SECONDS = 20.0  # between pings, by which proxies see a live connection and TCP finds dead ones
_CLOSE_SECONDS = 10.0  # for the client's part in closing
_RESTART, _TRY_AGAIN = 1012, 1013  # close codes
_DROPPED = bytearray(READ)  # what is read after a violation, of all sockets

Take = Callable[[bytes | str], None]


def _ignore(*_: object) -> None:
    """Do nothing."""


class Socket(asyncio.BufferedProtocol):
    """One connection. Invariant: once it is `_closed`, nothing is sent and no message is passed on."""

    transport: Any  # the stream pauses its reading, so that the client has to wait
    take: Take

    def __init__(
        self, serve: Callable[[Socket], None], edge: Edge, guard: Guard, most: int, *, server_state: Any, **how: Any
    ) -> None:
        self._serve, self._edge, self._guard, self._most = serve, edge, guard, most  # bytes of a message
        self.headers: Mapping[bytes, bytes] = {}  # of the handshake, by name in small letters
        self._connections: set[object] = server_state.connections  # which uvicorn shuts down at its end
        self._messages: Messages | None = None  # None: what comes is dropped
        self.ws: Any = None  # where they are sent
        self._reads = True  # the client reads what is written
        self._pong: bytes | None = None  # for a client that does not read
        self._held = 0  # bytes of an unfinished message, as the guard has it
        self._closed = False
        self.due = math.inf  # see `Guarded`
        self.attach(_ignore, _ignore, _ignore)

    # For the stream.

    def attach(self, take: Take, writable: Callable[[], None], lost: Callable[[], None]) -> None:
        """Pass messages to `take`; call `writable` when the client reads again, `lost` when no message will come."""
        self.take, self._writable, self._lost = take, writable, lost

    def discard(self) -> None:
        """Drop messages from now on, but read on for the client's close frame."""
        self.take = _ignore
        self.transport.resume_reading()

    def answer(self, content: bytes, *, text: bool) -> bool:
        """Send a message, unless the connection is closed. Return whether the client reads."""
        if not self._closed:
            self.ws.send(TEXT if text else BINARY, content)
        return self._reads

    def close(self, code: int) -> None:
        """Send a close frame and wait for the client's, unless one was sent."""
        if not (self._closed or self.ws.is_close_frame_sent):
            self._closed = True
            self.ws.send_close(code)
            self.due = time.monotonic() + _CLOSE_SECONDS

    # For uvicorn and the transport.

    def connection_made(self, transport: Any) -> None:
        """Take the place of the connection by which the request came."""
        self.transport = transport
        self._connections.add(self)
        self._guard.enter(self)

    def data_received(self, data: bytes) -> None:
        """Read the handshake; then frames that came in its segment."""
        if self.ws is None and not self.transport.is_closing():
            self._open(Handshake(data))
        elif self._messages is not None:
            self._messages.feed(data)

    def get_buffer(self, sizehint: int) -> Any:
        """Drop what comes. Until a violation the method of `Messages` takes the place of this one."""
        return _DROPPED

    def buffer_updated(self, nbytes: int) -> None:
        """See get_buffer."""

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        self._reads = False

    def resume_writing(self) -> None:
        """Tell the stream that the client reads again."""
        self._reads = True
        if self._pong is not None and not self._closed:
            self.ws.send_pong(self._pong)
        self._pong = None
        self._writable()

    def shutdown(self) -> None:
        """Close at once: the server stops."""
        self.close(_RESTART)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: nothing comes or goes any more."""
        self._closed = True
        self._connections.discard(self)
        self._drop()
        self._guard.leave(self)
        self._lost()
        self.attach(_ignore, _ignore, _ignore)
        self.ws = None  # it refers to this

    def _open(self, handshake: Handshake) -> None:
        self.headers = handshake.headers
        request_id = self._edge.name(self.headers)
        try:
            self.transport.write(handshake.accepted(request_id))
        except CarouselError as error:
            self._closed = True
            self.transport.write(refused(error, request_id))
            self.transport.close()
            return
        self._messages = messages = Messages(self.transport, self._most, self)
        self.get_buffer, self.buffer_updated = messages.get_buffer, messages.buffer_updated  # type: ignore[method-assign]
        self.due = time.monotonic() + _PING_SECONDS
        self._serve(self)

    # For the messages.

    def hold(self, size: int) -> None:
        """Count the bytes of a long message that is not whole, 0 once it is; close if too many are held already."""
        try:
            self._guard.hold(size - self._held)
            self._held = size
        except Overloaded as error:
            self.ws.send_close(_TRY_AGAIN, error.detail)
            self.linger()

    def answer_ping(self, content: bytes) -> None:
        """Send a pong; a client that does not read gets the last one later (RFC 6455, 5.5.3), or they would pile up."""
        if self._reads:
            self.ws.send_pong(content)
        else:
            self._pong = content

    def end(self, close: bytes | None) -> None:
        """Close. Send the client's close frame back first; None: it answers ours."""
        if close is not None:
            self._closed = True
            self.ws.send(CLOSE, close)
            self._lost()
        self.transport.close()

    def linger(self) -> None:
        """Close after a violation, for which a close frame was sent.

        While the client sends, a reset would overtake that frame: read and drop what comes until the client closes.
        """
        if not self._closed:
            self._closed = True
            self._drop()
            self.transport.set_protocol(self)
            self.transport.resume_reading()
            self.transport.write_eof()
            self.due = time.monotonic() + _CLOSE_SECONDS
            self._lost()

    # For the guard.

    def overdue(self, now: float) -> None:
        """Send a ping; no pong is waited for, as a client that back-pressure holds is alive. Or end a closing."""
        self.due = now + _PING_SECONDS
        if self._closed:
            self.transport.close()
        elif self._reads:
            self.ws.send_ping()

    def unread(self) -> int:
        """See Guarded."""
        size: int = self.transport.get_write_buffer_size()
        return size

    def abort(self) -> None:
        """See Guarded."""
        self.transport.abort()

    def _drop(self) -> None:
        """Stop reading messages."""
        if self._messages is not None:
            self._messages = None
            del self.get_buffer, self.buffer_updated
        self._guard.release(self._held)
        self._held = 0
