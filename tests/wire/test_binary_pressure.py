"""Binary frames when there is too much: a full queue, a client that does not read, a server that is told to stop."""

import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from tests import graphs
from tests.wire.binary import Item, answer, request, steps_from
from tests.wire.expect import bits, done, problem, refused
from tests.wire.frames import BINARY, HANDSHAKE, PING, masked
from tests.wire.oracle import Oracle
from tests.wire.poll import until
from tests.wire.server import Server
from tests.wire.ws import Socket, dial

ONE = np.array([[1, 2, 3]], np.float32)
QUEUE = 4  # rows
MIB_64 = 2**26


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    graphs.write(folder / "slow/1/model.onnx", "lstm", hidden=640)
    return folder


def waiting(server: Server) -> float:
    return server.metric("carousel_waiting_rows", model="slow", version="1")


def rest_of(stream: Socket) -> tuple[list[Any], int | None]:
    """All answers until the socket closes, binary ones as id and next steps, and the close code."""
    told: list[Any] = []
    try:
        while True:
            content = stream.connection.recv(timeout=20)
            told.append(answer(content)[:2] if isinstance(content, bytes) else orjson.loads(content))
    except ConnectionClosed as closed:
        return told, None if closed.rcvd is None else closed.rcvd.code


@pytest.fixture(scope="module")
def narrow(slow: Path) -> Iterator[Server]:
    """A server with a short queue."""
    server = Server(slow, slow / "log", max_queue_rows=QUEUE).wait_until_ready()
    yield server
    assert server.stop() == 0


@contextmanager
def filled(server: Server) -> Iterator[None]:
    """While its queue is full, for a second or more."""
    with ThreadPoolExecutor(1) as other:
        body = {"sequences": [[[1, 2, 3]] * 3_000] * QUEUE}
        long = other.submit(httpx.post, f"{server.url}/v1/models/slow/predict", json=body, timeout=30)
        until(lambda: waiting(server) == QUEUE)
        yield
        done(long.result())


@pytest.fixture
def full(narrow: Server) -> Iterator[Server]:
    with filled(narrow):
        yield narrow


def test_a_full_queue_holds_frames_back_and_then_runs_all_of_them_in_order(full: Server, slow: Path) -> None:
    oracle = Oracle(slow / "slow/1/model.onnx")
    with dial(full.stream_url) as stream:
        stream.open_many("slow", ["held-a", "held-b", "held-c", "held-d"])
        for id in range(20):
            stream.tell(request(id, steps_from([id] * QUEUE, [ONE] * QUEUE)))
        refused(httpx.post(f"{full.url}/v1/sessions/held-a/steps", json={"inputs": ONE.tolist()}), "overloaded")
        told = [stream.hear_binary() for _ in range(20)]
    assert [one.steps for one in told] == [dict.fromkeys((1, 2, 3, 4), step) for step in range(1, 21)]
    assert bits([one.outputs[3][0] for one in told]) == bits(oracle.whole(np.repeat(ONE, 20, axis=0)))


def test_a_frame_that_no_queue_holds_is_refused_at_once(full: Server) -> None:
    with dial(full.stream_url) as stream:
        stream.open_many("slow", list("abcde"))
        told = stream.ask(request(7, steps_from([0] * (QUEUE + 1), [ONE] * (QUEUE + 1))))
        assert told["id"] == 7
        problem(told["error"], "payload_too_large")


def test_while_one_socket_is_held_back_faults_on_another_are_answered(full: Server) -> None:
    with dial(full.stream_url) as held, dial(full.stream_url) as other:
        held.open("slow", "a")
        held.tell(request(1, [Item(1, ONE, 0)]))
        problem(other.ask(request(2, [Item(1, ONE)]))["error"], "channel_not_found")
        assert waiting(full) == QUEUE
        assert held.hear_binary().steps == {1: 1}


def test_at_shutdown_a_frame_that_is_held_back_is_not_accepted(slow: Path, launch: Callable[..., Server]) -> None:
    server = launch(slow, max_queue_rows=QUEUE).wait_until_ready()
    with filled(server), dial(server.stream_url) as stream:
        stream.open("slow", "a")
        for id in range(3):
            stream.tell(request(id, [Item(1, ONE, id)]))
        server.terminate()
        assert rest_of(stream) == ([], 1001)


