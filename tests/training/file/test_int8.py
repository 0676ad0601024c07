from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from service.models.files import read
from service.models.fitness import examine
from service.models.model import OnnxModel
from service.models.speed import Policy
from tests.training import tiny
from tests.training.file import integers
from training.errors import VerificationError
from training.file.int8 import in_int8
from training.file.verify import Exported, verify_alone
from training.net.networks import Recurrent

Floats = NDArray[np.float32]
REACH = 3.0
SHAPES = [(5, 1), (16, 2), (21, 3)]  # H, layers


def lstm(hidden: int = 5, layers: int = 1) -> Recurrent:
    network = tiny.network(hidden=hidden, layers=layers)
    assert isinstance(network, Recurrent)
    return network


def int8(network: Recurrent) -> onnx.ModelProto:
    return in_int8(tiny.model(network), REACH)


def some_state(run: Exported, rows: int) -> dict[str, Floats]:
    random = np.random.default_rng(1)
    return {name: random.uniform(-1, 1, (rows, *shape)).astype(np.float32) for name, shape in run.state_shapes.items()}


def assert_steps_are_those_of_integers(network: Recurrent, x: Floats, state: dict[str, Floats]) -> None:
    """Step x [B, T, F] through the file and compare each layer with NumPy, from the file's own values before it.

    A difference of 1e-7 in h may round to another integer; so NumPy goes on from where the file stands, not itself.
    """
    run, ones = Exported(int8(network).SerializeToString()), np.ones(len(x), np.int32)
    for step in range(x.shape[1]):
        rows = x[:, step : step + 1]
        with torch.no_grad():
            z = network.encoder(torch.from_numpy(rows))[:, 0].numpy()
        output, after = run(rows, ones, state)
        for layer in range(network.recurrent.num_layers):
            h, cell = state[f"h{layer}"], state[f"c{layer}"]
            h, cell = integers.step(network, layer, z, REACH if layer == 0 else 1.0, h=h, cell=cell)
            np.testing.assert_allclose(after[f"h{layer}"], h, rtol=0, atol=1e-6)
            np.testing.assert_allclose(after[f"c{layer}"], cell, rtol=1e-6, atol=1e-6)
            z = after[f"h{layer}"]
        with torch.no_grad():
            np.testing.assert_allclose(output[:, 0], network.head(torch.from_numpy(z)).numpy(), rtol=1e-6)
        state = after


@pytest.mark.parametrize(("hidden", "layers"), SHAPES)
def test_every_step_is_what_the_same_integers_give_in_numpy(hidden: int, layers: int) -> None:
    network = lstm(hidden, layers)
    x = tiny.rows(7 * 30).reshape(7, 30, 4)
    assert_steps_are_those_of_integers(network, x, some_state(Exported(int8(network).SerializeToString()), 7))


def test_the_largest_inputs_and_weights_do_not_overflow_pairs_of_products() -> None:
    network = lstm(hidden=32)
    with torch.no_grad():
        for weight in (network.recurrent.weight_ih_l0, network.recurrent.weight_hh_l0):
            weight.fill_(0.01)
    x = tiny.rows(8 * 3).reshape(8, 3, 4)
    x[..., tiny.LOAD] = 1e6
    state = {name: np.full((8, 32), 0.999999, np.float32) for name in ("h0", "c0")}
    assert_steps_are_those_of_integers(network, x, state)


@pytest.mark.parametrize(("hidden", "layers"), SHAPES)
def test_batched_is_alone_and_stepped_is_whole_bit_for_bit(hidden: int, layers: int) -> None:
    verify_alone(int8(lstm(hidden, layers)).SerializeToString(), tiny.rows(120))


@pytest.mark.parametrize(("hidden", "layers"), SHAPES)
def test_the_services_own_examination_finds_it_bit_equal(hidden: int, layers: int, tmp_path: Path) -> None:
    onnx.save(int8(lstm(hidden, layers)), tmp_path / "model.onnx")
    fitness = examine(OnnxModel(*read(tmp_path / "model.onnx")), Policy(batch=16, chunk=32, steps=512))
    assert (fitness.bit_equal, fitness.streamable, fitness.min_batch) == (True, True, 1)


def test_a_file_whose_rows_touch_is_found_out() -> None:
    model = int8(lstm())
    (last,) = (node for node in model.graph.node if "output" in node.output)
    last.output[0] = "raw"
    most = onnx.helper.make_node("ReduceMax", ["raw"], ["most"], axes=[0], keepdims=1)
    model.graph.node.extend([most, onnx.helper.make_node("Max", ["raw", "most"], ["output"])])
    with pytest.raises(VerificationError, match="batched ≠ alone"):
        verify_alone(model.SerializeToString(), tiny.rows(120))


def test_a_row_of_length_zero_keeps_its_state() -> None:
    run = Exported(int8(lstm(layers=2)).SerializeToString())
    state = some_state(run, 3)
    _, after = run(tiny.rows(12).reshape(3, 4, 4), np.array([4, 0, 2], np.int32), state)
    for name, before in state.items():
        assert np.array_equal(after[name][1], before[1])
        assert not np.array_equal(after[name][0], before[0])


def test_inputs_and_outputs_are_those_of_the_float32_file() -> None:
    before = tiny.model(lstm(layers=2))
    after = in_int8(before, REACH)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert after.opset_import[0].version == 17
    assert {node.op_type for node in after.graph.node} >= {"Scan", "MatMulInteger", "QuantizeLinear"}
    assert not {node.op_type for node in after.graph.node} & {"LSTM", "DynamicQuantizeLinear"}


def test_it_is_near_the_float32_file() -> None:
    model = tiny.model(lstm(hidden=16, layers=2))
    x, lengths = tiny.rows(200)[None], np.array([200], np.int32)
    outputs = []
    for one in (model, in_int8(model, REACH)):
        run = Exported(one.SerializeToString())
        zero = {name: np.zeros((1, *shape), np.float32) for name, shape in run.state_shapes.items()}
        outputs.append(run(x, lengths, zero)[0])
    difference = np.abs(outputs[0] - outputs[1]) / 20.0  # the target's deviation
    assert 0 < difference.max() < 0.02


def test_a_layer_without_weights_is_nothing_to_divide_by() -> None:
    network = lstm()
    with torch.no_grad():
        network.recurrent.weight_hh_l0.fill_(0.0)
    assert_steps_are_those_of_integers(
        network, tiny.rows(10)[None], {n: np.zeros((1, 5), np.float32) for n in ("h0", "c0")}
    )
