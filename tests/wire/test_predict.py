"""`POST /v1/models/{model}/predict`: whole sequences, each from the zero state."""

import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.wire.conftest import NOT_FINITE
from tests.wire.expect import bits, done, refused
from tests.wire.oracle import Oracle

STEP = [1, 2, 3]


def predict(http: httpx.Client, sequences: Any, model: str = "lstm") -> Any:
    return done(http.post(f"/v1/models/{model}/predict", json={"sequences": sequences}))


def test_ragged_sequences_come_back_in_the_order_asked_bit_for_bit(
    http: httpx.Client, oracle: Oracle, rng: np.random.Generator
) -> None:
    sequences = [oracle.inputs(rng, steps) for steps in (5, 1, 70, 32, 33, 2)]
    told = predict(http, [one.tolist() for one in sequences])
    assert (told["model"], told["version"]) == ("lstm", "10")
    assert [bits(one) for one in told["outputs"]] == [bits(oracle.whole(one)) for one in sequences]


@pytest.mark.parametrize("model", ["gru", "rnn", "feedforward", "bidirectional"])
def test_every_cell_is_predicted_bit_for_bit(
    http: httpx.Client, models: Path, model: str, rng: np.random.Generator
) -> None:
    truth = Oracle(models / model / "1/model.onnx", twin=model == "rnn")
    sequences = [truth.inputs(rng, steps) for steps in (40, 3)]
    told = predict(http, [one.tolist() for one in sequences], model)
    assert [bits(one) for one in told["outputs"]] == [bits(truth.whole(one)) for one in sequences]


def test_a_predict_remembers_nothing(http: httpx.Client) -> None:
    first, again = (predict(http, [[STEP], [STEP]])["outputs"] for _ in range(2))
    assert first == again
    assert first[0] == first[1]


def test_each_sequence_is_answered_in_its_own_style(http: httpx.Client) -> None:
    step = {"day": 3, "flow": 1, "hour": 2}  # by name: the order does not matter
    lists, objects = predict(http, [[[1, 2, 3]], [step]], "named")["outputs"]
    assert list(objects[0]) == ["level", "trend"]
    assert [list(one.values()) for one in objects] == lists


def test_a_lone_output_is_a_list_of_one(http: httpx.Client) -> None:
    lists, objects = predict(http, [[STEP, STEP], [{"x0": 1, "x1": 2, "x2": 3}]], "gru")["outputs"]
    assert [len(step) for step in lists] == [1, 1]
    assert list(objects[0]) == ["y0"]


def test_numbers_are_the_shortest_decimals_that_read_back_as_the_same_float32(
    http: httpx.Client, oracle: Oracle, rng: np.random.Generator
) -> None:
    inputs = oracle.inputs(rng, 200)
    text = http.post("/v1/models/lstm/predict", json={"sequences": [inputs.tolist()]}).text
    printed = re.findall(r"-?[0-9][0-9.e+-]*", text.split('"outputs"')[1])
    truth = oracle.whole(inputs).ravel()
    assert [np.float32(number) for number in printed] == list(truth)
    shortest = [
        len(np.format_float_scientific(one, unique=True, exp_digits=1).split("e")[0].strip("-0.")) for one in truth
    ]
    digits = [len(re.sub(r"e.*|[-.]", "", number).strip("0")) for number in printed]
    assert digits == [max(1, length - 1 if length > 1 else length) for length in shortest]


def test_inputs_are_rounded_to_the_nearest_float32(http: httpx.Client, oracle: Oracle) -> None:
    told = predict(http, [[[0.1, 1e-46, 16777217]]])
    assert bits(told["outputs"][0]) == bits(oracle.whole(np.array([[0.1, 1e-46, 16777217]], np.float32)))


def test_one_bad_sequence_fails_the_whole_and_its_place_is_named(http: httpx.Client) -> None:
    body = {"sequences": [[STEP], [STEP, STEP], [STEP] * 17 + [[1, 2]]]}
    told = refused(http.post("/v1/models/lstm/predict", json=body), "invalid_input")
    assert told["detail"].startswith("sequences[2][17]: 2 features, the model has 3")


def test_an_output_that_is_not_finite_fails_the_call(http: httpx.Client) -> None:
    body = {"sequences": [[[1, 1, 1]], [NOT_FINITE]]}
    refused(http.post("/v1/models/log/predict", json=body), "non_finite_output")


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '{"sequence":[]}', '{"sequences":[[[1,2,3]]],"x":1}', "{}"])
def test_a_body_that_is_no_such_object_is_an_invalid_request(http: httpx.Client, body: str) -> None:
    refused(http.post("/v1/models/lstm/predict", content=body), "invalid_request")


def test_no_sequences_are_an_invalid_input(http: httpx.Client) -> None:
    told = refused(http.post("/v1/models/lstm/predict", json={"sequences": []}), "invalid_input")
    assert "sequences" in told["detail"]
