"""Files without state inputs are made stateful, proved, and never written; what cannot be is served whole."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import quantize_dynamic
from torch import nn

from service.errors import ModelUnusable
from service.models import rewrite
from service.models.adapter import AdaptedModel
from service.models.files import read
from tests import graphs
from tests.exports import BT, F, H, Network
from tests.service.models.foreign import load, run, write
from tests.service.models.hostile import looping


class Learnt(Network):
    """It begins with a state that was learnt, not with zero."""

    def __init__(self) -> None:
        super().__init__("GRU")
        self.begin = nn.Parameter(torch.randn(1, 1, H))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(x, self.begin.expand(1, x.shape[0], H).contiguous())
        answer: torch.Tensor = self.head(y)
        return answer


class Decoder(Network):
    """A second layer begins with the last state of the first one: it needs the sequence whole."""

    def __init__(self) -> None:
        super().__init__("GRU")
        self.second = nn.GRU(F, H, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, last = self.rnn(x)
        y, _ = self.second(x, last)
        answer: torch.Tensor = self.head(y)
        return answer


class HalfStated(Network):
    """The state of its second layer is neither input nor output; of an LSTM, the second state of its first one."""

    def __init__(self, cell: str) -> None:
        super().__init__(cell)
        self.second = nn.GRU(H, H, batch_first=True) if cell == "GRU" else None

    def forward(self, x: torch.Tensor, h0: torch.Tensor) -> Any:  # type: ignore[override]
        if self.second is None:
            y, (last, _) = self.rnn(x, (h0, torch.zeros_like(h0)))
            return self.head(y), last
        y, last = self.rnn(x, h0)
        return self.head(self.second(y)[0]), last


class Averaged(Network):
    """It subtracts the mean of the whole sequence: the graph can be rewritten, and the proof refutes it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(x)
        answer: torch.Tensor = self.head(y - y.mean(1, keepdim=True))
        return answer


def export(network: nn.Module, path: Path, *given: torch.Tensor, names: Sequence[str] = (), **axes: Any) -> Path:
    """Export a network of x, and of h0 and c0 where they are given; or by other names of inputs and outputs."""
    given = given or (torch.randn(2, 5, F),)
    named = list(names) or ["x", "h0", "c0"][: len(given)] + ["y", "hn", "cn"][: len(given)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            given,
            path,
            dynamo=False,
            input_names=named[: len(given)],
            output_names=named[len(given) :],
            dynamic_axes=axes or {"x": BT, "y": BT},
        )
    return path


def expected(network: nn.Module, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        answer: np.ndarray[Any, Any] = network(torch.from_numpy(inputs)).numpy()
    return answer


@pytest.fixture
def inputs() -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).normal(0, 1, (3, 9, F)).astype(np.float32)


def test_a_learnt_first_state_is_found_and_kept(tmp_path: Path, inputs: np.ndarray[Any, Any]) -> None:
    network = Learnt()
    model, fitness = load(export(network, tmp_path / "model.onnx"))
    assert fitness.streamable and fitness.bit_equal
    outputs, _ = run(model, inputs)
    np.testing.assert_allclose(outputs, expected(network, inputs), atol=1e-5)


@pytest.mark.parametrize(
    ("network", "reason"), [(Decoder(), "is computed of its inputs"), (Averaged(), "stepped differs from the same one")]
)
def test_what_needs_its_sequence_whole_is_served_whole_and_says_why(
    tmp_path: Path, inputs: np.ndarray[Any, Any], network: nn.Module, reason: str
) -> None:
    model, fitness = load(export(network, tmp_path / "model.onnx"))
    assert not fitness.streamable
    assert fitness.reason is not None
    assert reason in fitness.reason
    outputs, _ = run(model, inputs)
    np.testing.assert_allclose(outputs, expected(network, inputs), atol=1e-5)


