"""Several services over one Redis, seen from outside: any of them serves any session, over any door."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests import graphs
from tests.redis_server import RedisServer
from tests.wire.binary import Item
from tests.wire.expect import done, refused
from tests.wire.poll import until
from tests.wire.server import Server
from tests.wire.ws import dial

Launch = Callable[..., Server]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A store of their own."""
    server = RedisServer(tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture
def pair(launch: Launch, redis: RedisServer, tmp_path: Path) -> tuple[Server, Server]:
    """Two services over one store."""
    for version in "12":
        graphs.running_sum(tmp_path / f"models/sum/{version}/model.onnx")
    how = {"store": "redis", "store_url": redis.url, "store_lease_seconds": 2}
    one, other = (launch(tmp_path / "models", **how) for _ in range(2))
    return one.wait_until_ready(), other.wait_until_ready()


def _step(http: httpx.Client, server: Server, id: str, step: int, value: float) -> list[list[float]]:
    asked = {"inputs": [[value]], "step": step}
    outputs: list[list[float]] = done(http.post(f"{server.url}/v1/sessions/{id}/steps", json=asked))["outputs"]
    return outputs


def test_a_channel_stays_with_its_session_wherever_that_was_meanwhile(
    pair: tuple[Server, Server], pool: httpx.Client
) -> None:
    one, other = pair
    with dial(one.stream_url) as socket:
        channel = socket.ask({"id": 1, "open": {"model": "sum", "session": "s"}})["opened"]["channel"]
        for step in range(0, 20, 3):
            told = socket.step([Item(channel, np.array([[1]], np.float32), step)])
            assert told.outputs[channel].tolist() == [[step + 1]]
            assert _step(pool, other, "s", step + 1, 1) == [[step + 2]]
            told_text = socket.ask({"id": 2, "channel": channel, "inputs": [[1]], "step": step + 2})
            assert told_text["outputs"] == [[step + 3]]


def test_all_sessions_are_listed_looked_at_and_deleted_from_anywhere(
    pair: tuple[Server, Server], pool: httpx.Client
) -> None:
    one, other = pair
    for index in range(20):
        done(pool.post(f"{pair[index % 2].url}/v1/models/sum/sessions", json={"id": f"s{index:02}"}), 201)
    _step(pool, one, "s00", 0, 5)
    told = done(pool.get(f"{other.url}/v1/sessions", params={"limit": 12}))
    assert [session["id"] for session in told["sessions"]] == [f"s{index:02}" for index in range(12)]
    told = done(pool.get(f"{other.url}/v1/sessions", params={"after": told["next"]}))
    assert [session["id"] for session in told["sessions"]] == [f"s{index:02}" for index in range(12, 20)]
    assert done(pool.get(f"{other.url}/v1/sessions/s00"))["step"] == 1
    items = [{"session": f"s{index:02}", "inputs": [[1]]} for index in range(20)]
    answers = done(pool.post(f"{other.url}/v1/models/sum/steps", json={"items": items}))["items"]
    assert [one["outputs"] for one in answers] == [[[6.0]], *([[1.0]],) * 19]
    assert done(pool.delete(f"{one.url}/v1/sessions", params={"prefix": "s0"}))["deleted"] == 10
    refused(pool.get(f"{other.url}/v1/sessions/s03"), "session_not_found")


def test_sessions_of_a_killed_service_are_there_at_once_and_of_a_stopped_one_too(
    pair: tuple[Server, Server], pool: httpx.Client
) -> None:
    one, other = pair
    for id in "ab":
        done(pool.post(f"{one.url}/v1/models/sum/sessions", json={"id": id}), 201)
        _step(pool, one, id, 0, 2)
    one.kill()
    assert _step(pool, other, "a", 0, 2) == [[2.0]]
    assert _step(pool, other, "b", 1, 3) == [[5.0]]
    assert other.stop() == 0


def test_a_session_migrates_wherever_it_is_asked_for(pair: tuple[Server, Server], pool: httpx.Client) -> None:
    one, other = pair
    done(pool.post(f"{one.url}/v1/models/sum/sessions?version=1", json={"id": "m"}), 201)
    _step(pool, one, "m", 0, 2)
    assert done(pool.post(f"{other.url}/v1/sessions/m/migrate", json={"version": "2"}))["version"] == "2"
    assert _step(pool, one, "m", 1, 3) == [[5.0]]
    asked = {"version": "1", "history": [[10], [20]]}
    assert done(pool.post(f"{one.url}/v1/sessions/m/migrate", json=asked))["step"] == 2
    told = done(pool.get(f"{other.url}/v1/sessions/m"))
    assert (told["version"], told["step"]) == ("1", 2)
    assert _step(pool, other, "m", 2, 1) == [[31.0]]


def test_a_sequence_of_the_inference_protocol_goes_on_anywhere(pair: tuple[Server, Server], pool: httpx.Client) -> None:
    for value in range(1, 7):
        rows = {"name": "input", "datatype": "FP32", "shape": [1, 1, 1], "data": [value]}
        how = {"sequence_id": 7, "sequence_start": value == 1, "sequence_end": value == 6}
        url = f"{pair[value % 2].url}/v2/models/sum/infer"
        told = done(pool.post(url, json={"inputs": [rows], "parameters": how}))
        assert told["outputs"][0]["data"] == [sum(range(value + 1))]
    assert done(pool.get(f"{pair[0].url}/v1/sessions"))["sessions"] == []


def test_a_forecast_is_of_the_session_wherever_it_is(pair: tuple[Server, Server], pool: httpx.Client) -> None:
    one, other = pair
    done(pool.post(f"{one.url}/v1/models/sum/sessions", json={"id": "f"}), 201)
    _step(pool, one, "f", 0, 2)
    told = done(pool.post(f"{other.url}/v1/sessions/f/forecast", json={"inputs": [[1], [1]]}))
    assert told == {"outputs": [[3.0], [4.0]], "step": 1}
    assert _step(pool, one, "f", 1, 1) == [[3.0]]


def test_two_services_that_fight_for_a_session_do_each_step_once(pair: tuple[Server, Server]) -> None:
    done(httpx.post(f"{pair[0].url}/v1/models/sum/sessions", json={"id": "s"}), 201)
    told: list[float] = []
    over = threading.Event()

    def step(server: Server) -> None:
        """Steps that name none, sent again only where nothing was applied."""
        with httpx.Client(timeout=20) as http:
            while not over.is_set():
                answer = http.post(f"{server.url}/v1/sessions/s/steps", json={"inputs": [[1]]})
                if answer.status_code == 200:
                    told.append(answer.json()["outputs"][0][0])
                else:
                    refused(answer, "store_unavailable")

    with ThreadPoolExecutor(4) as threads:
        clients = [threads.submit(step, server) for server in (*pair, *pair)]
        try:
            for turn in range(4):
                stopped = pair[turn % 2].process
                _more(told)
                stopped.send_signal(signal.SIGSTOP)
                _more(told)
                stopped.send_signal(signal.SIGCONT)
        finally:
            stopped.send_signal(signal.SIGCONT)
            over.set()
        for client in clients:
            client.result()
    assert sorted(told) == [*range(1, len(told) + 1)]


def _more(told: list[float]) -> None:
    """Wait for more answers."""
    count = len(told) + 20
    until(lambda: len(told) > count, seconds=20, what="answers")
