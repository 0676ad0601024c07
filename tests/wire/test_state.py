"""Fork, and `GET`/`PUT …/state`: a session copied, here and to another server."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from tests import graphs
from tests.wire.expect import bits, done, refused
from tests.wire.oracle import Oracle
from tests.wire.server import Server
from tests.wire.ws import Socket

STEP = [1, 2, 3]


def session(http: httpx.Client, id: str, model: str = "lstm", **asked: Any) -> Any:
    return done(http.post(f"/v1/models/{model}/sessions", json={"id": id, **asked}), 201)


def outputs(http: httpx.Client, id: str, inputs: Any, step: int | None = None) -> Any:
    body = {"inputs": inputs} | ({} if step is None else {"step": step})
    return done(http.post(f"/v1/sessions/{id}/steps", json=body))["outputs"]


def blob(http: httpx.Client, id: str) -> bytes:
    answer = http.get(f"/v1/sessions/{id}/state")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    return answer.content


def put(http: httpx.Client, id: str, content: bytes) -> httpx.Response:
    return http.put(f"/v1/sessions/{id}/state", content=content)


def test_a_fork_goes_on_from_the_same_state_and_leaves_the_first_alone(
    http: httpx.Client, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    inputs = oracle.inputs(rng, 20)
    session(http, name, history=inputs[:10].tolist(), ttl_seconds=77)
    before = blob(http, name)
    copy = done(http.post(f"/v1/sessions/{name}/fork", json={"id": f"{name}-2"}), 201)
    assert (copy["id"], copy["step"], copy["version"], copy["ttl_seconds"]) == (f"{name}-2", 10, "10", 77)
    assert bits(outputs(http, f"{name}-2", inputs[10:].tolist())) == bits(oracle.whole(inputs)[10:])
    assert blob(http, name) == before


def test_a_fork_without_an_id_gets_one_and_a_taken_id_is_refused(http: httpx.Client, name: str) -> None:
    session(http, name)
    assert len(done(http.post(f"/v1/sessions/{name}/fork", json={}), 201)["id"]) >= 20
    refused(http.post(f"/v1/sessions/{name}/fork", json={"id": name}), "session_exists")
    refused(http.post(f"/v1/sessions/{name}/fork", json={"id": "a b"}), "invalid_request")
    refused(http.post(f"/v1/sessions/{name}-x/fork", json={}), "session_not_found")


def test_a_fork_keeps_no_answer_of_the_first(http: httpx.Client, name: str) -> None:
    session(http, name)
    outputs(http, name, [STEP], 0)
    http.post(f"/v1/sessions/{name}/fork", json={"id": f"{name}-2"})
    answer = http.post(f"/v1/sessions/{name}-2/steps", json={"inputs": [STEP], "step": 0})
    assert refused(answer, "step_conflict")["applied"] is True


@pytest.mark.parametrize("call", ["fork", "read", "replace", "delete"])
def test_what_is_done_to_a_session_takes_its_turn_behind_accepted_work(
    http: httpx.Client, stream: Socket, name: str, call: str
) -> None:
    session(http, name)
    start = blob(http, name)
    channel = stream.open("lstm", name)["channel"]
    stream.tell({"id": 1, "channel": channel, "inputs": [STEP] * 5_000})
    stream.tell({"id": 2, "open": {"model": "lstm", "session": name}})
    told = [stream.hear()]  # the frames above are accepted
    if call == "fork":
        assert done(http.post(f"/v1/sessions/{name}/fork", json={}), 201)["step"] == 5_000
    elif call == "read":
        done(put(http, f"{name}-2", blob(http, name)), 201)
        assert done(http.get(f"/v1/sessions/{name}-2"))["step"] == 5_000
    elif call == "replace":
        assert done(put(http, name, start))["step"] == 0
    else:
        assert http.delete(f"/v1/sessions/{name}").status_code == 204
        refused(http.get(f"/v1/sessions/{name}"), "session_not_found")
    told.append(stream.hear())
    answers = {one["id"]: one for one in told}
    assert answers[2]["opened"]["step"] == 5_000, "all work accepted before"
    assert answers[1]["step"] == 5_000


def test_a_state_creates_a_session_or_replaces_one(http: httpx.Client, name: str) -> None:
    session(http, name, history=[STEP] * 5)
    saved = blob(http, name)
    expected = outputs(http, name, [STEP] * 3, 5)
    created = done(put(http, f"{name}-2", saved), 201)
    assert (created["id"], created["step"], created["model"]) == (f"{name}-2", 5, "lstm")
    assert done(put(http, name, saved))["step"] == 5
    assert outputs(http, name, [STEP] * 3, 5) == outputs(http, f"{name}-2", [STEP] * 3, 5) == expected


def test_a_replaced_state_forgets_the_kept_answers(http: httpx.Client, name: str) -> None:
    session(http, name)
    saved = blob(http, name)
    outputs(http, name, [[9, 9, 9]], 0)
    done(put(http, name, saved))
    fresh = outputs(http, name, [[1, 1, 1]], 0)
    refused(http.post(f"/v1/sessions/{name}/steps", json={"inputs": [[9, 9, 9]], "step": 0}), "step_conflict")
    assert fresh == done(http.post("/v1/models/lstm/predict", json={"sequences": [[[1, 1, 1]]]}))["outputs"][0]


@pytest.mark.parametrize("model", ["lstm", "gru", "feedforward"])
def test_another_server_restores_the_state_exactly(
    http: httpx.Client, launch: Callable[..., Server], name: str, model: str
) -> None:
    session(http, name, model, history=[STEP] * 40)
    saved = blob(http, name)
    other = launch().wait_until_ready()
    with httpx.Client(base_url=other.url) as there:
        assert done(put(there, name, saved), 201)["step"] == 40
        assert blob(there, name) == saved
        assert outputs(there, name, [STEP] * 40, 40) == outputs(http, name, [STEP] * 40, 40)
        assert blob(there, name) == blob(http, name)


def test_the_state_of_another_file_of_that_name_is_a_mismatch(
    http: httpx.Client, launch: Callable[..., Server], name: str, tmp_path: Path
) -> None:
    session(http, name, "gru")
    saved = blob(http, name)
    graphs.write(tmp_path / "models/gru/1/model.onnx", "gru", outputs=1, seed=99)
    graphs.write(tmp_path / "models/lstm/1/model.onnx", "lstm")
    other = launch(tmp_path / "models").wait_until_ready()
    with httpx.Client(base_url=other.url) as there:
        refused(put(there, name, saved), "state_mismatch")
        session(http, f"{name}-2", "named")
        refused(put(there, f"{name}-2", blob(http, f"{name}-2")), "state_mismatch")


def test_a_state_of_another_model_or_version_does_not_replace(http: httpx.Client, name: str) -> None:
    session(http, name, history=[STEP])
    before = blob(http, name)
    session(http, f"{name}-gru", "gru")
    done(http.post("/v1/models/lstm/sessions?version=1", json={"id": f"{name}-old"}), 201)
    refused(put(http, name, blob(http, f"{name}-gru")), "state_mismatch")
    refused(put(http, name, blob(http, f"{name}-old")), "state_mismatch")
    assert blob(http, name) == before


def test_a_damaged_state_is_a_mismatch_and_changes_nothing(
    http: httpx.Client, name: str, rng: np.random.Generator
) -> None:
    session(http, name, history=[STEP])
    saved = blob(http, name)
    flipped = [bytearray(saved) for _ in range(40)]
    for one in flipped:
        one[rng.integers(len(saved))] ^= 1 << rng.integers(8)
    cut = [saved[: rng.integers(len(saved))] for _ in range(10)]
    damaged = [bytes(one) for one in flipped]
    for content in (*damaged, *cut, b"", saved + b"\0", saved[::-1], b'{"state":1}'):
        refused(put(http, name, content), "state_mismatch")
        refused(put(http, f"{name}-new", content), "state_mismatch")
    assert blob(http, name) == saved
    refused(http.get(f"/v1/sessions/{name}-new"), "session_not_found")


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"step": "1"},
        {"step": 1.5},
        {"step": True},
        {"step": None},
        {"step": 2**64 - 1},
        {"model": ["lstm"]},
        {"model": None},
        {"version": {}},
        {"version": 10},
        {"digest": 1},
        {"state": []},
        {"state": {"h": [8], "c": [-8]}},
        {"state": {"h": ["8"], "c": [8]}},
        {"state": {"h": 8, "c": 8}},
        {"state": {"h": [2**40, 2**40], "c": [8]}},
        {"state": {"c": [8], "x": [8]}},
    ],
)
def test_a_sealed_state_that_is_not_one_of_ours_is_a_mismatch(
    http: httpx.Client, name: str, change: dict[str, Any]
) -> None:
    session(http, name, history=[STEP])
    saved = blob(http, name)
    (length,) = struct.unpack_from("<I", saved, 8)
    header = orjson.dumps(orjson.loads(saved[12 : 12 + length]) | change)
    body = saved[:8] + struct.pack("<I", len(header)) + header + saved[12 + length : -32]
    refused(put(http, name, body + hashlib.sha256(body).digest()), "state_mismatch")
    assert blob(http, name) == saved


@pytest.mark.parametrize("id", ["a b", "ä", "a" * 129])
def test_a_state_is_not_put_under_a_bad_name(http: httpx.Client, name: str, id: str) -> None:
    session(http, name)
    refused(put(http, id, blob(http, name)), "invalid_request")
