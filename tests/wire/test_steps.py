"""`POST /v1/sessions/{id}/steps`: outputs, and every call applied exactly once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from tests.wire.conftest import NOT_FINITE
from tests.wire.expect import bits, done, refused
from tests.wire.oracle import Oracle
from tests.wire.ws import Socket

STEP = [1, 2, 3]


class Caller:
    """A session of `model`, and calls on it."""

    def __init__(self, http: httpx.Client, id: str, model: str = "lstm", **asked: Any) -> None:
        self._http, self.id = http, id
        done(http.post(f"/v1/models/{model}/sessions", json={"id": id, **asked}), 201)

    def call(self, inputs: Any, step: int | None = None) -> httpx.Response:
        body = {"inputs": inputs} | ({} if step is None else {"step": step})
        return self._http.post(f"/v1/sessions/{self.id}/steps", json=body)

    def step(self) -> int:
        return int(done(self._http.get(f"/v1/sessions/{self.id}"))["step"])

    def state(self) -> bytes:
        return self._http.get(f"/v1/sessions/{self.id}/state").content


@pytest.fixture
def caller(http: httpx.Client, name: str) -> Caller:
    return Caller(http, name)


def test_stepping_equals_the_whole_sequence_bit_for_bit(
    caller: Caller, oracle: Oracle, rng: np.random.Generator
) -> None:
    inputs = oracle.inputs(rng, 150)
    outputs, at = [], 0
    for steps in (1, 1, 2, 31, 32, 33, 49, 1):
        told = done(caller.call(inputs[at : at + steps].tolist(), at))
        outputs += told["outputs"]
        at += steps
        assert told["step"] == at == caller.step()
    assert bits(outputs) == bits(oracle.whole(inputs))


def test_the_answer_has_the_style_of_the_call(http: httpx.Client, name: str) -> None:
    caller = Caller(http, name, "named")
    told = done(caller.call([{"flow": 1, "hour": 2, "day": 3}]))
    assert told.keys() == {"outputs", "step"}
    assert list(told["outputs"][0]) == ["level", "trend"]
    assert all(isinstance(number, float) for number in done(caller.call([STEP]))["outputs"][0])


def test_without_a_step_every_call_runs(caller: Caller) -> None:
    outputs = [done(caller.call([STEP]))["outputs"] for _ in range(3)]
    assert outputs[0] != outputs[1] != outputs[2]
    assert caller.step() == 3


def test_a_kept_call_is_answered_again_and_the_state_does_not_move(caller: Caller) -> None:
    answers = [done(caller.call([[at, 0, 0]], at)) for at in range(6)]
    state = caller.state()
    for at in (5, 2, 4, 3, 2):  # the last four, in any order, again and again
        assert done(caller.call([[at, 0, 0]], at)) == answers[at]
    assert caller.state() == state


def test_a_call_that_is_no_longer_kept_is_a_conflict_that_was_applied(caller: Caller) -> None:
    for at in range(6):
        done(caller.call([[at, 0, 0]], at))
    told = refused(caller.call([[1, 0, 0]], 1), "step_conflict")
    assert (told["expected_step"], told["applied"]) == (6, True)


@pytest.mark.parametrize("inputs", [[[7, 2, 3]], [STEP, STEP], [[1, 2, 3.0000002]]])
def test_other_inputs_at_a_kept_step_are_a_conflict_that_was_applied(caller: Caller, inputs: Any) -> None:
    done(caller.call([STEP], 0))
    state = caller.state()
    told = refused(caller.call(inputs, 0), "step_conflict")
    assert (told["expected_step"], told["applied"]) == (1, True)
    assert caller.state() == state


def test_the_same_float32_bits_in_other_words_are_the_same_call(http: httpx.Client, name: str) -> None:
    caller = Caller(http, name, "named")
    first = done(caller.call([[0.1, 2, 3]], 0))["outputs"][0]
    again = done(caller.call([{"day": 3.0, "hour": 2e0, "flow": 0.1000000001}], 0))["outputs"][0]
    assert list(again.values()) == first
    refused(caller.call([[0.1, 2, 0.0]], 0), "step_conflict")
    assert caller.step() == 1


@pytest.mark.parametrize("step", [1, 2, 10**15, 2**63])
def test_a_step_that_lies_ahead_is_a_conflict_that_was_not_applied(caller: Caller, step: int) -> None:
    told = refused(caller.call([STEP], step), "step_conflict")
    assert told["expected_step"] == 0
    assert "applied" not in told
    assert told["detail"].startswith(f"step {step if step < 2**63 else '9223372036854775807 or a later one'} was named")
    assert caller.step() == 0


@pytest.mark.parametrize("step", [-1, 0.5, "0", None, True, [0]])
def test_a_step_is_a_whole_number_from_0(caller: Caller, step: Any) -> None:
    body = {"inputs": [STEP], "step": step}
    refused(caller._http.post(f"/v1/sessions/{caller.id}/steps", json=body), "invalid_request")
    assert caller.step() == 0


def test_bad_inputs_and_outputs_that_are_not_finite_move_nothing(http: httpx.Client, name: str) -> None:
    caller = Caller(http, name, "log", history=[[1, 1, 1]])
    state = caller.state()
    refused(caller.call([[1, 1, 1]] * 40 + [[1, 1]], 1), "invalid_input")
    refused(caller.call([[1, 1, 1]] * 40 + [NOT_FINITE], 1), "non_finite_output")
    assert caller.state() == state
    assert done(caller.call([[1, 1, 1]], 1))["step"] == 2


def test_a_retry_of_a_running_call_waits_for_it_and_is_answered_the_same(caller: Caller) -> None:
    inputs = [STEP] * 3_000
    with ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(caller.call, inputs, 0) for _ in range(8)]
        answers = [done(call.result()) for call in calls]
    assert all(answer == answers[0] for answer in answers)
    assert caller.step() == 3_000


def test_concurrent_unchecked_calls_all_run_one_after_the_other(
    caller: Caller, oracle: Oracle, rng: np.random.Generator
) -> None:
    (step,) = oracle.inputs(rng, 1).tolist()
    with ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(caller.call, [step] * 5) for _ in range(24)]
        answers = sorted((done(call.result()) for call in calls), key=lambda told: told["step"])
    assert [told["step"] for told in answers] == list(range(5, 125, 5))
    truth = oracle.whole(np.array([step] * 120, np.float32))
    assert bits([one for told in answers for one in told["outputs"]]) == bits(truth)


def test_a_step_is_compared_with_what_was_accepted_at_any_door(caller: Caller, stream: Socket) -> None:
    channel = stream.open("lstm", caller.id)["channel"]
    stream.tell({"id": 2, "channel": channel, "inputs": [STEP] * 500, "step": 0})
    stream.tell({"id": 3, "channel": channel, "inputs": [STEP], "step": 500})
    assert {told["id"]: told["step"] for told in (stream.hear(), stream.hear())} == {2: 500, 3: 501}
    assert done(caller.call([STEP], 501))["step"] == 502
    told = stream.ask({"id": 4, "channel": channel, "inputs": [STEP], "step": 501})
    assert told["step"] == 502, "the call of the other door is kept for this one"
