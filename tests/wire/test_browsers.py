"""What web pages may do, and states that are sealed by a key."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from websockets.sync.client import connect

from tests.wire.expect import done, refused
from tests.wire.server import Server

ELSEWHERE, HERE = "https://evil.example", "https://board.example"
STEPS = {"inputs": [[1, 2, 3]]}


@pytest.fixture(scope="module")
def guarded(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that allows a host and an origin, and seals states by the newer of two keys."""
    keys = "new:0123456789abcdef,old:fedcba9876543210"
    rules = {"allowed_hosts": "rnn.example", "allowed_origins": HERE, "state_key": keys}
    server = Server(models, tmp_path_factory.mktemp("guarded") / "log", **rules)
    yield server.wait_until_ready()
    server.stop()


@pytest.fixture
def page(guarded: Server, name: str) -> Iterator[httpx.Client]:
    """A client of it, and a session of the test's name."""
    with httpx.Client(base_url=guarded.url, timeout=30) as client:
        done(client.post("/v1/models/lstm/sessions", json={"id": name}), 201)
        yield client


@pytest.mark.parametrize(
    "headers", [{"Origin": ELSEWHERE}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}], ids=str
)
def test_a_page_of_another_origin_moves_nothing(page: httpx.Client, name: str, headers: dict[str, str]) -> None:
    refused(page.post(f"/v1/sessions/{name}/steps", json=STEPS, headers=headers), "forbidden")
    refused(page.delete(f"/v1/sessions/{name}", headers=headers), "forbidden")
    asked = headers | {"Access-Control-Request-Method": "POST"}
    refused(page.options(f"/v1/sessions/{name}/steps", headers=asked), "forbidden")
    assert done(page.get(f"/v1/sessions/{name}"))["step"] == 0


def test_a_page_of_an_allowed_origin_and_one_of_the_service_itself_may_call(page: httpx.Client, name: str) -> None:
    path = f"/v1/sessions/{name}/steps"
    answer = page.post(path, json=STEPS, headers={"Origin": HERE})
    assert (done(answer)["step"], answer.headers["access-control-allow-origin"]) == (1, HERE)
    assert {"X-Request-Id", "Retry-After"} <= {*answer.headers["access-control-expose-headers"].split(", ")}
    assert done(page.post(path, json=STEPS, headers={"Origin": str(page.base_url).rstrip("/")}))["step"] == 2
    asked = {"Origin": HERE, "Access-Control-Request-Method": "POST"}
    assert page.options(path, headers=asked).headers["access-control-allow-origin"] == HERE


def test_a_name_that_is_not_allowed_is_not_served_but_its_health_is(page: httpx.Client) -> None:
    refused(page.get("/v1/models", headers={"Host": "evil.example"}), "forbidden")
    refused(page.post("/v1/models/lstm/predict", json={}, headers={"Host": "evil.example:80"}), "forbidden")
    for host in ("rnn.example", "RNN.example:8000", "localhost", "carousel:8000", "127.0.0.1", "[::1]:1"):
        assert page.get("/v1/models", headers={"Host": host}).status_code == 200
    assert page.get("/health/ready", headers={"Host": "evil.example"}).status_code == 200


def test_a_stream_of_a_page_of_another_origin_is_told_so_and_does_nothing(guarded: Server, name: str) -> None:
    with connect(guarded.stream_url, proxy=None, origin=ELSEWHERE) as socket:  # type: ignore[arg-type]
        socket.send(orjson.dumps({"id": 7, "open": {"model": "lstm", "session": name}}).decode())
        told = orjson.loads(socket.recv())
        assert (told["id"], told["error"]["code"]) == (7, "forbidden")
        socket.send(b"\1\0\0\0" + bytes(20))
        assert orjson.loads(socket.recv())["error"]["code"] == "forbidden"
    assert httpx.get(f"{guarded.url}/v1/sessions/{name}").status_code == 404


def test_browsers_are_told_to_guess_and_frame_nothing(page: httpx.Client) -> None:
    for path, policy in (("/v1/models", "default-src 'none'"), ("/docs", "script-src 'self'")):
        headers = page.get(path).headers
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert policy in headers["content-security-policy"]


def test_a_state_opens_with_every_key_of_the_service_and_with_no_other(
    page: httpx.Client, name: str, http: httpx.Client, models: Path, tmp_path: Path
) -> None:
    done(page.post(f"/v1/sessions/{name}/steps", json=STEPS))
    sealed = page.get(f"/v1/sessions/{name}/state").content
    assert done(page.put(f"/v1/sessions/{name}-copy/state", content=sealed), 201)["step"] == 1
    refused(http.put(f"/v1/sessions/{name}/state", content=sealed), "state_mismatch")
    done(http.post("/v1/models/lstm/sessions", json={"id": name}), 201)
    unsealed = http.get(f"/v1/sessions/{name}/state").content
    refused(page.put(f"/v1/sessions/{name}/state", content=unsealed), "state_mismatch")
    before = Server(models, tmp_path / "log", state_key="old:fedcba9876543210").wait_until_ready()
    old = f"{before.url}/v1/sessions/{name}/state"
    done(httpx.post(f"{before.url}/v1/models/lstm/sessions", json={"id": name}), 201)
    assert done(page.put(f"/v1/sessions/{name}/state", content=httpx.get(old).content))["step"] == 0
    refused(httpx.put(old, content=sealed), "state_mismatch")
    before.stop()


def test_a_state_that_is_larger_than_that_of_any_model_is_refused_unread(page: httpx.Client, name: str) -> None:
    refused(page.put(f"/v1/sessions/{name}/state", content=bytes(2**20)), "state_mismatch")
