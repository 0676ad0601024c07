"""ONNX's own test cases of LSTM, GRU and RNN nodes: as they are, and with weights and free sizes as files have them."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from service.errors import ModelUnusable
from service.models.adapter import AdaptedModel
from tests.service.models.foreign import load, run

pytestmark = pytest.mark.timeout(600)  # all cases of ONNX are collected first
NAMES = [
    f"test_{kind}"
    for kind in (
        *("gru_defaults", "gru_with_initial_bias", "gru_seq_length", "gru_reverse", "gru_bidirectional"),
        *("lstm_defaults", "lstm_with_initial_bias", "lstm_with_peepholes", "lstm_reverse", "lstm_bidirectional"),
        *("simple_rnn_defaults", "simple_rnn_with_initial_bias", "rnn_seq_length"),
        *("simple_rnn_reverse", "simple_rnn_bidirectional"),
    )
]
BATCHWISE = ["test_gru_batchwise", "test_lstm_batchwise", "test_simple_rnn_batchwise"]


@cache
def cases() -> dict[str, Any]:
    import warnings

    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other operators' references
        return {case.name: case for case in collect_testcases(None)}


def as_a_file(case: Any, path: Path) -> tuple[Path, np.ndarray[Any, Any]]:
    """The case with its weights as initializers and free sizes → the file, and its input [time, batch, F]."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    (given, _), *_ = case.data_sets
    values = dict(zip([one.name for one in model.graph.input], given, strict=True))
    first, *others = model.graph.input
    names = list(first.type.tensor_type.shape.dim)[:2]
    names[0].dim_param, names[1].dim_param = "time", "batch"
    weights = [one.name for one in others if one.name in "WRBP"]
    model.graph.initializer.extend(numpy_helper.from_array(values[name], name) for name in weights)
    del model.graph.input[1:]
    (node,) = model.graph.node
    node.input[:] = [
        name if name in ("X", *weights) else "" for name in node.input
    ]  # zeros and whole lengths: defaults
    for one in model.graph.output:
        one.type.tensor_type.ClearField("shape")
    path.write_bytes(model.SerializeToString())
    return path, values["X"]


@pytest.mark.parametrize("name", NAMES)
def test_a_case_as_a_file_has_it_is_served_with_its_numbers(name: str, tmp_path: Path) -> None:
    case = cases()[name]
    path, inputs = as_a_file(case, tmp_path / "model.onnx")
    model, fitness = load(path)
    assert isinstance(model, AdaptedModel)
    both_ways = "reverse" in name or "bidirectional" in name
    assert fitness.streamable is not both_ways
    if both_ways:
        assert fitness.reason is not None
        assert "it reads the sequence whole" in fitness.reason
    outputs, _ = run(model, np.moveaxis(inputs, 0, 1))
    (_, expected), *_ = case.data_sets
    told = [one.name for one in case.model.graph.output]
    first = 0
    for port in model.signature.outputs:
        mine = outputs[..., first : first + port.width]  # [B, T, K]
        theirs = expected[told.index(port.name)]  # [dirs, B, H], or Y [T, dirs, B, H]
        batch = theirs.ndim - 2
        turned = np.moveaxis(theirs, batch, 0)  # [B, …]
        if port.name == "Y":
            np.testing.assert_allclose(mine, turned.reshape(*mine.shape), atol=1e-5)
        else:
            np.testing.assert_allclose(mine[:, -1], turned.reshape(len(mine), -1), atol=1e-5)
        first += port.width


@pytest.mark.parametrize("name", [*NAMES, *BATCHWISE])
def test_a_case_as_it_is_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(cases()[name].model.SerializeToString())
    with pytest.raises(ModelUnusable, match="layout == 1" if name in BATCHWISE else "batch and time are fixed"):
        load(tmp_path / "model.onnx")


def test_no_case_is_left_out() -> None:
    assert {name for name in cases() if any(kind in name for kind in ("lstm", "gru", "rnn"))} == {*NAMES, *BATCHWISE}
