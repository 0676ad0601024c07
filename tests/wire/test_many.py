"""`POST /v1/models/{model}/steps`: many sessions in one call, each item for itself."""

from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest

from tests.wire.conftest import NOT_FINITE
from tests.wire.expect import bits, done, problem, refused
from tests.wire.oracle import Oracle

STEP = [1, 2, 3]


def items(http: httpx.Client, items: list[Any], model: str = "lstm", **asked: Any) -> list[dict[str, Any]]:
    told = done(http.post(f"/v1/models/{model}/steps", json={"items": items, **asked}))
    assert len(told["items"]) == len(items)
    return list(told["items"])


def item(session: Any, inputs: Any = None, **more: Any) -> dict[str, Any]:
    return {"session": session, "inputs": [STEP] if inputs is None else inputs, **more}


def test_each_item_is_answered_in_its_place_bit_for_bit(
    http: httpx.Client, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    sequences = [oracle.inputs(rng, steps) for steps in (1, 40, 2, 1, 33)]
    asked = [item(f"{name}-{index}", one.tolist(), step=0) for index, one in enumerate(sequences)]
    told = items(http, asked, open=True)
    assert [one["session"] for one in told] == [one["session"] for one in asked]
    assert [one["step"] for one in told] == [len(one) for one in sequences]
    assert [bits(one["outputs"]) for one in told] == [bits(oracle.whole(one)) for one in sequences]


def test_open_creates_the_unknown_sessions_and_says_so(http: httpx.Client, name: str) -> None:
    assert items(http, [item(name)], open=True)[0]["created"] is True
    assert "created" not in items(http, [item(name)], open=True)[0]
    assert done(http.get(f"/v1/sessions/{name}"))["step"] == 2


@pytest.mark.parametrize("asked", [{}, {"open": False}])
def test_without_open_an_unknown_session_is_the_error_of_its_item(
    http: httpx.Client, name: str, asked: dict[str, Any]
) -> None:
    (told,) = items(http, [item(name)], **asked)
    assert told.keys() == {"session", "error"}
    problem(told["error"], "session_not_found")


def test_open_creates_nothing_for_a_step_other_than_0(http: httpx.Client, name: str) -> None:
    problem(items(http, [item(name, step=3)], open=True)[0]["error"], "session_not_found")
    refused(http.get(f"/v1/sessions/{name}"), "session_not_found")
    assert items(http, [item(name, step=0)], open=True)[0]["created"] is True


@pytest.mark.parametrize("session", ["", "..", "a/b", "a" * 129, "ä"])
def test_open_creates_nothing_under_a_bad_name(http: httpx.Client, session: str) -> None:
    (told,) = items(http, [item(session)], open=True)
    assert told["session"] == session
    assert problem(told["error"], "invalid_request")["detail"].startswith("items[0].session: ")


def test_one_bad_item_never_harms_another(http: httpx.Client, name: str) -> None:
    bad = [
        ("invalid_input", item(name, [[1, 2]])),
        ("step_conflict", item(name, step=9)),
        ("session_not_found", item(f"{name}-x")),
        ("invalid_request", item(name, step=-1)),
        ("invalid_request", item(name, x=1)),
        ("invalid_request", {"session": name}),
        ("invalid_request", item(7)),
        ("invalid_request", "no object"),
        ("invalid_request", None),
    ]
    http.post("/v1/models/lstm/sessions", json={"id": name})
    told = items(http, [item(name, step=0), *(one for _, one in bad), item(name, step=1)])
    assert (told[0]["step"], told[-1]["step"]) == (1, 2)
    for (code, asked), answer in zip(bad, told[1:-1], strict=True):
        problem(answer["error"], code)
        named = asked.get("session") if isinstance(asked, dict) else None
        assert answer["session"] == (named if isinstance(named, str) else None)
    assert done(http.get(f"/v1/sessions/{name}"))["step"] == 2


def test_the_place_of_a_bad_value_is_named(http: httpx.Client, name: str) -> None:
    told = items(http, [item(name), item(name, [STEP, [1, None, 3]])], open=True)
    assert told[1]["error"]["detail"].startswith("items[1].inputs[1][1]")


def test_an_output_that_is_not_finite_fails_its_item_alone(http: httpx.Client, name: str) -> None:
    asked = [item(f"{name}-1", [[1, 1, 1]]), item(f"{name}-2", [NOT_FINITE]), item(f"{name}-3", [[1, 1, 1]])]
    told = items(http, asked, "log", open=True)
    problem(told[1]["error"], "non_finite_output")
    assert told[0]["outputs"] == told[2]["outputs"]
    refused(http.get(f"/v1/sessions/{name}-2"), "session_not_found")


def test_a_session_that_appears_several_times_runs_in_list_order(
    http: httpx.Client, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    inputs = oracle.inputs(rng, 80)
    cuts = [0, 1, 40, 41, 43, 80]
    asked = [item(name, inputs[a:b].tolist(), step=a) for a, b in pairwise(cuts)]
    told = items(http, asked, open=True)
    assert [one["step"] for one in told] == cuts[1:]
    assert [one.get("created") for one in told] == [True, None, None, None, None]
    assert bits([step for one in told for step in one["outputs"]]) == bits(oracle.whole(inputs))


def test_a_retry_of_the_whole_call_is_answered_from_what_is_kept(http: httpx.Client, name: str) -> None:
    asked = [item(f"{name}-{index}", step=0) for index in range(5)]
    first = items(http, asked, open=True)
    again = items(http, asked, open=True)
    assert [one["outputs"] for one in again] == [one["outputs"] for one in first]
    assert {one["step"] for one in again} == {1}


def test_each_item_has_its_own_style(http: httpx.Client, name: str) -> None:
    asked = [item(f"{name}-1"), item(f"{name}-2", [{"flow": 1, "hour": 2, "day": 3}])]
    lists, objects = items(http, asked, "named", open=True)
    assert list(objects["outputs"][0].values()) == lists["outputs"][0]


def test_a_session_of_another_model_or_version_is_a_mismatch(http: httpx.Client, name: str) -> None:
    http.post("/v1/models/lstm/sessions?version=1", json={"id": name})
    (told,) = items(http, [item(name)], "gru", open=True)
    problem(told["error"], "state_mismatch")
    answer = http.post("/v1/models/lstm/steps?version=2", json={"items": [item(name)]})
    problem(done(answer)["items"][0]["error"], "state_mismatch")
    assert items(http, [item(name)])[0]["step"] == 1, "without a version, the session's own serves"


def test_items_on_a_model_that_needs_the_whole_sequence_are_not_streamable(http: httpx.Client, name: str) -> None:
    (told,) = items(http, [item(name)], "bidirectional", open=True)
    problem(told["error"], "not_streamable")


@pytest.mark.parametrize("body", [{}, {"items": {}}, {"items": None}, {"items": [], "open": 1}, {"items": [], "x": 1}])
def test_an_envelope_that_cannot_be_read_is_an_invalid_request(http: httpx.Client, body: Any) -> None:
    refused(http.post("/v1/models/lstm/steps", json=body), "invalid_request")


def test_no_items_are_an_invalid_input(http: httpx.Client) -> None:
    refused(http.post("/v1/models/lstm/steps", json={"items": []}), "invalid_input")


def test_a_session_of_which_nothing_was_applied_is_not_opened(http: httpx.Client, name: str) -> None:
    """Whichever of its items fails last."""
    for asked in ([NOT_FINITE], [NOT_FINITE, *[STEP] * 64, NOT_FINITE]):
        told = items(http, [item(name, [NOT_FINITE]), item(name, asked)], model="log", open=True)
        assert [one["error"]["code"] for one in told] == ["non_finite_output"] * 2
        refused(http.get(f"/v1/sessions/{name}"), "session_not_found")
