"""Opening, looking at and deleting sessions over REST."""

from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest

from tests.wire.conftest import NOT_FINITE
from tests.wire.expect import bits, done, refused
from tests.wire.oracle import Oracle


def opened(http: httpx.Client, model: str = "lstm", **asked: Any) -> Any:
    return done(http.post(f"/v1/models/{model}/sessions", json=asked), 201)


def seconds_left(session: dict[str, Any]) -> float:
    assert session["expires_at"].endswith("Z")
    return (datetime.fromisoformat(session["expires_at"]) - datetime.now(UTC)).total_seconds()


def test_a_new_session_stands_at_step_0_and_is_found_by_its_id(http: httpx.Client, name: str) -> None:
    session = opened(http, id=name)
    assert session.keys() == {"id", "model", "version", "step", "ttl_seconds", "expires_at", "replay"}
    assert {key: session[key] for key in ("id", "model", "version", "step", "ttl_seconds", "replay")} == {
        **{"id": name, "model": "lstm", "version": "10", "step": 0, "ttl_seconds": 3600, "replay": 4}
    }
    assert 3590 < seconds_left(session) <= 3600
    found = done(http.get(f"/v1/sessions/{name}"))
    assert found | {"expires_at": ""} == session | {"expires_at": ""}


def test_without_an_id_the_server_makes_one_that_nobody_guesses(http: httpx.Client) -> None:
    ids = {opened(http)["id"] for _ in range(20)}
    assert len(ids) == 20
    assert all(len(id) >= 20 for id in ids)
    assert all(done(http.get(f"/v1/sessions/{id}"))["step"] == 0 for id in ids)


def test_a_history_warms_the_state_up_and_keeps_no_answer(
    http: httpx.Client, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    inputs = oracle.inputs(rng, 50)
    assert opened(http, id=name, history=inputs[:45].tolist())["step"] == 45
    told = done(http.post(f"/v1/sessions/{name}/steps", json={"inputs": inputs[45:].tolist(), "step": 45}))
    assert told["step"] == 50
    assert bits(told["outputs"]) == bits(oracle.whole(inputs)[45:])
    again = http.post(f"/v1/sessions/{name}/steps", json={"inputs": inputs[:45].tolist(), "step": 0})
    assert refused(again, "step_conflict")["applied"] is True


def test_if_the_history_fails_there_is_no_session(http: httpx.Client, name: str) -> None:
    body = {"id": name, "history": [[1, 1, 1], NOT_FINITE]}
    refused(http.post("/v1/models/log/sessions", json=body), "non_finite_output")
    refused(http.get(f"/v1/sessions/{name}"), "session_not_found")
    opened(http, "log", id=name)


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_ids_are_one_namespace_for_all_models(http: httpx.Client, name: str, model: str) -> None:
    opened(http, id=name)
    refused(http.post(f"/v1/models/{model}/sessions", json={"id": name}), "session_exists")


@pytest.mark.parametrize("id", ["a", "a" * 128, "A.z_0:@-", "...", "-"])
def test_good_names_are_taken(http: httpx.Client, id: str) -> None:
    http.delete(f"/v1/sessions/{id}")  # a fuzzing test may have drawn it on the same server
    assert opened(http, id=id)["id"] == id
    assert http.delete(f"/v1/sessions/{id}").status_code == 204


@pytest.mark.parametrize("id", ["", ".", "..", "a" * 129, "a b", "a/b", "ä", "a\n", "a\x00", 7, None, True, ["a"]])
def test_bad_names_are_invalid_requests(http: httpx.Client, id: Any) -> None:
    refused(http.post("/v1/models/lstm/sessions", json={"id": id}), "invalid_request")


@pytest.mark.parametrize("ttl", [0, -1, 1e9, "60", None, True, [60], 10**30])
def test_a_ttl_is_a_number_over_0_up_to_the_maximum(http: httpx.Client, name: str, ttl: Any) -> None:
    refused(http.post("/v1/models/lstm/sessions", json={"id": name, "ttl_seconds": ttl}), "invalid_request")
    refused(http.get(f"/v1/sessions/{name}"), "session_not_found")


def test_a_session_has_the_ttl_it_asked_for(http: httpx.Client, name: str) -> None:
    session = opened(http, id=name, ttl_seconds=12.5)
    assert session["ttl_seconds"] == 12.5
    assert 10 < seconds_left(session) <= 12.5


def test_a_model_that_needs_the_whole_sequence_has_no_sessions(http: httpx.Client) -> None:
    refused(http.post("/v1/models/bidirectional/sessions", json={}), "not_streamable")
    refused(http.post("/v1/models/bidirectional/sessions", json={"history": [[1, 2, 3]]}), "not_streamable")


def test_a_feedforward_session_counts_its_steps(http: httpx.Client, name: str) -> None:
    opened(http, "feedforward", id=name)
    told = done(http.post(f"/v1/sessions/{name}/steps", json={"inputs": [[1, 2, 3]] * 2}))
    assert told["step"] == 2
    assert told["outputs"][0] == told["outputs"][1]


def test_a_deleted_session_is_unknown_and_its_id_free(http: httpx.Client, name: str) -> None:
    opened(http, id=name)
    answer = http.delete(f"/v1/sessions/{name}")
    assert (answer.status_code, answer.content) == (204, b"")
    for verb, path in (("GET", ""), ("DELETE", ""), ("GET", "/state"), ("POST", "/steps"), ("POST", "/fork")):
        body = {"inputs": [[1, 2, 3]]} if path == "/steps" else {}
        refused(http.request(verb, f"/v1/sessions/{name}{path}", json=body), "session_not_found")
    assert opened(http, id=name)["step"] == 0


def test_the_session_is_looked_at_before_the_inputs(http: httpx.Client, name: str) -> None:
    refused(http.post(f"/v1/sessions/{name}/steps", json={"inputs": "x", "step": -1}), "session_not_found")


def test_a_body_that_is_no_such_object_is_looked_at_before_the_session(http: httpx.Client, name: str) -> None:
    refused(http.post(f"/v1/sessions/{name}/steps", json={"input": [[1]]}), "invalid_request")
    refused(http.post(f"/v1/sessions/{name}/fork", json={"ID": "x"}), "invalid_request")
