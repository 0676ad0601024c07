"""After `os.fork` parent and child go on by themselves: neither hears the other's answers, nothing hangs."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from lying_server import KEEP, LyingServer, response
from stream_server import StreamServer

from carousel_client import Client

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def in_child(work: Callable[[], Any]) -> Any:
    """Start `work` in a forked child → a call that waits for what it gave, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            told = repr(work())
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(write, told.encode())
        os._exit(0)
    os.close(write)

    def result() -> str:
        ready, _, _ = select.select([read], [], [], 60)
        told = os.read(read, 10_000).decode() if ready else "hangs"
        if not ready:
            os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(read)
        return told

    return result


def models(name: str) -> bytes:
    return response({"models": [{"name": name, "versions": [], "default_version": None}]})


def test_each_process_has_its_own_http_connections() -> None:
    counted: dict[str, int] = {}

    def answers(line: str) -> Any:
        counted[line] = counted.get(line, 0) + 1
        yield models(str(counted[line]))
        yield KEEP

    server = LyingServer(answers)
    try:
        with Client(server.url, timeout=20) as client:
            client.models()
            assert server.connections == 1
            children = [in_child(lambda: [len(client.models()) for _ in range(50)]) for _ in range(3)]
            assert [len(client.models()) for _ in range(50)] == [1] * 50
            assert [child() for child in children] == [repr([1] * 50)] * 3
            assert server.connections == 4
    finally:
        server.stop()


@pytest.fixture
def server() -> Iterator[StreamServer]:
    server = StreamServer()
    yield server
    server.stop()


def test_a_child_goes_on_with_the_channels_on_a_socket_of_its_own(server: StreamServer) -> None:
    with Client(server.url, timeout=20) as client, client.stream() as stream:
        kept, own = stream.open("sum", "a"), stream.open("sum")
        kept.step([1, 2])
        child = in_child(lambda: kept.step([1, 2]).tolist())
        assert child() == "[2.0, 4.0, 1.0]"
        assert own.step([1, 2]).tolist() == [1, 2, 0]
        assert stream.open("sum", "a").next_step == 2
        assert len(server.streams.sockets) == 2


def test_what_the_parent_has_in_flight_is_not_sent_again_by_a_child(server: StreamServer) -> None:
    with Client(server.url, timeout=20) as client, client.stream() as stream:
        a, b = stream.open("sum", "a"), stream.open("sum", "b")
        server.silent = True
        answer = stream.submit([a], np.ones((1, 2)))
        server.silent = False
        child = in_child(lambda: b.step([1, 2]).tolist())
        assert child() == "[1.0, 2.0, 0.0]"
        assert server.streams.sessions["a"].step <= 1
        del answer
        stream._async._socket.abort()


def test_a_child_ends_no_session_of_its_parent(server: StreamServer) -> None:
    with Client(server.url, timeout=20) as client:
        stream = client.stream()
        channel = stream.open("sum")
        assert in_child(stream.close)() == "None"
        assert channel.session in server.streams.sessions
        stream.close()
        assert channel.session not in server.streams.sessions


def test_a_closed_stream_stays_closed_in_a_child(server: StreamServer) -> None:
    with Client(server.url, timeout=20) as client:
        stream = client.stream()
        channel = stream.open("sum", "a")
        stream.close()
        assert "the stream is closed" in in_child(lambda: channel.step([1, 2]))()


def test_a_session_that_another_thread_was_using_is_free_in_a_child() -> None:
    begun, gate = threading.Event(), threading.Event()
    object_ = response({"id": "s", "model": "m", "version": "1", "step": 0}, 201)
    stepped = response({"outputs": [[1.0]], "step": 1})

    def answers(line: str) -> Any:
        if "/steps" in line and not begun.is_set():
            begun.set()
            while not gate.is_set():
                yield 0.01
        yield stepped if "/steps" in line else object_
        yield KEEP

    server = LyingServer(answers)
    try:
        with Client(server.url, timeout=20) as client:
            session = client.session("m", "s")
            thread = threading.Thread(target=lambda: session.step([[1.0]]))
            thread.start()
            assert begun.wait(20)
            assert in_child(lambda: session.step([[1.0]]))() == "[[1.0]]"
            gate.set()
            thread.join()
            assert session.next_step == 1
    finally:
        gate.set()
        server.stop()
