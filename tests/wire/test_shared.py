"""Several processes over one store, seen from outside: any of them serves any session, over any door."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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


def _models(folder: Path) -> Path:
    for version in "12":
        graphs.running_sum(folder / f"models/sum/{version}/model.onnx")
    return folder / "models"


@pytest.fixture
def services(launch: Launch, redis: RedisServer, tmp_path: Path) -> tuple[Server, Server]:
    """Two services over one Redis."""
    how = {"store": "redis", "store_url": redis.url, "store_lease_seconds": 2}
    one, other = (launch(_models(tmp_path), **how) for _ in range(2))
    return one.wait_until_ready(), other.wait_until_ready()


@pytest.fixture(params=["services", "workers"])
def pair(request: pytest.FixtureRequest, launch: Launch, tmp_path: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Clients of two services over one Redis, or of two workers over one embedded store."""
    if request.param == "services":
        one, other = (httpx.Client(base_url=one.url, timeout=20) for one in request.getfixturevalue("services"))
    else:
        one, other = launch(_models(tmp_path), store="embedded", workers=2).wait_until_ready().ways()
    with closing(one), closing(other):
        yield one, other


def _step(http: httpx.Client, id: str, step: int, value: float) -> list[list[float]]:
    asked = {"inputs": [[value]], "step": step}
    outputs: list[list[float]] = done(http.post(f"/v1/sessions/{id}/steps", json=asked))["outputs"]
    return outputs


def test_a_channel_stays_with_its_session_wherever_that_was_meanwhile(pair: tuple[httpx.Client, httpx.Client]) -> None:
    with dial(f"ws://{pair[0].base_url.netloc.decode()}/v1/stream") as socket:
        channel = socket.ask({"id": 1, "open": {"model": "sum", "session": "s"}})["opened"]["channel"]
        for step in range(0, 30, 3):
            told = socket.step([Item(channel, np.array([[1]], np.float32), step)])
            assert told.outputs[channel].tolist() == [[step + 1]]
            assert _step(pair[step % 2], "s", step + 1, 1) == [[step + 2]]
            told_text = socket.ask({"id": 2, "channel": channel, "inputs": [[1]], "step": step + 2})
            assert told_text["outputs"] == [[step + 3]]


