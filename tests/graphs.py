"""Small seeded ONNX files that follow the model contract, made with nothing of ours: what the service is tested on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Cell = Literal["lstm", "gru", "rnn", "feedforward", "bidirectional"]
_GATES = {"lstm": 4, "gru": 3, "rnn": 1, "bidirectional": 4}
_OP = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN", "bidirectional": "LSTM"}


def write(
    path: Path,
    cell: Cell = "lstm",
    *,
    features: int = 3,
    hidden: int = 8,
    outputs: int = 2,
    seed: int = 0,
    metadata: Mapping[str, Any] | None = None,
    head: Literal["linear", "log"] = "linear",
) -> Path:
    """Write a network of one layer and a linear head; `log` takes the logarithm of it, so that some outputs are NaN."""
    rng = np.random.default_rng(seed)
    constants: dict[str, np.ndarray[Any, Any]] = {}

    def constant(name: str, *shape: int) -> str:
        constants[name] = (0.5 * rng.standard_normal(shape)).astype(np.float32)
        return name

    def vector(name: str, rank: int, width: int) -> onnx.ValueInfoProto:
        free: list[int | str] = ["batch", "time"]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [*free[: rank - 1], width])

    inputs = [vector("input", 3, features), helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"])]
    results = [vector("output", 3, outputs)]
    nodes: list[onnx.NodeProto] = []
    node = helper.make_node
    width, last = features, "input"
    if cell != "feedforward":
        directions = 2 if cell == "bidirectional" else 1
        gates = _GATES[cell]
        weights = [
            constant("W", directions, gates * hidden, features),
            constant("R", directions, gates * hidden, hidden),
            constant("B", directions, 2 * gates * hidden),
        ]
        states = [] if cell == "bidirectional" else ["h", "c"] if cell == "lstm" else ["h"]
        for name in states:
            inputs.append(vector(f"state.{name}", 2, hidden))
            results.append(vector(f"next_state.{name}", 2, hidden))
            nodes.append(node("Unsqueeze", [f"state.{name}", "first"], [f"{name}_in"]))
        nodes.append(node("Transpose", ["input"], ["time_first"], perm=[1, 0, 2]))
        given = ["time_first", *weights, "lengths", *(f"{name}_in" for name in states)]
        attributes: dict[str, Any] = {"hidden_size": hidden}
        attributes |= {"direction": "bidirectional"} if directions == 2 else {}
        attributes |= {"linear_before_reset": 1} if cell == "gru" else {}
        nodes.append(node(_OP[cell], given, ["Y", *(f"{name}_out" for name in states)], **attributes))
        nodes.extend(node("Squeeze", [f"{name}_out", "first"], [f"next_state.{name}"]) for name in states)
        nodes.append(node("Transpose", ["Y"], ["batch_first"], perm=[2, 0, 1, 3]))
        nodes.append(node("Reshape", ["batch_first", "flat"], ["h_all"]))
        constants["first"] = np.array([0], np.int64)
        constants["flat"] = np.array([0, 0, directions * hidden], np.int64)
        width, last = directions * hidden, "h_all"
    nodes.append(node("MatMul", [last, constant("V", width, outputs)], ["scores"]))
    nodes.append(node("Add", ["scores", constant("b", outputs)], ["output" if head == "linear" else "summed"]))
    if head == "log":
        nodes.append(node("Log", ["summed"], ["output"]))
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "test", inputs, results, stored), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    if metadata is not None:
        helper.set_model_props(model, {"carousel": json.dumps(metadata)})
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
