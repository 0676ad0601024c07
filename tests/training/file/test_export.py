import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.training import tiny
from training.data.dataset import Scaling
from training.data.feature import Feature, Lag, Missing
from training.errors import VerificationError
from training.file.contract import Description, read_metadata
from training.file.export import export, write
from training.file.verify import Exported
from training.net.encoder import Encoder
from training.net.heads import Band, Classes, Labels, Values
from training.net.networks import Recurrent
from training.tasks import Output

SAMPLE = tiny.rows(120)


def node(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op)


def producer(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if output in node.output)


def insert(model: onnx.ModelProto, after: str, *nodes: onnx.NodeProto) -> None:
    """Rename the output `after` to `raw` and let the nodes make `after` from it."""
    producer(model, after).output[0] = "raw"
    model.graph.node.extend(nodes)


def swap_gates(model: onnx.ModelProto) -> None:
    name = node(model, "LSTM").input[1]
    weight = next(weight for weight in model.graph.initializer if weight.name == name)
    i, o, f, c = np.split(numpy_helper.to_array(weight), 4, axis=1)
    weight.CopyFrom(numpy_helper.from_array(np.concatenate([i, f, o, c], axis=1), name))


def swap_initial_states(model: onnx.ModelProto) -> None:
    inputs = node(model, "LSTM").input
    inputs[5], inputs[6] = inputs[6], inputs[5]


def swap_next_states(model: onnx.ModelProto) -> None:
    h, c = producer(model, "next_state.h0"), producer(model, "next_state.c0")
    h.output[0], c.output[0] = "next_state.c0", "next_state.h0"


def forget_lengths(model: onnx.ModelProto) -> None:
    node(model, "LSTM").input[4] = ""


def rename_a_state(model: onnx.ModelProto) -> None:
    next(value for value in model.graph.input if value.name == "state.h0").name = "state.hidden"
    for entry in model.graph.node:
        if "state.h0" in entry.input:
            entry.input[0] = "state.hidden"


