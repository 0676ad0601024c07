"""Files that fix how many rows a call takes: those rows are rows of strangers, unless running the file refutes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from service.adapt import adapt
from service.errors import ModelUnusable
from service.models.adapter import AdaptedModel
from service.models.model import OnnxModel
from tests.exports import BatchFirst, F, H, Network, Stated
from tests.service.models.foreign import fresh, load, run, write
from tests.service.models.test_rewrite import expected, export

# y = s + x, and the next s: one step of two rows
STEP = """
g (float[2, 1] x, float[2, 1] s) => (float[2, 1] y, float[2, 1] s_out)
{ y = Add(x, s)
  s_out = Identity(y) }
"""
STEREO = """
g (float[2, time, 3] x) => (float[2, time, 3] y)
<int64[1] first = {0}>
{ both = ReduceMean<keepdims = 1>(x, first)
  y = Sub(x, both) }
"""


@pytest.fixture
def strangers() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(5)
    return [rng.normal(0, 1, (length, F)).astype(np.float32) for length in (7, 2, 7, 7, 7, 7, 3)]


def together(model: OnnxModel, sequences: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """Run sequences of different lengths in one call."""
    lengths = np.array([len(one) for one in sequences], np.int32)
    inputs = np.zeros((len(sequences), lengths.max(), F), np.float32)
    for row, one in enumerate(sequences):
        inputs[row, : len(one)] = one
    outputs, _ = model.run(inputs, lengths, fresh(model, len(sequences)))
    return [row[:length] for row, length in zip(outputs, lengths, strict=True)]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("stated", [False, True])
def test_each_row_of_a_fixed_batch_is_a_session(
    kind: str, stated: bool, tmp_path: Path, strangers: list[np.ndarray[Any, Any]]
) -> None:
    network: nn.Module = Stated(kind) if stated else Network(kind)
    states = [torch.zeros(1, 4, H) for _ in ("hc" if kind == "LSTM" else "h")] if stated else []
    model, fitness = load(export(network, tmp_path / "model.onnx", torch.randn(4, 5, F), *states, x={1: "time"}))
    assert isinstance(model, AdaptedModel)
    assert fitness.streamable
    assert (model.features, model.signature.shown()["calls"]) == (F, "4 rows × steps")
    plain = Network(kind)
    plain.load_state_dict(network.state_dict())
    for sequence, answer in zip(strangers, together(model, strangers), strict=True):
        np.testing.assert_allclose(answer, expected(plain, sequence[None])[0], atol=1e-5)
        first, state = run(model, sequence[None, :1])
        rest, _ = run(model, sequence[None, 1:], state)
        np.testing.assert_array_equal(np.concatenate([first[0], rest[0]]), answer)


def test_states_of_as_many_layers_as_rows_are_read_in_both_orders(
    tmp_path: Path, strangers: list[np.ndarray[Any, Any]]
) -> None:
    for order in (Stated, BatchFirst):
        network, plain = order("LSTM", 2), Network("LSTM", 2)
        given = torch.randn(2, 5, F), torch.zeros(2, 2, H), torch.zeros(2, 2, H)
        model, _ = load(export(network, tmp_path / "model.onnx", *given, x={1: "time"}))
        plain.load_state_dict(network.state_dict())
        for sequence, answer in zip(strangers, together(model, strangers), strict=True):
            np.testing.assert_allclose(answer, expected(plain, sequence[None])[0], atol=1e-5)


def test_a_batch_that_is_fixed_where_time_comes_first_is_found(
    tmp_path: Path, strangers: list[np.ndarray[Any, Any]]
) -> None:
    network = Network("LSTM", batch_first=False)
    model, _ = load(export(network, tmp_path / "model.onnx", torch.randn(5, 4, F), x={0: "time"}))
    for sequence, answer in zip(strangers, together(model, strangers), strict=True):
        np.testing.assert_allclose(answer, expected(network, sequence[:, None])[:, 0], atol=1e-5)


def test_one_answer_a_sequence_is_that_of_its_row(tmp_path: Path, strangers: list[np.ndarray[Any, Any]]) -> None:
    network = Network("GRU", last=True)
    model, _ = load(export(network, tmp_path / "model.onnx", torch.randn(4, 5, F), x={1: "time"}))
    for sequence, answer in zip(strangers, together(model, strangers), strict=True):
        np.testing.assert_allclose(answer[-1:], expected(network, sequence[None]), atol=1e-5)


def test_a_step_of_several_rows_is_one_of_each(tmp_path: Path) -> None:
    model, _ = load(write(tmp_path / "model.onnx", STEP))
    assert (model.features, dict(model.state_shapes)) == (1, {"s": (1,)})
    outputs, _ = run(model, [[[1], [1]], [[2], [2]], [[5], [5]]])
    assert outputs[..., 0].tolist() == [[1, 2], [2, 4], [5, 10]]


def test_rows_that_change_each_other_are_one_row(tmp_path: Path) -> None:
    model, _ = load(write(tmp_path / "model.onnx", STEREO))
    assert model.features == 6
    assert run(model, [[[1, 2, 3, 5, 6, 7]]])[0].tolist() == [[[-2, -2, -2, 2, 2, 2]]]


@pytest.mark.parametrize(("kind", "features"), [("int64", 1), ("float", 80)])
def test_tokens_have_rows_where_numbers_have_features(kind: str, features: int, tmp_path: Path) -> None:
    text = f"g ({kind}[80, time] x) => (float[80, time] y) {{ y = Cast<to = 1>(x) }}"
    model, _ = load(write(tmp_path / "model.onnx", text))
    assert model.features == features


def test_a_fixed_batch_is_no_file_of_the_contract(tmp_path: Path) -> None:
    path = export(Network(), tmp_path / "model.onnx", x={1: "time"})
    with pytest.raises(ModelUnusable, match="one call takes 2 rows: the contract wants a free batch"):
        adapt(path, tmp_path / "new.onnx")
