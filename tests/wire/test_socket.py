"""The bytes of a stream's connection: however they are cut, and what ends it."""

import socket
from collections.abc import Iterator

import numpy as np
import orjson
import pytest
from websockets.frames import CLOSE, PONG, Close, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from tests.wire.binary import Item, answer, request
from tests.wire.frames import BINARY, HANDSHAKE, PING, TEXT, masked
from tests.wire.frames import CLOSE as CLOSING
from tests.wire.server import Server

ONE = np.ones((9, 3), np.float32)


class Line:
    """A socket that says any bytes and hears frames."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._client = Protocol(Side.CLIENT, state=OPEN)
        self._heard: list[Frame] = []

    def hear(self) -> tuple[Opcode, bytes]:
        """The next frame."""
        while not self._heard:
            data = self.connection.recv(65_536)
            assert data, "closed without a word"
            self._client.receive_data(data)
            self._heard += [frame for frame in self._client.events_received() if isinstance(frame, Frame)]
        frame = self._heard.pop(0)
        return frame.opcode, bytes(frame.data)

    def closed(self) -> int:
        """The code it is closed with, after which nothing comes."""
        kind, content = self.hear()
        assert kind is CLOSE, content
        assert self.connection.recv(1) == b""
        return int(Close.parse(content).code)


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(HANDSHAKE)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 101 ")
        yield Line(connection)


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.mark.parametrize("size", [1, 7, 200, 100_000])
def test_messages_are_the_same_however_their_bytes_are_cut(line: Line, name: str, size: int) -> None:
    opening = masked(orjson.dumps({"id": 1, "open": {"model": "lstm", "session": f"{name}-{size}"}}), TEXT)
    frames = [masked(request(id, [Item(1, ONE, 9 * id)]), BINARY) for id in range(3)]
    first, rest = masked(request(3, [Item(1, ONE, 27)])[:50], 0), request(3, [Item(1, ONE, 27)])[50:]
    fragments = bytes((BINARY,)) + first[1:] + masked(b"between", PING) + masked(rest, 0)
    for piece in pieces(opening + b"".join(frames) + fragments, size):
        line.connection.sendall(piece)
    heard = [line.hear() for _ in range(6)]
    assert {orjson.loads(content)["opened"]["channel"] for kind, content in heard if kind == TEXT} == {1}
    assert [content for kind, content in heard if kind is PONG] == [b"between"]
    answers = [answer(content) for kind, content in heard if kind == BINARY]
    assert [(one.id, one.steps) for one in answers] == [(id, {1: 9 * id + 9}) for id in range(4)]
    line.connection.sendall(masked(b"\x03\xe8bye", CLOSING))
    assert line.closed() == 1000


@pytest.mark.parametrize(
    "code, sent",
    [
        (1002, masked(b"x", 0)),  # goes on from nowhere
        (1002, b"\x82\x01x"),  # not masked
        (1002, b"\xc2" + masked(b"x", BINARY)[1:]),
        (1002, masked(b"x", 3)),
        (1002, masked(bytes(126), PING)),
        (1002, masked(b"\x03\xed", CLOSING)),  # nobody may tell 1005
        (1007, masked(b"\xff", TEXT)),
    ],
)
def test_what_is_no_message_ends_the_connection_and_says_why_though_more_is_sent(
    line: Line, code: int, sent: bytes
) -> None:
    line.connection.sendall(sent + masked(b"{}", TEXT) * 1_000)
    assert line.closed() == code


def test_a_handshake_of_another_version_is_refused_once(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(HANDSHAKE.replace(b"Version: 13", b"Version: 7"))
        told = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert told.startswith(b"HTTP/1.1 4")
    assert told.count(b"HTTP/1.1 ") == 1
