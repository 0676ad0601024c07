"""Convert an LSTM's file to int8: each `LSTM` node becomes a `Scan` with `MatMulInteger`.

Scales are constants of the file, so that the rows of a batch do not influence each other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.arrays import Floats
from training.file.graph import Graph

ZERO = np.uint8(128)  # represents 0.0; ONNX Runtime has fast kernels for uint8 · int8 only
STEPS = 127  # levels of an input on either side of 0
WEIGHT = 64  # largest weight: without VNNI two products are summed in 16 bits, and 2 · 255 · 64 still fits
HIDDEN = 1.0  # h = o∗tanh(C) lies in (−1, 1)


def in_int8(model: onnx.ModelProto, reach: float) -> onnx.ModelProto:
    """Return the model with its layers in int8; the first layer's input is clipped to about ±`reach`."""
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    read_by = {name: node for node in model.graph.node for name in node.input}
    layers: dict[str, Graph] = {}
    reshapes: set[str] = set()  # [B, H] → [1, B, H] and back, which Scan does not need
    for index, lstm in enumerate(node for node in model.graph.node if node.op_type == "LSTM"):
        before, behind = [made_by[name] for name in lstm.input[5:]], [read_by[name] for name in lstm.output]
        reshapes |= {node.output[0] for node in before + behind}
        layers[lstm.output[0]] = _layer(
            Graph(f"int8.{index}."),
            lstm.input[0],
            [constants[name][0] for name in lstm.input[1:4]],
            HIDDEN if index else reach,
            states=[node.input[0] for node in before],
            results=[node.output[0] for node in behind],
        )
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if (layer := layers.get(node.output[0])) is not None:
            nodes += layer.nodes
        elif node.output[0] not in reshapes:
            nodes.append(node)
    return _with(model, nodes, [*model.graph.initializer, *(one for layer in layers.values() for one in layer.weights)])


def integers(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return a weight [N, K] as integers, and the scale [N] of each output; its largest weight becomes ±64."""
    largest = np.abs(weight).max(axis=1)
    scale = (np.where(largest > 0, largest, 1) / WEIGHT).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def _layer(
    graph: Graph, z: str, weights: Sequence[Floats], reach: float, *, states: list[str], results: list[str]
) -> Graph:
    """Add one layer over z [T, B, E]; weights are ONNX's W, R, B; results are the names of its y, h, C."""
    W, R, B = weights
    y, *after = results
    drive = graph.add("Add", [_product(graph, z, W, reach), graph.weight(B.reshape(2, -1).sum(axis=0))])  # [T, B, 4H]
    left = graph.add("Unsqueeze", ["lengths", graph.weight([1])])
    nothing = f"{graph.prefix}left"
    body = _step(Graph(f"{graph.prefix}step."), R)
    graph.add("Scan", [*states, left, drive], [*after, nothing, y], body=body, num_scan_inputs=1)
    return graph


def _step(graph: Graph, R: Floats) -> onnx.GraphProto:
    """Return the body of the scan: h, C [B, H], steps left [B, 1], drive [B, 4H] → h, C, steps left, y [B, H].

    A row without steps left keeps its h and C; its y is undefined.
    """
    h, cell, left, drive = taken = [graph.prefix + name for name in ("h", "c", "left", "drive")]
    parts = [f"{graph.prefix}gate.{name}" for name in "iofc"]
    graph.add("Split", [graph.add("Add", [_product(graph, h, R, HIDDEN), drive])], parts, axis=1)
    i, o, f = (graph.add("Sigmoid", [part]) for part in parts[:3])
    candidate = graph.add("Tanh", [parts[3]])
    new_cell = graph.add("Add", [graph.add("Mul", [f, cell]), graph.add("Mul", [i, candidate])])
    new_h = graph.add("Mul", [o, graph.add("Tanh", [new_cell])])
    goes_on = graph.add("Greater", [left, graph.constant(np.int32(0))])
    given = [graph.add("Where", [goes_on, new, old]) for new, old in ((new_h, h), (new_cell, cell))]
    given += [graph.add("Sub", [left, graph.constant(np.int32(1))]), new_h]

    def values(names: Sequence[str], last: int) -> list[onnx.ValueInfoProto]:
        kinds = [TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32, TensorProto.FLOAT]
        shapes = [["batch", width] for width in (H, H, 1, last)]
        return [helper.make_tensor_value_info(*told) for told in zip(names, kinds, shapes, strict=True)]

    H = R.shape[1]
    return helper.make_graph(graph.nodes, "step", values(taken, 4 * H), values(given, H), graph.weights)


def _product(graph: Graph, x: str, weight: Floats, reach: float) -> str:
    """Add x · weightᵀ for x within ±`reach`: integer factors, exact int32 sums, then scaled back."""
    scale = np.float32(reach / STEPS)
    whole, scales = integers(weight)
    zero = graph.constant(ZERO)
    rounded = graph.add("QuantizeLinear", [x, graph.constant(scale), zero])
    total = graph.add("MatMulInteger", [rounded, graph.constant(whole.T), zero])
    return graph.add("Mul", [graph.add("Cast", [total], to=TensorProto.FLOAT), graph.constant(scales * scale)])


def _with(model: onnx.ModelProto, nodes: Sequence[Any], weights: Sequence[TensorProto]) -> onnx.ModelProto:
    """Return a checked copy with other nodes, and the weights that they read."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:]
    read = {name for node in nodes for name in node.input}
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(weight for weight in weights if weight.name in read)
    onnx.checker.check_model(result, full_check=True)
    return result