def test_an_id_that_was_ended_where_it_came_is_found_where_it_is_opened_anew(
    pair: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = pair
    for _ in range(10):
        done(one.post("/v1/models/sum/sessions", json={"id": "s"}), 201)
        assert other.delete("/v1/sessions/s").status_code == 204
        done(one.post("/v1/models/sum/sessions", json={"id": "s"}), 201)
        assert _step(other, "s", 0, 1) == [[1.0]]
        assert one.delete("/v1/sessions/s").status_code == 204


def test_all_sessions_are_listed_looked_at_and_deleted_from_anywhere(
    pair: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = pair
    for index in range(20):
        done(pair[index % 2].post("/v1/models/sum/sessions", json={"id": f"s{index:02}"}), 201)
    _step(one, "s00", 0, 5)
    told = done(other.get("/v1/sessions", params={"limit": 12}))
    assert [session["id"] for session in told["sessions"]] == [f"s{index:02}" for index in range(12)]
    told = done(other.get("/v1/sessions", params={"after": told["next"]}))
    assert [session["id"] for session in told["sessions"]] == [f"s{index:02}" for index in range(12, 20)]
    assert done(other.get("/v1/sessions/s00"))["step"] == 1
    items = [{"session": f"s{index:02}", "inputs": [[1]]} for index in range(20)]
    answers = done(other.post("/v1/models/sum/steps", json={"items": items}))["items"]
    assert [one["outputs"] for one in answers] == [[[6.0]], *([[1.0]],) * 19]
    assert done(one.delete("/v1/sessions", params={"prefix": "s0"}))["deleted"] == 10
    refused(other.get("/v1/sessions/s03"), "session_not_found")


def test_sessions_of_a_killed_service_are_there_at_once_and_of_a_stopped_one_too(
    services: tuple[Server, Server],
) -> None:
    with (
        httpx.Client(base_url=services[0].url, timeout=20) as one,
        httpx.Client(base_url=services[1].url, timeout=20) as other,
    ):
        for id in "ab":
            done(one.post("/v1/models/sum/sessions", json={"id": id}), 201)
            _step(one, id, 0, 2)
        services[0].kill()
        assert _step(other, "a", 0, 2) == [[2.0]]
        assert _step(other, "b", 1, 3) == [[5.0]]
    assert services[1].stop() == 0


def test_copies_of_a_session_go_their_own_way_wherever_they_are_called(pair: tuple[httpx.Client, httpx.Client]) -> None:
    one, other = pair
    done(one.post("/v1/models/sum/sessions", json={"id": "s", "ttl_seconds": 500}), 201)
    _step(one, "s", 0, 2)
    told = done(other.post("/v1/sessions/s/fork", json={"count": 300}), 201)["sessions"]
    refused(one.post("/v1/sessions/s/fork", json={"ids": ["new", told[7]["id"]]}), "session_exists")
    refused(other.get("/v1/sessions/new"), "session_not_found")
    ids = [copy["id"] for copy in told]
    for step in (1, 2):  # half of them at each, then at the other
        for index, http in enumerate(pair):
            items = [
                {"session": id, "inputs": [[value]], "step": step}
                for value, id in enumerate(ids)
                if (value + step) % 2 == index
            ]
            answers = done(http.post("/v1/models/sum/steps", json={"items": items}))["items"]
            sums = {answer["session"]: answer["outputs"][0][0] for answer in answers}
            assert sums == {id: 2 + value * step for value, id in enumerate(ids) if id in sums}
            assert len(sums) == len(ids) // 2
    assert _step(one, "s", 1, 1) == [[3.0]]
    assert done(other.delete("/v1/sessions", params={"all": "true"}))["deleted"] == 301
    assert done(one.get("/v1/sessions"))["sessions"] == []


def test_a_session_is_set_back_and_replaced_wherever_that_is_asked(pair: tuple[httpx.Client, httpx.Client]) -> None:
    one, other = pair
    done(one.post("/v1/models/sum/sessions", json={"id": "s", "snapshots": {"every": 2, "keep": 3}}), 201)
    for step in range(9):
        assert _step(pair[step % 2], "s", step, 1) == [[step + 1]]
    assert done(one.post("/v1/sessions/s/rewind", json={"step": 4}))["snapshots"] == [4]
    blob = other.get("/v1/sessions/s/state").content
    for step in range(4, 7):
        assert _step(pair[step % 2], "s", step, 10) == [[4 + 10 * (step - 3)]]
    refused(one.post("/v1/sessions/s/rewind", json={"step": 8}), "step_conflict")
    assert done(other.put("/v1/sessions/s/state", content=blob))["step"] == 4
    assert _step(one, "s", 4, 1) == [[5.0]]
    done(other.put("/v1/sessions/t/state", content=blob), 201)
    assert _step(one, "t", 4, 2) == [[6.0]]


def test_a_session_migrates_wherever_it_is_asked_for(pair: tuple[httpx.Client, httpx.Client]) -> None:
    one, other = pair
    done(one.post("/v1/models/sum/sessions?version=1", json={"id": "m"}), 201)
    _step(one, "m", 0, 2)
    assert done(other.post("/v1/sessions/m/migrate", json={"version": "2"}))["version"] == "2"
    assert _step(one, "m", 1, 3) == [[5.0]]
    asked = {"version": "1", "history": [[10], [20]]}
    assert done(one.post("/v1/sessions/m/migrate", json=asked))["step"] == 2
    told = done(other.get("/v1/sessions/m"))
    assert (told["version"], told["step"]) == ("1", 2)
    assert _step(other, "m", 2, 1) == [[31.0]]


def test_a_sequence_of_the_inference_protocol_goes_on_anywhere(pair: tuple[httpx.Client, httpx.Client]) -> None:
    for value in range(1, 7):
        rows = {"name": "input", "datatype": "FP32", "shape": [1, 1, 1], "data": [value]}
        how = {"sequence_id": 7, "sequence_start": value == 1, "sequence_end": value == 6}
        told = done(pair[value % 2].post("/v2/models/sum/infer", json={"inputs": [rows], "parameters": how}))
        assert told["outputs"][0]["data"] == [sum(range(value + 1))]
    assert done(pair[0].get("/v1/sessions"))["sessions"] == []


def test_a_forecast_is_of_the_session_wherever_it_is(pair: tuple[httpx.Client, httpx.Client]) -> None:
    one, other = pair
    done(one.post("/v1/models/sum/sessions", json={"id": "f"}), 201)
    _step(one, "f", 0, 2)
    told = done(other.post("/v1/sessions/f/forecast", json={"inputs": [[1], [1]]}))
    assert told == {"outputs": [[3.0], [4.0]], "step": 1}
    assert _step(one, "f", 1, 1) == [[3.0]]


def test_two_services_that_fight_for_a_session_do_each_step_once(services: tuple[Server, Server]) -> None:
    done(httpx.post(f"{services[0].url}/v1/models/sum/sessions", json={"id": "s"}), 201)
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
        clients = [threads.submit(step, server) for server in (*services, *services)]
        try:
            for turn in range(4):
                stopped = services[turn % 2].process
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
