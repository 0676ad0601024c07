"""A trained network → one ONNX file, built node by node from its weights. The contract is docs/model-contract.md.

Knows the networks and ONNX; what the file is checked for is `verify`'s.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from training.contract import METADATA_KEY, Description
from training.networks import Encoder, Head, Lstm
from training.verify import verify

OPSET = 17  # old enough for every runtime of the last years, new enough for LSTM-14
IR_VERSION = 8  # the file format of that opset
GATES = (0, 3, 1, 2)  # torch stacks i, f, g, o; ONNX wants i, o, f, c (c is torch's g)


def export(network: Lstm, description: Description, sample: NDArray[np.float32], path: Path) -> None:
    """Write the network to `path` if its file passes `verify` on sample [N, F]; otherwise raise and write nothing."""
    write(build(network, description), network, sample, path)


def write(model: onnx.ModelProto, network: Lstm, sample: NDArray[np.float32], path: Path) -> None:
    """Write a model to `path` if it computes what the network does; otherwise raise `VerificationError`."""
    content = model.SerializeToString()
    verify(content, network, sample)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)  # a server that watches the folder sees the whole file or none


def build(network: Lstm, description: Description) -> onnx.ModelProto:
    """Return the graph of a network, its description inside."""
    graph = Graph()
    z = graph.add("Transpose", [_encode(graph, network.encoder)], perm=[1, 0, 2])  # [T, B, E]: the layout of ONNX
    for layer in range(network.recurrent.num_layers):
        z = _lstm(graph, network, layer, z)
    _head(graph, network.head, graph.add("Transpose", [z], perm=[1, 0, 2]))

    F, K = len(description.features), len(description.outputs)
    states = [(name, tensor.shape[1:]) for name, tensor in network.zero_state(1).items()]
    floats = helper.make_tensor_value_info
    inputs = [floats("input", TensorProto.FLOAT, ["batch", "time", F]), floats("lengths", TensorProto.INT32, ["batch"])]
    inputs += [floats(f"state.{name}", TensorProto.FLOAT, ["batch", *shape]) for name, shape in states]
    outputs = [floats("output", TensorProto.FLOAT, ["batch", "time", K])]
    outputs += [floats(f"next_state.{name}", TensorProto.FLOAT, ["batch", *shape]) for name, shape in states]
    return graph.model(inputs, outputs, description)


class Graph:
    """Nodes and weights as they are added. Each weight is an initializer, no graph input: ORT may pre-pack it."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, op: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its first output."""
        outputs = outputs or [f"{op.lower()}.{len(self.nodes)}"]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=f"node.{len(self.nodes)}", **attributes))
        return outputs[0]

    def weight(self, values: Tensor | NDArray[np.float32] | list[int]) -> str:
        """Add a constant and return its name; a list becomes int64, the type of axes and indices."""
        array = np.array(values, np.int64) if isinstance(values, list) else np.asarray(values, np.float32)
        name = f"weight.{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def model(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], description: Description
    ) -> onnx.ModelProto:
        """Close the graph and return it as a checked model."""
        graph = helper.make_graph(self.nodes, description.recipe, inputs, outputs, self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="carousel"
        )
        helper.set_model_props(model, {METADATA_KEY: json.dumps(description.metadata())})
        onnx.checker.check_model(model, full_check=True)
        return model


def _encode(graph: Graph, encoder: Encoder) -> str:
    numbers = graph.add("Gather", ["input", graph.weight(encoder.numbers)], axis=2)
    centred = graph.add("Sub", [numbers, graph.weight(encoder.mean)])
    scaled = graph.add("Mul", [centred, graph.weight(encoder.scale)])
    low, high = (graph.weight(np.array(bound, np.float32)) for bound in (-encoder.limit, encoder.limit))
    parts = [graph.add("Clip", [scaled, low, high])]
    for index, column in enumerate(encoder.categories):
        code = graph.add("Gather", ["input", graph.weight([column])], axis=2)  # [B, T, 1]
        known = graph.add("Equal", [code, graph.weight(encoder.codes(index))])  # [B, T, n]: all false if unknown
        one_hot = graph.add("Cast", [known], to=TensorProto.FLOAT)
        parts.append(graph.add("MatMul", [one_hot, graph.weight(encoder.tables[index].detach())]))
    return graph.add("Concat", parts, axis=2)


def _lstm(graph: Graph, network: Lstm, layer: int, z: str) -> str:
    """Add one layer over z [T, B, E] and return its hidden values [T, B, H]."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w, u, b, c = (_onnx_gates(getattr(network.recurrent, f"{kind}_l{layer}")) for kind in kinds)
    weights = [graph.weight(w[None]), graph.weight(u[None]), graph.weight(np.concatenate([b, c])[None])]
    h0, c0 = (graph.add("Unsqueeze", [f"state.{part}{layer}", graph.weight([0])]) for part in "hc")
    steps, h, c_last = (f"{name}.{layer}" for name in ("steps", "h", "c"))
    hidden = network.recurrent.hidden_size
    graph.add("LSTM", [z, *weights, "lengths", h0, c0], [steps, h, c_last], hidden_size=hidden)
    for part, last in (("h", h), ("c", c_last)):
        graph.add("Squeeze", [last, graph.weight([0])], [f"next_state.{part}{layer}"])
    return graph.add("Squeeze", [steps, graph.weight([1])])  # [T, directions = 1, B, H] → [T, B, H]


def _onnx_gates(stacked: Tensor) -> NDArray[np.float32]:
    """Reorder what torch stacks by gate, [4H, …], to the order of ONNX."""
    gates = np.split(stacked.detach().numpy(), 4)
    return np.concatenate([gates[gate] for gate in GATES])


def _head(graph: Graph, head: Head, h: str) -> None:
    z = graph.add("MatMul", [h, graph.weight(head.linear.weight.detach().T)])
    z = graph.add("Add", [z, graph.weight(head.linear.bias.detach())])
    z = graph.add("Mul", [z, graph.weight(head.std)])
    graph.add("Add", [z, graph.weight(head.mean)], ["output"])