def pour(line: socket.socket, frame: bytes, most: int) -> int:
    """Send a frame again and again and read nothing, until the server takes no more → the bytes that it took."""
    stock, sent = memoryview(frame * (2**20 // len(frame) + 1)), 0
    while sent < most and select.select([], [line], [], 1)[1]:
        sent += line.send(stock[sent % len(stock) :], socket.MSG_DONTWAIT)
    return sent


@pytest.mark.parametrize("steps", [1, 1_000])
def test_a_client_that_does_not_read_is_held_back_and_slows_nobody(
    server: Server, stream: Socket, name: str, steps: int
) -> None:
    channels = stream.open_many("feedforward", [f"{name}-{index}" for index in range(40)])
    inputs = np.repeat(ONE, steps, axis=0)
    frame = masked(request(7, [Item(channel, inputs) for channel in channels]), BINARY)
    before = server.memory()
    sent = pour(stream.connection.socket, frame, 2**28)
    assert sent < 2**27
    with dial(server.stream_url) as other:
        other.open("feedforward", f"{name}-other")
        assert [other.step([Item(1, ONE, step)]).steps[1] for step in range(100)] == list(range(1, 101))
    assert server.memory() - before < MIB_64
    with ThreadPoolExecutor(1) as sender:
        sender.submit(stream.connection.socket.sendall, frame[sent % len(frame) or len(frame) :])
        told = [stream.hear_binary().steps for _ in range(-(-sent // len(frame)))]
    assert told == [dict.fromkeys(channels, steps * count) for count in range(1, len(told) + 1)]


@pytest.mark.parametrize("kind", [PING, BINARY])
def test_pongs_and_refusals_that_nobody_reads_do_not_pile_up(server: Server, kind: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(HANDSHAKE)
        assert line.recv(1_000).startswith(b"HTTP/1.1 101 ")
        before = server.memory()
        assert pour(line, masked(bytes(125), kind), MIB_64 // 2)
        assert server.memory() - before < MIB_64 // 4


def test_the_refusal_of_a_long_text_is_short(server: Server) -> None:
    with dial(server.stream_url) as stream:
        stream.tell({"id": 1, "close": {"channel": 1, "k" * 2**18: 1}})
        assert len(stream.connection.recv(timeout=10)) < 2**10


def test_of_a_pipeline_every_accepted_frame_is_answered_before_the_close(
    slow: Path, launch: Callable[..., Server]
) -> None:
    """Frames that wait in the socket when the signal comes were not accepted: the answers are a prefix."""
    server = launch(slow).wait_until_ready()
    with dial(server.stream_url) as stream:
        stream.open_many("slow", list("abcd"))
        inputs = np.repeat(ONE, 20, axis=0)
        for id in range(1_000):
            stream.tell(request(id, steps_from([20 * id] * 4, [inputs] * 4)))
            if id == 50:
                until(lambda: waiting(server) >= 10)
                server.terminate()
        told, code = rest_of(stream)
    assert code == 1001
    assert 50 <= len(told) <= 1_000
    assert told == [(id, dict.fromkeys((1, 2, 3, 4), 20 * id + 20)) for id in range(len(told))]
    assert server.process.wait(timeout=10) == 0


def test_what_is_not_drained_in_time_is_told_as_failed_before_the_close(
    slow: Path, launch: Callable[..., Server]
) -> None:
    server = launch(slow, drain_seconds=0.3).wait_until_ready()
    with dial(server.stream_url) as stream:
        stream.open_many("slow", ["a", "b"])
        stream.tell(request(7, steps_from([0, 0], [np.repeat(ONE, 50_000, axis=0), ONE])))
        until(lambda: waiting(server) >= 1)
        server.terminate()
        told, code = rest_of(stream)
    assert code == 1001
    [one] = told
    assert one["id"] == 7
    assert {item["channel"]: item["error"]["code"] for item in one["failed"]} == {1: "shutting_down"}
    assert server.process.wait(timeout=10) == 0
