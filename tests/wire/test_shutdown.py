"""Signals: accepted work is answered, new work is refused, streams close with 1001, the process exits with 0."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from tests import graphs
from tests.wire.expect import bits, done, refused
from tests.wire.frames import CLOSE, TEXT, Frames
from tests.wire.oracle import Oracle
from tests.wire.poll import until
from tests.wire.server import Server
from tests.wire.ws import Socket, dial

STEP = [1, 2, 3]
LONG = 6_000  # steps: a second and more for the slow model


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    graphs.write(folder / "slow/1/model.onnx", "lstm", hidden=640)
    graphs.write(folder / "quick/1/model.onnx", "feedforward")
    return folder


@pytest.fixture
def server(slow: Path, launch: Callable[..., Server]) -> Server:
    return launch(slow).wait_until_ready()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def waiting(server: Server, rows: int) -> None:
    until(lambda: server.metric("carousel_waiting_rows", model="slow", version="1") >= rows, what="accepted work")


def rest_of(socket: Socket) -> tuple[list[dict[str, Any]], int | None]:
    """All answers until the socket closes, and its close code."""
    told = []
    try:
        while True:
            told.append(socket.hear())
    except ConnectionClosed as closed:
        return told, None if closed.rcvd is None else closed.rcvd.code


def test_an_idle_server_stops_at_once_with_0(server: Server) -> None:
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_drain_too(server: Server, http: httpx.Client, sign: signal.Signals) -> None:
    with ThreadPoolExecutor(1) as caller, dial(server.stream_url) as stream:
        asked = {"sequences": [[STEP] * LONG]}
        predict = caller.submit(httpx.post, f"{server.url}/v1/models/slow/predict", json=asked, timeout=30)
        waiting(server, 1)
        assert server.stop(sign) == 0
        done(predict.result())
        assert rest_of(stream) == ([], 1001)


def test_a_hang_up_that_is_ignored_ends_nothing(launch: Callable[..., Server], slow: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        server = launch(slow).wait_until_ready()
    finally:
        signal.signal(signal.SIGHUP, before)
    server.terminate(signal.SIGHUP)
    assert httpx.get(f"{server.url}/health/ready").status_code == 200
    assert server.stop() == 0
    assert "SIGHUP" not in server.log


def test_a_signal_is_logged_as_part_of_no_request(server: Server, http: httpx.Client) -> None:
    done(http.get("/v1/models", headers={"X-Request-Id": "mine"}))
    assert server.stop() == 0
    lines = [orjson.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    said = {line["message"].split(":")[0]: line["request_id"] for line in lines}
    assert (said["SIGTERM"], said["draining"]) == (None, None)


def test_accepted_work_is_answered_and_new_work_refused(server: Server, http: httpx.Client, slow: Path) -> None:
    done(http.post("/v1/models/slow/sessions", json={"id": "s"}), 201)
    blob = http.get("/v1/sessions/s/state").content
    rng = np.random.default_rng(0)
    oracle = Oracle(slow / "slow/1/model.onnx")
    inputs = oracle.inputs(rng, LONG)
    with ThreadPoolExecutor(2) as callers, dial(server.stream_url) as stream:
        stream.open("slow", "s")
        predict = callers.submit(
            httpx.post, f"{server.url}/v1/models/slow/predict", json={"sequences": [inputs.tolist()]}, timeout=30
        )
        stream.tell({"id": 2, "channel": 1, "inputs": inputs[: LONG // 2].tolist(), "step": 0})
        stream.tell({"id": 3, "channel": 1, "inputs": [STEP], "step": LONG // 2})
        waiting(server, 3)
        server.terminate()
        until(lambda: http.get("/health/ready").status_code == 503, what="draining")
        assert http.get("/health/ready").json() == {"ready": False, "reason": "shutting down"}
        assert http.get("/health/live").status_code == 200
        calls: list[tuple[str, str, Any]] = [
            ("POST", "/v1/models/slow/predict", {"sequences": [[STEP]]}),
            ("POST", "/v1/models/slow/sessions", {}),
            ("POST", "/v1/models/slow/sessions", {"history": [STEP]}),
            ("POST", "/v1/models/slow/steps", {"items": [{"session": "n", "inputs": [STEP]}], "open": True}),
            ("POST", "/v1/sessions/s/steps", {"inputs": [STEP]}),
            ("POST", "/v1/sessions/s/fork", {}),
            ("DELETE", "/v1/sessions/s", None),
            ("GET", "/v1/sessions/s/state", None),
        ]
        for verb, path, body in calls:
            refused(http.request(verb, path, json=body), "shutting_down")
        for id in ("s", "new"):
            refused(http.put(f"/v1/sessions/{id}/state", content=blob), "shutting_down")
        with dial(server.stream_url) as late:
            assert rest_of(late) == ([], 1001)
        assert not predict.done(), "the test was too slow to see anything"
        told, code = rest_of(stream)
        assert bits(done(predict.result())["outputs"][0]) == bits(oracle.whole(inputs))
    assert code == 1001
    answers = {one["id"]: one for one in told}
    assert answers.keys() == {2, 3}
    assert bits(answers[2]["outputs"]) == bits(oracle.whole(inputs[: LONG // 2]))
    assert answers[3]["step"] == LONG // 2 + 1
    assert server.process.wait(timeout=10) == 0


def test_of_a_pipeline_every_accepted_frame_is_answered_and_no_other(server: Server) -> None:
    """Frames that wait in the socket when the signal comes were not accepted: the answers are a prefix."""
    with dial(server.stream_url) as stream:
        stream.open("slow")
        for id in range(4_000):
            stream.tell({"id": id, "channel": 1, "inputs": [STEP] * 20, "step": 20 * id})
            if id == 50:
                waiting(server, 10)
                server.terminate()
        told, code = rest_of(stream)
    assert code == 1001
    assert 50 <= len(told) <= 4_000
    assert [one["id"] for one in told] == list(range(len(told)))
    assert [one["step"] for one in told] == [20 * one["id"] + 20 for one in told]
    assert server.process.wait(timeout=10) == 0


async def test_a_slow_reader_gets_all_its_answers_before_the_close(server: Server) -> None:
    """30 MB of answers are more than the buffers between the two hold, so the server may not read all that is sent."""
    frames = await Frames.dial(server.port, limit=2**16)
    asked = [{"id": id, "channel": 1, "inputs": [STEP] * 100_000} for id in range(12)]
    opening = {"id": 99, "open": {"model": "quick"}}
    sending = asyncio.create_task(frames.send(map(orjson.dumps, [opening, *asked])))
    told = [await frames.hear() for _ in range(2)]
    server.terminate()
    await asyncio.to_thread(until, lambda: "draining" in server.log)  # readiness may be red for less than a poll takes
    while told[-1][0] == TEXT:
        told.append(await frames.hear())
    sending.cancel()
    frames.hang_up()
    assert (told[-1][0], told[-1][1][:2]) == (CLOSE, (1001).to_bytes(2, "big"))
    steps = [orjson.loads(text)["step"] for _, text in told[1:-1]]
    assert steps == [100_000 * (index + 1) for index in range(len(steps))]
    assert server.process.wait(timeout=10) == 0


def test_draining_ends_when_its_time_is_over(launch: Callable[..., Server], slow: Path) -> None:
    server = launch(slow, drain_seconds=0.2).wait_until_ready()
    with ThreadPoolExecutor(1) as caller:
        body = {"sequences": [[STEP] * 100_000] * 2}
        call = caller.submit(httpx.post, f"{server.url}/v1/models/slow/predict", json=body, timeout=30)
        waiting(server, 2)
        server.terminate()
        server.process.wait(timeout=15)
        assert call.exception() is not None or call.result().status_code >= 500


def test_a_second_signal_does_not_wait(server: Server) -> None:
    with ThreadPoolExecutor(1) as caller:
        body = {"sequences": [[STEP] * 100_000] * 2}
        call = caller.submit(httpx.post, f"{server.url}/v1/models/slow/predict", json=body, timeout=30)
        waiting(server, 2)
        server.terminate()
        until(lambda: (answer := server.answers("/health/ready")) is not None and answer.status_code == 503)
        server.terminate()
        server.process.wait(timeout=5)
        assert call.exception() is not None or call.result().status_code >= 500


def test_what_is_not_drained_in_time_is_refused_and_the_streams_still_close_with_1001(
    slow: Path, launch: Callable[..., Server]
) -> None:
    server = launch(slow, drain_seconds=0.3).wait_until_ready()
    with ThreadPoolExecutor(1) as caller, dial(server.stream_url) as stream:
        stream.open("slow")
        stream.tell({"id": 2, "channel": 1, "inputs": [STEP] * 10 * LONG})
        predict = caller.submit(
            httpx.post, f"{server.url}/v1/models/slow/predict", json={"sequences": [[STEP] * 10 * LONG]}, timeout=30
        )
        waiting(server, 2)
        server.terminate()
        told, code = rest_of(stream)
        refused(predict.result(), "shutting_down")
    assert ([one["error"]["code"] for one in told], code) == (["shutting_down"], 1001)
    assert server.process.wait(timeout=10) == 0


def test_calls_are_served_while_readiness_is_red_before_the_drain(launch: Callable[..., Server], name: str) -> None:
    server = launch(lame_duck_seconds=3).wait_until_ready()
    server.terminate()
    until(lambda: server.answers("/health/ready").status_code == 503, what="readiness to be red")  # type: ignore[union-attr]
    with httpx.Client(base_url=server.url, timeout=10) as client:
        done(client.post("/v1/models/lstm/sessions", json={"id": name}), 201)
        assert done(client.post(f"/v1/sessions/{name}/steps", json={"inputs": [[1, 2, 3]]}))["step"] == 1
    assert server.process.wait(timeout=30) == 0
