"""A file as the service reads it: by names, never by order, and refused with the reason."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.errors import ModelUnusable
from service.models.description import Column
from service.models.files import read
from service.models.model import OnnxModel
from tests.graphs import write


def changed(path: Path, **inputs: onnx.ValueInfoProto | None) -> Path:
    """Give the file of a feedforward model other inputs: `None` takes one away. The graph need not run."""
    model = onnx.load(path)
    kept = {node.name: node for node in model.graph.input} | {
        name.replace("_", ".", 1): v for name, v in inputs.items()
    }
    del model.graph.input[:]
    model.graph.input.extend(node for node in kept.values() if node is not None)
    onnx.save(model, path)
    return path


def tensor(name: str, shape: list[Any], type: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, type, shape)


def described(path: Path, metadata: dict[str, Any] | None) -> OnnxModel:
    return OnnxModel(*read(write(path / "model.onnx", metadata=metadata)))


def test_widths_and_states_are_read_off_the_file(tmp_path: Path) -> None:
    model = OnnxModel(*read(write(tmp_path / "model.onnx", "lstm", features=5, hidden=4, outputs=3)))
    assert (model.features, model.outputs, model.state_shapes) == (5, 3, {"h": (4,), "c": (4,)})
    assert OnnxModel(*read(write(tmp_path / "none.onnx", "feedforward"))).state_shapes == {}


def test_states_go_in_and_come_out_by_name_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", "lstm")
    model = OnnxModel(*read(path))
    reordered = onnx.load(path)
    for nodes in (reordered.graph.input, reordered.graph.output):
        reverse = list(nodes)[::-1]
        del nodes[:]
        nodes.extend(reverse)
    onnx.save(reordered, tmp_path / "reordered.onnx")
    inputs, lengths = np.ones((2, 3, 3), np.float32), np.array([3, 1], np.int32)
    state = {"c": np.full((2, 8), 0.5, np.float32), "h": np.zeros((2, 8), np.float32)}
    outputs, after = model.run(inputs, lengths, state)
    again, other = OnnxModel(*read(tmp_path / "reordered.onnx")).run(inputs, lengths, state)
    assert np.array_equal(outputs, again)
    assert {name: array.tolist() for name, array in after.items()} == {
        name: array.tolist() for name, array in other.items()
    }
    assert not np.array_equal(after["h"], after["c"])


def test_a_file_without_metadata_has_numbered_columns_and_its_digest(tmp_path: Path) -> None:
    model = described(tmp_path, None)
    told = model.description
    assert told.features == (Column("x0"), Column("x1"), Column("x2"))
    assert told.outputs == (Column("y0"), Column("y1"))
    assert (told.cell, told.memory_horizon, told.metrics) == (None, None, {})
    assert told.digest == hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()


def test_metadata_names_the_columns_and_every_key_is_optional(tmp_path: Path) -> None:
    features = [{"name": "hour"}, {"name": "temp", "unit": "K"}, {"name": "rain", "unit": None}]
    told = described(tmp_path, {"features": features, "cell": "lstm", "metrics": {"mae": 1.5}, "more": 1}).description
    assert told.features == (Column("hour"), Column("temp", "K"), Column("rain"))
    assert told.outputs == (Column("y0"), Column("y1"))
    assert (told.cell, told.metrics) == ("lstm", {"mae": 1.5})


@pytest.mark.parametrize(
    "metadata",
    [
        {"features": [{"name": "one"}]},
        {"features": [{"name": "same"}] * 3},
        {"features": [{"unit": "K"}] * 3},
        {"features": ["a", "b", "c"]},
        {"features": [{"name": 1}, {"name": 2}, {"name": 3}]},
        {"outputs": {"y": 1}},
        {"metrics": [1, 2]},
        {"memory_horizon": "long"},
        {"memory_horizon": 2**64},
        {"metrics": {"a": [[]] * 3, "more": "\ud800"}},
        {"metrics": {"a": "b" * 2**20}},
        {"features": [{"name": n} for n in "abc"], "categories": {"a": 1}},
        [],
    ],
    ids=str,
)
def test_metadata_that_does_not_fit_the_file_makes_it_unusable(tmp_path: Path, metadata: Any) -> None:
    with pytest.raises(ModelUnusable, match="metadata"):
        described(tmp_path, metadata)


@pytest.mark.parametrize(
    "metadata", ["[" * 100_000, '{"metrics": {"a": ' + '{"a": ' * 500 + "1" + "}" * 502, '{"a": ' + "9" * 5000]
)
def test_metadata_that_no_answer_can_show_make_it_unusable(tmp_path: Path, metadata: str) -> None:
    model = onnx.load(write(tmp_path / "model.onnx"))
    helper.set_model_props(model, {"carousel": metadata})
    with pytest.raises(ModelUnusable, match="metadata"):
        OnnxModel(model.SerializeToString(), "")


def test_metrics_that_are_not_numbers_are_null(tmp_path: Path) -> None:
    assert described(tmp_path, {"metrics": {"a": float("nan"), "b": float("inf")}}).description.metrics == {
        "a": None,
        "b": None,
    }


def test_what_is_no_model_is_unusable() -> None:
    for content in (b"", b"not a graph"):
        with pytest.raises(ModelUnusable, match="ONNX Runtime does not load the file"):
            OnnxModel(content, "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask": tensor("mask", ["batch"])}, "mask"),
        ({"input": tensor("input", ["batch", 3])}, "not float32"),
        ({"input": tensor("input", ["batch", "time", "width"])}, "not float32"),
        ({"state_h": tensor("state.h", ["batch", 4])}, "partner next_state.h"),
    ],
    ids=["unknown input", "no time", "free width", "half a state"],
)
def test_a_file_that_does_not_follow_the_contract_is_unusable_with_the_reason(
    tmp_path: Path, change: dict[str, onnx.ValueInfoProto], reason: str
) -> None:
    with pytest.raises(ModelUnusable, match=reason):
        OnnxModel(*read(changed(write(tmp_path / "model.onnx", "feedforward"), **change)))


def test_a_state_of_a_free_width_is_unusable(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", "gru")
    with pytest.raises(ModelUnusable, match="may be free"):
        OnnxModel(*read(changed(path, state_h=tensor("state.h", ["batch", "hidden"]))))


def test_a_model_may_do_without_lengths(tmp_path: Path) -> None:
    path = changed(write(tmp_path / "model.onnx", "feedforward"), lengths=None)
    outputs, _ = OnnxModel(*read(path)).run(np.ones((1, 2, 3), np.float32), np.array([2], np.int32), {})
    assert outputs.shape == (1, 2, 2)


def test_how_the_values_of_a_column_are_made_is_passed_on(tmp_path: Path) -> None:
    told = [
        {"name": "flow", "unit": "m³/h", "missing": {"rule": "hold"}, "initial": 1.5},
        {"name": "hour", "calendar": "hour"},
        {"name": "kind"},
    ]
    model = described(tmp_path, {"features": told, "categories": {"kind": {"codes": [0, 1], "labels": ["a", "b"]}}})
    flow, hour, kind = model.description.features
    assert (flow.unit, flow.making) == ("m³/h", {"missing": {"rule": "hold"}, "initial": 1.5})
    assert (hour.unit, hour.making) == (None, {"calendar": "hour"})
    assert kind.making == {"codes": [0, 1], "labels": ["a", "b"]}
    assert (kind.labels, hour.labels) == ({"a": 0, "b": 1}, {})


@pytest.mark.parametrize(
    "category",
    [
        {"labels": ["a", "b"]},
        {"labels": ["a", "b"], "codes": [0]},
        {"labels": ["a", "a"], "codes": [0, 1]},
        {"labels": ["a", 1], "codes": [0, 1]},
        {"labels": ["a", ["b"]], "codes": [0, 1]},
        {"labels": ["a", "b"], "codes": [0, "1"]},
        {"labels": ["a", "b"], "codes": [0, 2**60]},
        {"labels": "ab", "codes": 1},
    ],
)
def test_labels_without_a_code_each_are_refused(category: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="the metadata 'carousel' cannot be read"):
        described(tmp_path, {"features": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "categories": {"a": category}})
