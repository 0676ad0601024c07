"""A socket between a loop and a client, without a service: what it sends, holds back and frees."""

import asyncio
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from service.api.guard import Guard
from service.api.http.edge import Edge
from service.api.stream.websocket import Socket
from service.settings import Settings
from tests.fakes import until
from tests.wire.frames import BINARY, PING, TEXT, masked

MOST = 2**24
HEAD = (
    b"GET /v1/stream HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Line:
    """A socket as uvicorn makes one, its client, and what the stream was told."""

    def __init__(self) -> None:
        self.messages: list[bytes | str] = []
        self.told: list[str] = []
        self.connections: set[object] = set()
        self.guard = Guard(Settings(max_unfinished_bytes=2 * MOST))
        self.frames: list[Frame] = []
        self._client = Protocol(Side.CLIENT, state=OPEN, max_size=None)

    async def connect(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.end = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
        self.end.setblocking(False)
        self.loop = asyncio.get_running_loop()
        state = SimpleNamespace(connections=self.connections)
        self.socket = Socket(self.serve, Edge(), self.guard, MOST, server_state=state)
        await self.loop.create_connection(lambda: self.socket, sock=ours)
        self.socket.data_received(HEAD)
        self.socket.transport.set_protocol(self.socket)  # as uvicorn does
        head = await self.loop.sock_recv(self.end, 10_000)
        assert head.startswith(b"HTTP/1.1 101 ")

    def serve(self, socket: Socket) -> None:
        told = self.told.append
        socket.attach(self.messages.append, lambda: told("writable"), lambda: told("lost"))

    async def send(self, content: bytes) -> None:
        await self.loop.sock_sendall(self.end, content)

    async def hear(self) -> tuple[Opcode, bytes]:
        """The next frame."""
        while not self.frames:
            data = await self.loop.sock_recv(self.end, 2**16)
            assert data
            self._client.receive_data(data)
            self.frames += [one for one in self._client.events_received() if isinstance(one, Frame)]
        frame = self.frames.pop(0)
        return frame.opcode, bytes(frame.data)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    line = Line()
    await line.connect()
    yield line
    line.end.close()
    await until(lambda: not line.connections)
    assert line.guard.statistics().connections == line.guard.statistics().unfinished_bytes == 0


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("sizes", [(9_000, 70_000, 200), (200, 9_000, 9_001), (70_000, 8_193, 8_192, 0)])
async def test_answers_of_one_turn_are_whole_whether_or_not_the_client_reads(
    line: Line, sizes: tuple[int, ...], full: bool
) -> None:
    before = 0
    while full and line.socket.answer(bytes(2**16), text=False):
        before += 1
    for index, size in enumerate(sizes):
        line.socket.answer(bytes((index,)) * size, text=False)
    for _ in range(before + full):
        assert await line.hear() == (Opcode.BINARY, bytes(2**16))
    for index, size in enumerate(sizes):
        assert await line.hear() == (Opcode.BINARY, bytes((index,)) * size)


async def test_messages_are_taken_in_the_order_sent(line: Line) -> None:
    await line.send(masked(b"1", TEXT) + masked(b"2", BINARY) + masked(b"3", PING) + masked(b"", BINARY))
    await until(lambda: len(line.messages) == 3)
    assert line.messages == ["1", b"2", b""]
    assert await line.hear() == (Opcode.PONG, b"3")


async def test_a_message_behind_the_handshake_is_taken_whichever_protocol_reads_it(line: Line) -> None:
    line.socket.data_received(masked(b"early", TEXT))
    assert line.messages == ["early"]
    await line.send(masked(b"late", TEXT))
    await until(lambda: line.messages == ["early", "late"])


async def test_a_large_message_leaves_no_large_buffer(line: Line) -> None:
    sending = asyncio.create_task(line.send(masked(bytes(MOST), BINARY) + masked(b"2", TEXT)))
    await until(lambda: line.messages == [bytes(MOST), "2"])
    await sending
    await line.send(masked(bytes(2**20), BINARY))
    await until(lambda: len(line.messages) == 3)
    assert line.socket._messages is not None and len(line.socket._messages._protocol.get_buffer(-1)) < 2**18
    await line.send(masked(b"4", TEXT))
    await until(lambda: line.messages[3:] == ["4"])


async def test_a_client_that_does_not_read_gets_the_last_pong(line: Line) -> None:
    while line.socket.answer(bytes(2**16), text=False):
        pass
    await line.send(b"".join(masked(b"%d" % at, PING) for at in range(1_000)) + masked(b"done", TEXT))
    await until(lambda: line.messages == ["done"])
    assert line.told == []
    kind = Opcode.BINARY
    while kind is Opcode.BINARY:
        kind, content = await line.hear()
    assert (kind, content) == (Opcode.PONG, b"999")
    assert line.told == ["writable"]
    await line.send(masked(b"more", PING))
    assert await line.hear() == (Opcode.PONG, b"more")


async def test_a_socket_that_is_held_reads_nothing(line: Line) -> None:
    line.socket.transport.pause_reading()
    await line.send(masked(b"1", TEXT))
    for _ in range(100):
        await asyncio.sleep(0)
    assert line.messages == []
    line.socket.transport.resume_reading()
    await until(lambda: line.messages == ["1"])


async def test_a_socket_that_closes_takes_and_sends_nothing_more(line: Line) -> None:
    line.socket.discard()
    line.socket.close(1001)
    line.socket.close(1011)
    line.socket.answer(b"late", text=True)
    await line.send(masked(b"1", TEXT) + masked(b"2", PING) + masked(b"\x03\xe9", 8))
    assert await line.hear() == (Opcode.CLOSE, b"\x03\xe9")
    assert await line.loop.sock_recv(line.end, 1) == b""
    await until(lambda: line.told == ["lost"])
    assert line.messages == []
    assert line.connections == set()


async def test_a_loss_is_told_and_nothing_is_written_to_a_socket_that_is_gone(line: Line) -> None:
    line.end.close()
    await until(lambda: line.told == ["lost"])
    assert line.socket.answer(bytes(9), text=False)
    line.socket.close(1001)
    line.socket.transport.pause_reading()
    line.socket.transport.resume_reading()


async def test_a_violation_is_told_once(line: Line) -> None:
    await line.send(masked(b"\xff", TEXT))
    assert (await line.hear())[1][:2] == b"\x03\xef"
    await line.send(masked(b"1", TEXT))
    line.socket.answer(b"late", text=True)
    line.socket.close(1001)
    assert await line.loop.sock_recv(line.end, 1) == b""
    line.end.close()
    await until(lambda: not line.connections)
    assert {*line.told} == {"lost"}
    assert line.messages == []


async def test_bytes_of_a_long_message_are_held_by_the_guard_until_it_is_whole(line: Line) -> None:
    held = lambda: line.guard.statistics().unfinished_bytes  # noqa: E731  # asked again and again
    half = bytes(MOST // 2)
    await line.send(masked(half, BINARY)[:-1])
    await until(lambda: held() > MOST // 2 - 2)
    await line.send(half[:1] + b"\2" + masked(half, BINARY)[1:])
    await until(lambda: len(line.messages) == 1 and held() > MOST // 2 - 1)
    await line.send(masked(b"", 0) + masked(b"", TEXT))
    await until(lambda: len(line.messages) == 3 and held() == 0)


async def test_a_long_message_is_closed_where_too_many_bytes_are_held(line: Line) -> None:
    line.guard.hold(2 * MOST - 2**17)
    await line.send(masked(bytes(2**18), BINARY)[:-1])
    kind, content = await line.hear()
    assert (kind, content[:2]) == (Opcode.CLOSE, b"\x03\xf5")
    assert line.messages == []
    line.guard.release(2 * MOST - 2**17)


async def test_a_ping_is_sent_when_it_is_due_and_nothing_when_the_client_does_not_read(line: Line) -> None:
    line.socket.overdue(0.0)
    assert await line.hear() == (Opcode.PING, b"")
    assert line.socket.due > 0
    while line.socket.answer(bytes(2**16), text=False):
        pass
    unread = line.socket.unread()
    line.socket.overdue(0.0)
    assert line.socket.unread() == unread > 0


async def test_a_client_that_does_not_close_is_closed_when_that_is_due(line: Line) -> None:
    line.socket.close(1001)
    assert line.socket.due < float("inf")
    line.socket.overdue(line.socket.due)
    assert await line.hear() == (Opcode.CLOSE, b"\x03\xe9")
    assert await line.loop.sock_recv(line.end, 1) == b""


async def test_a_server_that_stops_closes_a_connection_whose_handshake_it_refused(line: Line) -> None:
    state = SimpleNamespace(connections=set())
    refused = Socket(line.serve, Edge(), line.guard, MOST, server_state=state)
    refused.connection_made(line.socket.transport)
    refused.data_received(HEAD.replace(b"/v1/stream", b"/elsewhere"))
    refused.shutdown()
    refused.connection_lost(None)
    assert state.connections == set()


async def test_a_server_that_stops_closes_at_once(line: Line) -> None:
    line.socket.shutdown()
    assert await line.hear() == (Opcode.CLOSE, b"\x03\xf4")
    assert await line.loop.sock_recv(line.end, 1) == b""
