"""Sessions that are not called are forgotten after their TTL; their ids are remembered for one TTL more."""

import time
from typing import Any

import httpx
import pytest

from tests.wire.expect import done, problem, refused
from tests.wire.poll import until
from tests.wire.ws import Socket

STEP = [1, 2, 3]
FOREVER = 60  # seconds: longer than any test


def opened(http: httpx.Client, id: str, ttl: float) -> None:
    done(http.post("/v1/models/lstm/sessions", json={"id": id, "ttl_seconds": ttl}), 201)


def item(http: httpx.Client, id: str, **asked: Any) -> dict[str, Any]:
    body = {"items": [{"session": id, "inputs": [STEP]}], **asked}
    told: dict[str, Any] = done(http.post("/v1/models/lstm/steps", json=body))["items"][0]
    return told


def expired(http: httpx.Client, id: str) -> None:
    until(lambda: http.get(f"/v1/sessions/{id}").status_code == 410, seconds=5, what="expiry")


def test_an_idle_session_expires_and_is_then_forgotten_though_it_is_looked_at(http: httpx.Client, name: str) -> None:
    opened(http, name, 0.3)
    seen: list[int] = []

    def look() -> bool:
        status = http.get(f"/v1/sessions/{name}").status_code
        if status not in seen:
            seen.append(status)
        return status == 404

    begin = time.monotonic()
    until(look, seconds=5)
    assert seen == [200, 410, 404]
    assert time.monotonic() - begin >= 0.6


def test_every_call_on_an_expired_session_says_so(http: httpx.Client, stream: Socket, name: str) -> None:
    opened(http, name, 1.5)
    channel = stream.open("lstm", name)["channel"]
    expired(http, name)
    refused(http.post(f"/v1/sessions/{name}/steps", json={"inputs": [STEP]}), "session_expired")
    refused(http.post(f"/v1/sessions/{name}/fork", json={}), "session_expired")
    refused(http.get(f"/v1/sessions/{name}/state"), "session_expired")
    refused(http.delete(f"/v1/sessions/{name}"), "session_expired")
    problem(item(http, name)["error"], "session_expired")
    problem(item(http, name, open=True)["error"], "session_expired")
    told = stream.ask({"id": 1, "channel": channel, "inputs": [STEP]})
    problem(told["error"], "session_expired")
    problem(stream.ask({"id": 1, "open": {"model": "lstm", "session": name}})["error"], "session_expired")


def test_an_expired_id_may_be_created_anew(http: httpx.Client, name: str) -> None:
    opened(http, f"{name}-source", FOREVER)
    blob = http.get(f"/v1/sessions/{name}-source/state").content
    for index in range(3):
        opened(http, f"{name}-{index}", 0.5)
    for index in range(3):
        expired(http, f"{name}-{index}")
    opened(http, f"{name}-0", FOREVER)
    done(http.post(f"/v1/sessions/{name}-source/fork", json={"id": f"{name}-1"}), 201)
    done(http.put(f"/v1/sessions/{name}-2/state", content=blob), 201)
    assert all(done(http.get(f"/v1/sessions/{name}-{index}"))["step"] == 0 for index in range(3))


@pytest.mark.parametrize("call", ["steps", "replay", "item", "frame", "open", "fork", "state"])
def test_what_is_accepted_restarts_the_idle_clock(http: httpx.Client, stream: Socket, name: str, call: str) -> None:
    opened(http, name, 0.4)
    step = {"inputs": [STEP], "step": 0}
    done(http.post(f"/v1/sessions/{name}/steps", json=step))
    blob = http.get(f"/v1/sessions/{name}/state").content
    channel = stream.open("lstm", name)["channel"]
    calls = {
        "steps": lambda: done(http.post(f"/v1/sessions/{name}/steps", json={"inputs": [STEP]})),
        "replay": lambda: done(http.post(f"/v1/sessions/{name}/steps", json=step)),
        "item": lambda: item(http, name)["outputs"],
        "frame": lambda: stream.ask({"id": 1, "channel": channel, "inputs": [STEP]})["outputs"],
        "open": lambda: stream.open("lstm", name)["channel"],
        "fork": lambda: done(http.post(f"/v1/sessions/{name}/fork", json={}), 201),
        "state": lambda: done(http.put(f"/v1/sessions/{name}/state", content=blob)),
    }
    for _ in range(8):
        calls[call]()
        time.sleep(0.1)  # the subject of the test: 0.8 s of calls, twice the TTL
    assert http.get(f"/v1/sessions/{name}").status_code == 200


def test_work_under_way_holds_its_session(http: httpx.Client, name: str) -> None:
    opened(http, name, 0.01)
    answer = http.post(f"/v1/sessions/{name}/steps", json={"inputs": [STEP] * 5_000})
    assert answer.status_code in (404, 410) or done(answer)["step"] == 5_000  # a busy machine asks too late
    history = {"ttl_seconds": 0.05, "history": [STEP] * 20_000}
    assert done(http.post("/v1/models/lstm/sessions", json=history), 201)["step"] == 20_000


def test_a_silent_channel_does_not_hold_its_session(http: httpx.Client, stream: Socket, name: str) -> None:
    stream.open("lstm", name, ttl_seconds=0.3)
    expired(http, name)
