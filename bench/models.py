"""Seeded LSTM models of three sizes by the model contract, and no more in them than cells and a linear head."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Size:
    """F inputs, `layers` LSTM layers of H units, K outputs."""

    inputs: int
    hidden: int
    layers: int
    outputs: int = 16


SIZES = {"S": Size(64, 128, 1), "M": Size(128, 256, 2), "L": Size(256, 1024, 2)}


def write(folder: Path, name: str, seed: int = 0) -> Path:
    """Write model `name` as folder/NAME/1/model.onnx and return the file; the same seed gives the same weights."""
    path = folder / name / "1/model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(build(SIZES[name], name, seed), path)
    return path


def build(size: Size, name: str, seed: int) -> onnx.ModelProto:
    """Return the graph, its weights uniform within ±1/√H, as torch begins."""
    rng = np.random.default_rng(seed)
    weights: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    H, bound = size.hidden, size.hidden**-0.5

    def weight(*shape: int) -> str:
        values = rng.uniform(-bound, bound, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"weight.{len(weights)}"))
        return weights[-1].name

    def node(op: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, outputs, **attributes))
        return outputs[0]

    weights.append(numpy_helper.from_array(np.array([0]), "layer"))
    weights.append(numpy_helper.from_array(np.array([1]), "direction"))
    z = node("Transpose", ["input"], "time_first", perm=[1, 0, 2])  # [T, B, F]
    for layer, (into, _) in enumerate(pairwise([size.inputs, *[H] * size.layers])):
        before = [node("Unsqueeze", [f"state.{s}{layer}", "layer"], f"{s}{layer}.before") for s in "hc"]
        matrices = [weight(1, 4 * H, into), weight(1, 4 * H, H), weight(1, 8 * H)]
        after = [f"{s}{layer}.after" for s in "hc"]
        node("LSTM", [z, *matrices, "lengths", *before], f"steps{layer}", *after, hidden_size=H)
        for s, last in zip("hc", after, strict=True):
            node("Squeeze", [last, "layer"], f"next_state.{s}{layer}")
        z = node("Squeeze", [f"steps{layer}", "direction"], f"hidden{layer}")  # [T, B, H]
    z = node("Transpose", [z], "batch_first", perm=[1, 0, 2])
    z = node("MatMul", [z, weight(H, size.outputs)], "scores")
    node("Add", [z, weight(size.outputs)], "output")

    def floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    states = [f"{s}{layer}" for layer in range(size.layers) for s in "hc"]
    inputs = [floats("input", "batch", "time", size.inputs)]
    inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    inputs += [floats(f"state.{state}", "batch", H) for state in states]
    outputs = [floats("output", "batch", "time", size.outputs)]
    outputs += [floats(f"next_state.{state}", "batch", H) for state in states]
    graph = helper.make_graph(nodes, name, inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
