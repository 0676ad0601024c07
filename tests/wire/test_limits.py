"""What is bounded: sessions, the queue, channels, time. Beyond a bound nothing of the call was applied."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import graphs
from tests.wire.expect import done, problem, refused
from tests.wire.line import Line
from tests.wire.poll import until
from tests.wire.server import Server
from tests.wire.ws import dial

STEP = [1, 2, 3]
LATE = {"X-Request-Timeout-Ms": "0"}


def at(http: httpx.Client, id: str) -> int:
    return int(done(http.get(f"/v1/sessions/{id}"))["step"])


@pytest.mark.parametrize("bound", [{"max_sessions": 3}, {"max_session_bytes": 3 * 64 + 63}])
def test_a_full_session_table_is_overloaded_at_every_door(launch: Callable[..., Server], bound: dict[str, int]) -> None:
    server = launch(**bound).wait_until_ready()
    with httpx.Client(base_url=server.url) as http, dial(server.stream_url) as stream:
        for id in "ab":
            done(http.post("/v1/models/lstm/sessions", json={"id": id}), 201)
        blob = http.get("/v1/sessions/a/state").content
        items = [{"session": id, "inputs": [STEP]} for id in ("a", "new-1", "new-2")]
        refused(http.post("/v1/models/lstm/steps", json={"items": items, "open": True}), "overloaded")
        assert at(http, "a") == 0, "all or nothing"
        done(http.post("/v1/models/lstm/steps", json={"items": items[:2], "open": True}))
        refused(http.post("/v1/models/lstm/sessions", json={"id": "d"}), "overloaded")
        refused(http.post("/v1/models/lstm/sessions", json={"history": [STEP]}), "overloaded")
        refused(http.post("/v1/sessions/a/fork", json={}), "overloaded")
        refused(http.put("/v1/sessions/d/state", content=blob), "overloaded")
        problem(stream.ask({"id": 1, "open": {"model": "lstm", "session": "d"}})["error"], "overloaded")
        refused(http.get("/v1/sessions/d"), "session_not_found")
        assert stream.open("lstm", "a")["step"] == 1, "a known one needs no room"
        assert http.delete("/v1/sessions/b").status_code == 204
        done(http.post("/v1/models/lstm/sessions", json={"id": "d"}), 201)


def test_sessions_that_are_idle_make_room(launch: Callable[..., Server]) -> None:
    server = launch(max_sessions=1, default_ttl_seconds=0.3).wait_until_ready()
    with httpx.Client(base_url=server.url) as http:
        done(http.post("/v1/models/lstm/sessions", json={"id": "first"}), 201)
        refused(http.post("/v1/models/lstm/sessions", json={"id": "next"}), "overloaded")
        until(lambda: http.post("/v1/models/lstm/sessions", json={"id": "next"}).status_code == 201)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, httpx.Client]]:
    """A server whose queue holds 4 rows, with a slow model, and its client."""
    folder = tmp_path_factory.mktemp("busy")
    graphs.write(folder / "slow/1/model.onnx", "lstm", hidden=640)
    server = Server(folder, folder / "log", max_queue_rows=4).wait_until_ready()
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield server, http
    assert server.stop() == 0


@pytest.fixture
def full(busy: tuple[Server, httpx.Client]) -> Iterator[tuple[Server, httpx.Client]]:
    """The same, while 4 long sequences are in the queue."""
    server, http = busy
    with ThreadPoolExecutor(1) as other:
        long = other.submit(http.post, "/v1/models/slow/predict", json={"sequences": [[STEP] * 3_000] * 4})
        until(lambda: server.metric("carousel_waiting_rows", model="slow", version="1") == 4)
        yield server, http
        done(long.result())


def test_a_full_queue_is_overloaded_and_nothing_was_applied(full: tuple[Server, httpx.Client], name: str) -> None:
    _, http = full
    done(http.post("/v1/models/slow/sessions", json={"id": name}), 201)
    refused(http.post("/v1/models/slow/predict", json={"sequences": [[STEP]]}), "overloaded")
    refused(http.post(f"/v1/sessions/{name}/steps", json={"inputs": [STEP]}), "overloaded")
    refused(http.post("/v1/models/slow/sessions", json={"history": [STEP]}), "overloaded")
    body = {"items": [{"session": f"{name}-2", "inputs": [STEP]}], "open": True}
    refused(http.post("/v1/models/slow/steps", json=body), "overloaded")
    refused(http.get(f"/v1/sessions/{name}-2"), "session_not_found")
    assert at(http, name) == 0


def test_a_full_queue_is_overloaded_before_the_body_was_sent(full: tuple[Server, httpx.Client]) -> None:
    server, _ = full
    content = b'{"sequences": [[[1, 2, 3]]]}' + b" " * 100_000
    head = f"POST /v1/models/slow/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode()

    async def ask() -> list[int]:
        line = Line(server.port)
        early = await line.exchange(head)
        live = await line.exchange(content + b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        await line.hang_up()
        return [early.status, live.status]

    assert asyncio.run(ask()) == [503, 200]


def test_a_call_on_sessions_of_one_version_does_not_wait_for_another(tmp_path: Path) -> None:
    for version in (1, 2):
        graphs.write(tmp_path / f"slow/{version}/model.onnx", "lstm", hidden=640)
    server = Server(tmp_path, tmp_path / "log", max_queue_rows=4).wait_until_ready()
    with httpx.Client(base_url=server.url, timeout=30) as http, ThreadPoolExecutor(1) as other:
        done(http.post("/v1/models/slow/sessions?version=1", json={"id": "s"}), 201)
        long = other.submit(http.post, "/v1/models/slow/predict", json={"sequences": [[STEP] * 3_000] * 4})
        until(lambda: server.metric("carousel_waiting_rows", model="slow", version="2") == 4)
        body = b'{"items": [{"session": "s", "inputs": [[1, 2, 3]]}]}' + b" " * 5_000
        [told] = done(http.post("/v1/models/slow/steps", content=body))["items"]
        assert told["step"] == 1
        done(long.result())
    assert server.stop() == 0


def test_a_full_queue_never_refuses_a_frame(full: tuple[Server, httpx.Client]) -> None:
    server, _ = full
    with dial(server.stream_url) as stream:
        stream.open("slow")
        for id in range(20):
            stream.tell({"id": id, "channel": 1, "inputs": [STEP], "step": id})
        assert sorted(stream.hear()["step"] for _ in range(20)) == list(range(1, 21))


def test_more_sequences_than_the_queue_ever_holds_are_too_large(busy: tuple[Server, httpx.Client], name: str) -> None:
    _, http = busy
    refused(http.post("/v1/models/slow/predict", json={"sequences": [[STEP]] * 5}), "payload_too_large")
    items = [{"session": f"{name}-{index}", "inputs": [STEP]} for index in range(5)]
    refused(http.post("/v1/models/slow/steps", json={"items": items, "open": True}), "payload_too_large")
    refused(http.get(f"/v1/sessions/{name}-0"), "session_not_found")


def test_a_deadline_that_passes_in_the_queue_applies_nothing(http: httpx.Client, name: str) -> None:
    done(http.post("/v1/models/lstm/sessions", json={"id": name}), 201)
    body: dict[str, Any] = {"inputs": [STEP], "step": 0}
    refused(http.post(f"/v1/sessions/{name}/steps", json=body, headers=LATE), "deadline_exceeded")
    refused(http.post("/v1/models/lstm/predict", json={"sequences": [[STEP]]}, headers=LATE), "deadline_exceeded")
    history = {"id": f"{name}-2", "history": [STEP]}
    refused(http.post("/v1/models/lstm/sessions", json=history, headers=LATE), "deadline_exceeded")
    refused(http.get(f"/v1/sessions/{name}-2"), "session_not_found")
    items = {"items": [{"session": name, "inputs": [STEP]}, {"session": f"{name}-3", "inputs": [STEP]}], "open": True}
    for told in done(http.post("/v1/models/lstm/steps", json=items, headers=LATE))["items"]:
        problem(told["error"], "deadline_exceeded")
    refused(http.get(f"/v1/sessions/{name}-3"), "session_not_found")
    in_time = http.post(f"/v1/sessions/{name}/steps", json=body, headers={"X-Request-Timeout-Ms": "20000"})
    assert done(in_time)["step"] == 1


def test_every_answer_of_a_replay_is_kept_up_to_the_setting(launch: Callable[..., Server], models: Path) -> None:
    server = launch(models, replay=2).wait_until_ready()
    with httpx.Client(base_url=server.url) as http, dial(server.stream_url) as stream:
        assert done(http.post("/v1/models/lstm/sessions", json={"id": "s"}), 201)["replay"] == 2
        assert stream.open("lstm", "s")["replay"] == 2
        for step in range(4):
            done(http.post("/v1/sessions/s/steps", json={"inputs": [STEP], "step": step}))
        statuses = [http.post("/v1/sessions/s/steps", json={"inputs": [STEP], "step": k}).status_code for k in range(4)]
        assert statuses == [409, 409, 200, 200]