class Window(Network):
    """It wants a window of five steps, and begins anew with each."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(x)
        answer: torch.Tensor = self.head(y.reshape(-1, 5, H)).flatten(1)
        return answer


def test_a_window_that_cannot_be_cut_into_steps_begins_anew_with_each(tmp_path: Path) -> None:
    network = Window()
    model, _ = load(export(network, tmp_path / "model.onnx", x={0: "batch"}, y={0: "batch"}))
    windows = np.random.default_rng(4).normal(0, 1, (3, 5, F)).astype(np.float32)
    outputs, _ = run(model, windows.reshape(1, 3, 5 * F))
    np.testing.assert_allclose(outputs[0], expected(network, windows), atol=1e-5)


def test_a_window_of_tokens_is_stepped_by_tokens(tmp_path: Path) -> None:
    network, tokens = nn.Sequential(nn.Embedding(2, F), Network("GRU")), torch.tensor([[1, 0, 1, 1, 0]])
    model, fitness = load(export(network, tmp_path / "model.onnx", tokens, x={0: "batch"}))
    assert (model.features, fitness.streamable) == (1, True)
    outputs, _ = run(model, tokens[..., None].numpy())
    np.testing.assert_allclose(outputs, expected(network, tokens.numpy()), atol=1e-5)


def in_a_function(path: Path) -> Path:
    """Move all nodes of a graph of x and y into a local function."""
    model = onnx.load(path)
    nodes, names = list(model.graph.node), [one.name for one in model.graph.initializer]
    body = onnx.helper.make_function("own", "Net", ["x", *names], ["y"], nodes, list(model.opset_import))
    del model.graph.node[:]
    model.graph.node.append(onnx.helper.make_node("Net", ["x", *names], ["y"], domain="own"))
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    model.functions.append(body)
    onnx.save(model, path)
    return path


def test_nodes_inside_of_local_functions_are_made_stateful(tmp_path: Path, inputs: np.ndarray[Any, Any]) -> None:
    network = Network("GRU")
    served, fitness = load(in_a_function(export(network, tmp_path / "model.onnx")))
    assert fitness.streamable
    np.testing.assert_allclose(run(served, inputs)[0], expected(network, inputs), atol=1e-5)


def test_an_lstm_that_is_quantised_as_it_runs_has_states_of_float32(tmp_path: Path) -> None:
    quantize_dynamic(export(Network(), tmp_path / "plain.onnx"), tmp_path / "model.onnx")
    model, fitness = load(tmp_path / "model.onnx")
    assert fitness.streamable
    assert {one.port.kind for one in model.tensors.states} == {"float32"}


@pytest.mark.parametrize("names", [("x", "h0", "y", "hn"), ("input", "state.h", "output", "next_state.h")])
@pytest.mark.parametrize(("cell", "named"), [("GRU", "GRU '/second/GRU'"), ("LSTM", "LSTM '/rnn/LSTM'")])
def test_a_layer_without_a_state_beside_one_that_has_it_is_named(
    tmp_path: Path, names: tuple[str, ...], cell: str, named: str
) -> None:
    x, h0, y, hn = names
    axes = {x: BT, y: BT, h0: {1: "batch"}, hn: {1: "batch"}}
    file = export(
        HalfStated(cell), tmp_path / "model.onnx", torch.randn(2, 5, F), torch.zeros(1, 2, H), names=names, **axes
    )
    with pytest.raises(ModelUnusable, match=f"; {named} takes no state, or not all: export"):
        load(file)


def test_a_bidirectional_file_of_the_contract_says_why_it_does_not_stream(tmp_path: Path) -> None:
    _, fitness = load(graphs.write(tmp_path / "model.onnx", "bidirectional"))
    assert fitness.reason == "LSTM '' is bidirectional: it reads the sequence whole"


def test_a_bidirectional_network_whose_states_are_inputs_is_served_whole(
    tmp_path: Path, inputs: np.ndarray[Any, Any]
) -> None:
    network, state = nn.LSTM(F, H, batch_first=True, bidirectional=True), torch.zeros(2, 2, H)
    given = (torch.randn(2, 5, F), (state, state))
    names, told = ["x", "h0", "c0"], ["y", "hn", "cn"]
    axes = {"x": BT, "y": BT} | {name: {1: "batch"} for name in [*names[1:], *told[1:]]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = tmp_path / "model.onnx"
        torch.onnx.export(network, given, file, dynamo=False, input_names=names, output_names=told, dynamic_axes=axes)
    model, fitness = load(file)
    assert fitness.reason == "LSTM '/LSTM' is bidirectional: it reads the sequence whole"
    outputs, _ = run(model, inputs)
    with torch.no_grad():
        np.testing.assert_allclose(outputs, network(torch.from_numpy(inputs))[0].numpy(), atol=1e-5)


def test_axes_without_names_are_found_by_running(tmp_path: Path, inputs: np.ndarray[Any, Any]) -> None:
    network = Network("LSTM", batch_first=False)
    model, fitness = load(export(network, tmp_path / "model.onnx", x={0: "?a", 1: "?b"}, y={0: "?c", 1: "?d"}))
    assert isinstance(model, AdaptedModel)
    assert (model.signature.inputs[0].batch, model.signature.inputs[0].time) == (1, 0)
    assert fitness.streamable
    outputs, _ = run(model, inputs)
    turned = np.moveaxis(expected(network, np.ascontiguousarray(np.moveaxis(inputs, 0, 1))), 1, 0)
    np.testing.assert_allclose(outputs, turned, atol=1e-5)


def test_lone_rows_of_a_plain_rnn_are_computed_as_rows_among_others(tmp_path: Path) -> None:
    _, fitness = load(export(Network("RNN", 2), tmp_path / "model.onnx"))
    assert fitness.streamable and fitness.bit_equal


def test_the_file_is_not_written(tmp_path: Path) -> None:
    path = export(Network(), tmp_path / "model.onnx")
    before = path.read_bytes()
    load(path)
    assert path.read_bytes() == before


SIZED = {
    "a range up to a value": """
        top = ReduceMax<keepdims = 0>(x)
        steps = Range(zero, top, one_f)
        sum = ReduceSum<keepdims = 0>(steps)
        nothing = Mul(sum, zero)
        y = Add(x, nothing)""",
    "as many numbers as a value says": """
        top = ReduceMax<keepdims = 1>(x)
        flat = Reshape(top, one)
        count = Cast<to = 7>(flat)
        many = Expand(zero, count)
        sum = ReduceSum<keepdims = 0>(many)
        y = Add(x, sum)""",
}
STEADY = """
    shape = Shape(x)
    zeros = Expand(zero, shape)
    y = Add(x, zeros)"""
HEAD = """g (float[batch, time, 1] x) => (float[batch, time, 1] y)
<float zero = {0}, float one_f = {1}, int64[1] one = {1}> {"""


@pytest.mark.parametrize("kind", SIZED)
def test_a_graph_whose_time_follows_from_values_is_known(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "model.onnx", HEAD + SIZED[kind] + "}")
    assert load(path)[1].in_thread


def test_a_graph_whose_time_follows_from_sizes_is_not_taken_for_one(tmp_path: Path) -> None:
    assert not load(write(tmp_path / "model.onnx", HEAD + STEADY + "}"))[1].in_thread
    assert not rewrite.by_values(read(graphs.write(tmp_path / "lstm.onnx"))[0])


def test_a_loop_of_constant_length_is_not_decided_by_values(tmp_path: Path) -> None:
    assert not rewrite.by_values(looping(tmp_path / "model.onnx").read_bytes())


COUNTS = """
g (float[batch, time, 1] x) => (float[batch, time, 1] y)
<bool go = {1}, float zero = {0}> {
  top = ReduceMax<keepdims = 0>(x)
  trips = Cast<to = 7>(top)
  sum = Loop (trips, go, zero) <body = body (int64 i, bool on, float a) => (bool still, float b)
    <float step = {1}> { still = Identity(on) b = Add(a, step) }>
  nothing = Mul(sum, zero)
  y = Add(x, nothing)
}
"""  # takes as many turns as the largest input says


def test_a_function_hides_no_loop_that_a_value_decides(tmp_path: Path) -> None:
    assert load(in_a_function(write(tmp_path / "model.onnx", COUNTS)))[1].in_thread


def test_a_run_whose_time_a_value_decides_ends_when_it_takes_too_long(tmp_path: Path) -> None:
    model, fitness = load(write(tmp_path / "model.onnx", COUNTS))
    assert fitness.in_thread
    model.bound(0.5)
    with pytest.raises(TimeoutError, match=r"more than 0\.5 s"):
        run(model, [[[2.0**62]]])
    assert run(model, [[[3]]])[0].item() == 3
