"""Clients that vanish: nothing of them is leaked, and nothing they did by half is applied."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.wire.expect import done
from tests.wire.poll import until
from tests.wire.server import Server
from tests.wire.ws import Socket

STEP = [1, 2, 3]


@contextmanager
def line(server: Server) -> Iterator[socket.socket]:
    """A connection that ends with a reset, as when a client is killed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        yield connection


def request(path: str, body: Any) -> bytes:
    content = orjson.dumps(body)
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


@pytest.fixture
def unharmed(server: Server, http: httpx.Client) -> Iterator[None]:
    """Afterwards no file is open that was not before, nothing waits, and nothing counted as a defect of ours."""
    done(http.post("/v1/models/lstm/predict", json={"sequences": [[STEP] * 60_000]}))  # starts the JSON process
    before = server.open_files()
    yield
    spare = 2  # of the test's own pool
    until(lambda: server.open_files() <= before + spare, what="closing of the lost connections")
    until(lambda: not waiting(server.metrics()), what="an empty queue")
    assert not [labels for _, labels in server.metrics() if ("status", "500") in labels]


def waiting(seen: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> float:
    return sum(value for (name, _), value in seen.items() if name == "carousel_waiting_rows")


@pytest.mark.usefixtures("unharmed")
def test_a_body_that_is_cut_off_is_no_call(server: Server, http: httpx.Client, name: str) -> None:
    done(http.post("/v1/models/lstm/sessions", json={"id": name}), 201)
    whole = request(f"/v1/sessions/{name}/steps", {"inputs": [STEP] * 50})
    for cut in range(1, len(whole), 37):
        with line(server) as connection:
            connection.sendall(whole[:cut])
    assert done(http.get(f"/v1/sessions/{name}"))["step"] == 0


@pytest.mark.usefixtures("unharmed")
def test_a_predict_whose_caller_left_is_dropped(server: Server) -> None:
    run = server.metric("carousel_steps_total", model="lstm", version="10")
    with line(server) as connection:
        connection.sendall(request("/v1/models/lstm/predict", {"sequences": [[STEP] * 60_000] * 4}))
        until(lambda: server.metric("carousel_steps_total", model="lstm", version="10") > run)
    until(lambda: server.metric("carousel_waiting_rows", model="lstm", version="10") == 0)
    assert server.metric("carousel_steps_total", model="lstm", version="10") < run + 240_000


@pytest.mark.usefixtures("unharmed")
def test_accepted_steps_run_though_their_caller_left_and_their_answer_is_kept(
    server: Server, http: httpx.Client, name: str
) -> None:
    done(http.post("/v1/models/lstm/sessions", json={"id": name}), 201)
    body = {"inputs": [STEP] * 5_000, "step": 0}

    def step() -> int:
        return int(done(http.get(f"/v1/sessions/{name}"))["step"])

    with line(server) as connection:
        connection.sendall(request(f"/v1/sessions/{name}/steps", body))
        until(lambda: server.metric("carousel_waiting_rows", model="lstm", version="10") > 0 or step() == 5_000)
    until(lambda: step() == 5_000)
    assert len(done(http.post(f"/v1/sessions/{name}/steps", json=body))["outputs"]) == 5_000


@pytest.mark.usefixtures("unharmed")
def test_lost_sockets_leave_nothing_behind_but_their_sessions(server: Server, http: httpx.Client, name: str) -> None:
    for index in range(20):
        with suppress(ConnectionError, ConnectionClosed), connect(server.stream_url, proxy=None) as connection:
            stream = Socket(connection)
            stream.open("lstm", f"{name}-{index}")
            for id in range(20):
                stream.tell({"id": id, "channel": 1, "inputs": [STEP] * 40})
            connection.socket.shutdown(socket.SHUT_RDWR)
    steps = [done(http.get(f"/v1/sessions/{name}-{index}"))["step"] for index in range(20)]
    assert all(step % 40 == 0 for step in steps)


GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = request("/v1/models/lstm/predict", {"sequences": [[STEP] * 900]})
UNKNOWN = request("/v1/unknown", "x" * 4500)  # it is answered before its body is read


@pytest.mark.parametrize("half_closed", [False, True])
@pytest.mark.parametrize("sent", [[GET, LONG], [GET, GET, GET, UNKNOWN, GET]])
def test_requests_sent_ahead_are_answered_however_long(server: Server, sent: list[bytes], half_closed: bool) -> None:
    last = [] if half_closed else [GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"".join(sent + last))
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        answers = b""
        while piece := connection.recv(65_536):
            answers += piece
    assert answers.count(b"HTTP/1.1 ") == len(sent + last)