def let_rows_touch(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e-7), "little"))
    insert(
        model,
        "output",
        helper.make_node("ReduceMax", ["raw"], ["most"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["most", "little"], ["touch"]),
        helper.make_node("Add", ["raw", "touch"], ["output"]),
    )


def let_the_state_drift(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 + 1e-6), "drift"))
    insert(model, "next_state.h0", helper.make_node("Mul", ["raw", "drift"], ["next_state.h0"]))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (swap_gates, "torch ≠ ONNX Runtime: output"),
        (swap_initial_states, "torch ≠ ONNX Runtime: output"),
        (swap_next_states, r"torch ≠ ONNX Runtime: next_state\.h0"),
        (forget_lengths, r"torch ≠ ONNX Runtime: next_state\.h0"),
        (rename_a_state, "states are"),
        (let_rows_touch, "batched ≠ alone"),
        (let_the_state_drift, "stepwise ≠ whole"),
    ],
)
def test_a_damaged_graph_is_refused_and_nothing_is_written(damage, complaint: str, tmp_path: Path) -> None:
    network = tiny.network()
    model = tiny.model(network)
    damage(model)
    with pytest.raises(VerificationError, match=complaint):
        write(model, network, SAMPLE, tmp_path / "tiny" / "1" / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_sound_graph_is_written_alone(tmp_path: Path) -> None:
    path = tmp_path / "tiny" / "1" / "model.onnx"
    network = tiny.network(layers=2)
    export(network, tiny.description(network), SAMPLE, path)
    assert list(path.parent.iterdir()) == [path]


def test_the_file_alone_says_what_a_caller_must_know(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    network = tiny.network()
    export(network, tiny.description(network, test_mse_z=0.5), SAMPLE, path)
    metadata = read_metadata(path)
    versions = metadata.pop("versions")
    assert metadata == {
        "task": "regression",
        "recipe": "tiny",
        "cell": "lstm",
        "streamable": True,
        "features": [
            {"name": "load", "unit": "kW"},
            {"name": "hour", "unit": "code"},
            {"name": "constant", "unit": "K"},
            {"name": "kind", "unit": "code"},
        ],
        "outputs": [{"name": "load", "unit": "kW"}],
        "categories": {
            "hour": {"codes": list(range(24))},
            "kind": {"codes": [1, 2, 5], "labels": ["one", "two", "five"]},
        },
        "data_sha256": "0" * 64,
        "metrics": {"test_mse_z": 0.5},
        "memory_horizon": None,
    }
    assert set(versions) == {"python", "torch", "lightning", "onnx", "onnxruntime", "polars", "numpy"}


def test_a_file_without_metadata_has_none(tmp_path: Path) -> None:
    model = tiny.model(tiny.network())
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "model.onnx")
    assert read_metadata(tmp_path / "model.onnx") == {}


def test_metadata_is_plain_json() -> None:
    (entry,) = tiny.model(tiny.network()).metadata_props
    assert entry.key == "carousel"
    assert json.loads(entry.value)["cell"] == "lstm"


def test_the_graph_has_the_inputs_and_outputs_of_the_contract() -> None:
    graph = tiny.model(tiny.network(hidden=6, layers=2)).graph

    def shapes(values) -> dict[str, tuple[int | str, ...]]:
        return {v.name: tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}

    names = ("h0", "c0", "h1", "c1")
    inputs = {"input": ("batch", "time", 4), "lengths": ("batch",)}
    assert shapes(graph.input) == inputs | {f"state.{name}": ("batch", 6) for name in names}
    outputs = {"output": ("batch", "time", 1)}
    assert shapes(graph.output) == outputs | {f"next_state.{name}": ("batch", 6) for name in names}


@pytest.mark.parametrize("code", [25, 99, 2.5, -1, 3e38])
def test_an_unknown_code_fails_no_batch_and_poisons_nobody(code: float) -> None:
    run = Exported(tiny.model(tiny.network()).SerializeToString())
    zero = {name: np.zeros((3, 5), np.float32) for name in ("h0", "c0")}
    x = tiny.rows(12).reshape(3, 4, 4)
    lengths = np.full(3, 4, np.int32)
    untouched, _ = run(x, lengths, zero)
    x[1, 2, [tiny.HOUR, tiny.KIND]] = code
    outputs, state = run(x, lengths, zero)
    assert np.array_equal(outputs[[0, 2]].view(np.uint32), untouched[[0, 2]].view(np.uint32))
    assert np.isfinite(outputs).all()
    assert all(np.isfinite(value).all() for value in state.values())


HEADS = {
    "values": lambda width: Values(width, Scaling(np.array([50.0, 10.0]), np.array([20.0, 3.0]))),
    "band": lambda width: Band(width, Scaling(np.array([50.0, 10.0]), np.array([20.0, 3.0])), (0.1, 0.5, 0.9)),
    "classes": lambda width: Classes(width, np.ones(5)),
    "labels": lambda width: Labels(width, np.linspace(0.01, 0.9, 11)),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("cell", "layers", "states"),
    [("feedforward", 2, []), ("rnn", 1, ["h0"]), ("gru", 2, ["h0", "h1"]), ("lstm", 1, ["h0", "c0"]), ("both", 2, [])],
)
def test_every_cell_and_head_passes_and_has_the_states_of_the_contract(
    cell: str, layers: int, states: list[str], head: str, tmp_path: Path
) -> None:
    both = cell == "both"
    network = tiny.network("lstm" if both else cell, layers=layers, bidirectional=both, head=HEADS[head])
    export(network, tiny.description(network), SAMPLE, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert [value.name for value in model.graph.input] == ["input", "lengths", *(f"state.{name}" for name in states)]
    ops = {node.op_type for node in model.graph.node}
    assert not ops & {"Einsum", "Softplus", "Log", "Exp", "Sin", "Cos", "Scan", "Loop"}
    assert json.loads(model.metadata_props[0].value)["streamable"] is not both


def test_a_network_of_codes_alone_has_no_numbers_to_scale(tmp_path: Path) -> None:
    feature = Feature("symbol", codes=(0, 1, 2))
    encoder = Encoder([feature], Scaling(np.zeros(1), np.ones(1)), table_width=2, limit=3.0)
    network = Recurrent(encoder, Classes(4, np.ones(3)), cell="gru", hidden=4)
    sample = np.arange(40, dtype=np.float32)[:, None] % 3  # shorter than what is checked: it is repeated
    outputs = tuple(Output(name) for name in "abc")
    description = Description("next-symbol", "codes", "gru", (feature,), outputs, "0" * 64, {})
    export(network, description, sample, tmp_path / "model.onnx")


def test_metadata_tell_what_a_caller_makes_himself() -> None:
    features = (
        Feature("a", "m", missing=Missing("mask", 1.5, "a_missing"), initial=1.5),
        Feature("a_missing", mask_of="a", scale=False),
        Feature("a_24", lag=Lag("a", 24)),
        Feature("hour", "code", tuple(range(24)), calendar="hour"),
    )
    told = Description("regression", "r", "lstm", features, (Output("a_q0.1", "m", "a", 1, 0.1),), "", {}).metadata()
    assert told["features"] == [
        {"name": "a", "unit": "m", "missing": {"rule": "mask", "value": 1.5, "column": "a_missing"}, "initial": 1.5},
        {"name": "a_missing", "mask_of": "a"},
        {"name": "a_24", "lag": {"of": "a", "steps": 24}},
        {"name": "hour", "unit": "code", "calendar": "hour"},
    ]
    assert told["outputs"] == [{"name": "a_q0.1", "unit": "m", "target": "a", "horizon": 1, "quantile": 0.1}]
