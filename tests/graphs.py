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


def running_sum(path: Path, *, whole: bool = True) -> Path:
    """Write a model whose state is the sum of all inputs so far, and each output the sum up to its step.

    `whole` rounds each input first, so that sums below 2**24 are exact in any order; else a cut changes the last bits.
    """
    node, add = helper.make_node, "Round" if whole else "Identity"
    nodes = [
        node(add, ["input"], ["rounded"]),
        node("Squeeze", ["rounded", "two"], ["values"]),
        node("Shape", ["values"], ["steps"], start=1, end=2),
        node("Squeeze", ["steps"], ["count"]),
        node("Range", ["zero", "count", "one"], ["times"]),
        node("Unsqueeze", ["lengths", "axis"], ["column"]),
        node("Cast", ["column"], ["wide"], to=TensorProto.INT64),
        node("Less", ["times", "wide"], ["inside"]),
        node("Cast", ["inside"], ["mask"], to=TensorProto.FLOAT),
        node("Mul", ["values", "mask"], ["masked"]),
        node("CumSum", ["masked", "axis_of_time"], ["sums"]),
        node("Add", ["sums", "state.sum"], ["totals"]),
        node("Unsqueeze", ["totals", "two"], ["output"]),
        node("ReduceSum", ["masked", "axis"], ["all"], keepdims=1),
        node("Add", ["all", "state.sum"], ["next_state.sum"]),
    ]
    numbers = {"zero": 0, "one": 1, "axis_of_time": 1, "axis": [1], "two": [2]}
    stored = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]

    def tensor(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "sum",
        [
            tensor("input", "batch", "time", 1),
            tensor("lengths", "batch", kind=TensorProto.INT32),
            tensor("state.sum", "batch", 1),
        ],
        [tensor("output", "batch", "time", 1), tensor("next_state.sum", "batch", 1)],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
