"""Hot routes are served below ASGI, and there what is not of the usual kind too: a client sees no difference."""

import gzip
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import orjson
import pytest

from tests import graphs
from tests.wire.expect import done
from tests.wire.poll import until
from tests.wire.server import Server

STEP = [1, 2, 3]
LONG = 6_000  # steps: a second and more for the slow model, in a body that is short enough to be served below ASGI

Way = Callable[[httpx.Client, str, bytes], httpx.Response]
WAYS: dict[str, Way] = {
    "usual": lambda http, path, body: http.post(path, content=body),
    "query": lambda http, path, body: http.post(path + "?x=1", content=body),
    "escape": lambda http, path, body: http.post(path.replace("/v1/", "/%761/"), content=body),
    "chunked": lambda http, path, body: http.post(path, content=iter([body[:9], body[9:]])),
    "packed": lambda http, path, body: http.post(
        path, content=gzip.compress(body), headers={"Content-Encoding": "gzip"}
    ),
    "long": lambda http, path, body: http.post(path, content=body + b" " * 70_000),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def test_every_way_leads_to_the_same_answers(http: httpx.Client, way: Way, name: str) -> None:
    done(http.post("/v1/models/lstm/sessions", json={"id": name}), 201)
    for path, body in (
        ("/v1/models/lstm/predict", {"sequences": [[STEP, STEP], [STEP]]}),
        ("/v1/models/lstm/predict", {"sequences": [[[1, 2]]]}),
        ("/v1/models/none/predict", {"sequences": [[STEP]]}),
        ("/v1/sessions/none-at-all/steps", {"inputs": [STEP]}),
        ("/v1/models/lstm/steps", {"items": [{"session": "none-at-all", "inputs": [STEP]}]}),
        (f"/v1/sessions/{name}/steps", {"inputs": [STEP], "step": 0}),
        (f"/v1/sessions/{name}/steps", {"inputs": [STEP], "step": 0}),
        (f"/v1/sessions/{name}/steps", {"inputs": [STEP], "step": 7}),
        (f"/v1/sessions/{name}/steps", {"inputs": []}),
        (f"/v1/sessions/{name}/steps", [STEP]),
    ):
        mine, usual = way(http, path, orjson.dumps(body)), http.post(path, json=body)
        assert (mine.status_code, mine.content) == (usual.status_code, usual.content)
        same = mine.headers.keys() - {"date", "x-request-id"}
        assert {key: mine.headers[key] for key in same} == {key: usual.headers[key] for key in same}
        assert mine.headers.keys() == usual.headers.keys()


def counted(server: Server, route: str, status: int) -> float:
    return server.metric("carousel_http_answers_total", method="POST", route=route, status=str(status))


def test_every_way_is_counted_alike(server: Server, http: httpx.Client, way: Way) -> None:
    for route, path in (
        ("/v1/models/{model}/predict", "/v1/models/lstm/predict"),
        ("/v1/models/{model}/steps", "/v1/models/lstm/steps"),
        ("/v1/sessions/{id}/steps", "/v1/sessions/none-at-all/steps"),
    ):
        status = way(http, path, b"this is no JSON").status_code
        before = counted(server, route, status)
        way(http, path, b"this is no JSON")
        assert counted(server, route, status) == before + 1


def test_every_way_is_logged_with_its_id(launch: Callable[..., Server]) -> None:
    server = launch(log_level="debug").wait_until_ready()
    with httpx.Client(base_url=server.url) as http:
        for name, way in WAYS.items():
            http.headers["X-Request-Id"] = f"by-{name}"
            assert way(http, "/v1/models/lstm/predict", b"{}").headers["x-request-id"] == f"by-{name}"
    assert server.stop() == 0
    lines = [orjson.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    said = [line["request_id"] for line in lines if line["message"].startswith("POST ")]
    assert said == [f"by-{name}" for name in WAYS]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("slow-ways")
    graphs.write(folder / "slow/1/model.onnx", "lstm", hidden=640)
    server = Server(folder, folder / "log").wait_until_ready()
    yield server
    assert server.stop() == 0


def cut(server: Server, path: str, body: Any, *, blanks: int) -> None:
    """Call, and hang up when the work has begun."""
    content = orjson.dumps(body) + b" " * blanks
    run = server.metric("carousel_steps_total", model="slow", version="1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        until(lambda: server.metric("carousel_steps_total", model="slow", version="1") > run)


@pytest.mark.parametrize("blanks", [0, 70_000], ids=["below ASGI", "by ASGI"])
def test_a_predict_whose_caller_left_is_abandoned_and_counted_so(slow: Server, blanks: int) -> None:
    route = "/v1/models/{model}/predict"
    before, run = counted(slow, route, 499), slow.metric("carousel_steps_total", model="slow", version="1")
    cut(slow, "/v1/models/slow/predict", {"sequences": [[STEP] * LONG]}, blanks=blanks)
    until(lambda: counted(slow, route, 499) == before + 1)
    until(lambda: not slow.metric("carousel_waiting_rows", model="slow", version="1"))
    assert slow.metric("carousel_steps_total", model="slow", version="1") < run + LONG


@pytest.mark.parametrize("blanks", [0, 70_000], ids=["below ASGI", "by ASGI"])
def test_steps_whose_caller_left_are_applied(slow: Server, name: str, blanks: int) -> None:
    with httpx.Client(base_url=slow.url) as http:
        done(http.post("/v1/models/slow/sessions", json={"id": name}), 201)
        cut(slow, f"/v1/sessions/{name}/steps", {"inputs": [STEP] * LONG}, blanks=blanks)
        until(lambda: done(http.get(f"/v1/sessions/{name}"))["step"] == LONG)


def test_a_client_who_asks_and_does_not_read_has_to_wait(server: Server) -> None:
    content = orjson.dumps({"sequences": [[STEP] * 400] * 10})
    head = f"POST /v1/models/lstm/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    most, sent = 64 * 2**20, 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=1) as connection, suppress(TimeoutError):
        while sent < most:
            sent += connection.send(head + content)
    assert sent < most
