"""A WebSocket to `/v1/stream` whose client sends any bytes and reads frames."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from websockets.frames import CLOSE, Close, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from tests.wire.frames import HANDSHAKE


class Raw:
    """One connection, past its handshake."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._client = Protocol(Side.CLIENT, state=OPEN, max_size=None)
        self._heard: list[Frame] = []

    def send(self, *pieces: bytes) -> None:
        """Send these, each in a segment of its own as far as the kernel lets us."""
        for piece in pieces:
            self.connection.sendall(piece)

    def hear(self) -> tuple[Opcode, bytes]:
        """The next frame."""
        while not self._heard:
            data = self.connection.recv(65_536)
            assert data, "closed without a close frame"
            self._client.receive_data(data)
            self._heard += [frame for frame in self._client.events_received() if isinstance(frame, Frame)]
        frame = self._heard.pop(0)
        return frame.opcode, bytes(frame.data)

    def hear_text(self) -> dict[str, Any]:
        """The next frame, a text."""
        kind, content = self.hear()
        assert kind is Opcode.TEXT, (kind, content)
        told: dict[str, Any] = orjson.loads(content)
        return told

    def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame that is next, after which nothing comes."""
        kind, content = self.hear()
        assert kind is CLOSE, (kind, content)
        assert self.connection.recv(1) == b""
        close = Close.parse(content)
        return int(close.code), close.reason


@contextmanager
def dial_raw(port: int, handshake: bytes = HANDSHAKE) -> Iterator[Raw]:
    """A connection whose handshake was answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(handshake)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
            assert head
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield Raw(connection)


def cut(content: bytes, size: int) -> Iterable[bytes]:
    """The content in pieces of a size."""
    return [content[at : at + size] for at in range(0, len(content), size)]
