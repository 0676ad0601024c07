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
from torch import Tensor, nn

from training.contract import METADATA_KEY, Description
from training.heads import Band, Classes, Head, Values
from training.networks import Encoder, Feedforward, Network, Recurrent
from training.verify import verify

OPSET = 17  # old enough for every runtime of the last years, new enough for LSTM-14
IR_VERSION = 8  # the file format of that opset
GATES = {  # torch stacks the gates of a weight in one order, ONNX in another
    "rnn": (0,),
    "gru": (1, 0, 2),  # r, z, n → z, r, h
    "lstm": (0, 3, 1, 2),  # i, f, g, o → i, o, f, c (c is torch's g)
}
NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {}),
    "gru": ("GRU", {"linear_before_reset": 1}),  # torch's equations: the reset gate works behind the matrix
    "lstm": ("LSTM", {}),
}


def export(network: Network, description: Description, sample: NDArray[np.float32], path: Path) -> None:
    """Write the network to `path` if its file passes `verify` on sample [N, F]; otherwise raise and write nothing."""
    write(build(network, description), network, sample, path)


def write(model: onnx.ModelProto, network: Network, sample: NDArray[np.float32], path: Path) -> None:
    """Write a model to `path` if it computes what the network does; otherwise raise `VerificationError`."""
    content = model.SerializeToString()
    verify(content, network, sample)
    save(content, path)


def save(content: bytes, path: Path) -> None:
    """Write a verified file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)  # a server that watches the folder sees the whole file or none


def build(network: Network, description: Description) -> onnx.ModelProto:
    """Return the graph of a network, its description inside."""
    graph = Graph()
    z = _encode(graph, network.encoder)
    if isinstance(network, Recurrent):
        z = graph.add("Transpose", [z], perm=[1, 0, 2])  # [T, B, E]: the layout of ONNX
        for layer in range(network.recurrent.num_layers):
            z = _recurrent(graph, network, layer, z)
        z = graph.add("Transpose", [z], perm=[1, 0, 2])
    elif isinstance(network, Feedforward):
        for linear in network.linears:
            z = graph.add("Relu", [_linear(graph, linear, z)])
    _head(graph, network.head, z)

    F, K = len(description.features), len(description.outputs)
    states = list(network.state_shapes.items())
    floats = helper.make_tensor_value_info
    inputs = [floats("input", TensorProto.FLOAT, ["batch", "time", F]), floats("lengths", TensorProto.INT32, ["batch"])]
    inputs += [floats(f"state.{name}", TensorProto.FLOAT, ["batch", *shape]) for name, shape in states]
    outputs = [floats("output", TensorProto.FLOAT, ["batch", "time", K])]
    outputs += [floats(f"next_state.{name}", TensorProto.FLOAT, ["batch", *shape]) for name, shape in states]
    return graph.model(inputs, outputs, description)


class Graph:
    """Nodes and weights as they are added. Each weight is an initializer, no graph input: ORT may pre-pack it."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix  # of every name that is made here
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, op: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its first output."""
        outputs = outputs or [f"{self.prefix}{op.lower()}.{len(self.nodes)}"]
        name = f"{self.prefix}node.{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def weight(self, values: Tensor | NDArray[np.float32] | list[int]) -> str:
        """Add a constant and return its name; a list becomes int64, the type of axes and indices."""
        return self.constant(np.asarray(values, np.int64 if isinstance(values, list) else np.float32))

    def constant(self, values: NDArray[Any] | np.generic) -> str:
        """Add a constant of the type that it has, and return its name."""
        name = f"{self.prefix}weight.{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
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
    parts = [_numbers(graph, encoder)] if encoder.numbers else []
    for index, column in enumerate(encoder.categories):
        code = graph.add("Gather", ["input", graph.weight([column])], axis=2)  # [B, T, 1]
        known = graph.add("Equal", [code, graph.weight(encoder.codes(index))])  # [B, T, n]: all false if unknown
        one_hot = graph.add("Cast", [known], to=TensorProto.FLOAT)
        parts.append(graph.add("MatMul", [one_hot, graph.weight(encoder.tables[index].detach())]))
    return graph.add("Concat", parts, axis=2)


def _numbers(graph: Graph, encoder: Encoder) -> str:
    numbers = graph.add("Gather", ["input", graph.weight(encoder.numbers)], axis=2)
    centred = graph.add("Sub", [numbers, graph.weight(encoder.mean)])
    scaled = graph.add("Mul", [centred, graph.weight(encoder.scale)])
    low, high = (graph.weight(np.array(bound, np.float32)) for bound in (-encoder.limit, encoder.limit))
    return graph.add("Clip", [scaled, low, high])


def _recurrent(graph: Graph, network: Recurrent, layer: int, z: str) -> str:
    """Add one layer over z [T, B, E] and return its hidden values [T, B, H], or [T, B, 2H] of both directions."""
    both = not network.streamable
    kinds = [_weights(network, f"l{layer}{way}") for way in (("", "_reverse") if both else ("",))]
    weights = [graph.weight(np.stack(same)) for same in zip(*kinds, strict=True)]  # each [directions, …]
    letters = network.letters if network.streamable else ""
    before = [graph.add("Unsqueeze", [f"state.{letter}{layer}", graph.weight([0])]) for letter in letters]
    steps, *after = (f"{name}.{layer}" for name in ("steps", *letters))
    op, attributes = NODES[network.cell]
    direction = {"direction": "bidirectional"} if both else {}
    hidden = network.recurrent.hidden_size
    graph.add(op, [z, *weights, "lengths", *before], [steps, *after], hidden_size=hidden, **direction, **attributes)
    for letter, last in zip(letters, after, strict=True):
        graph.add("Squeeze", [last, graph.weight([0])], [f"next_state.{letter}{layer}"])
    if not both:
        return graph.add("Squeeze", [steps, graph.weight([1])])  # [T, directions = 1, B, H] → [T, B, H]
    side_by_side = graph.add("Transpose", [steps], perm=[0, 2, 1, 3])  # [T, B, 2, H]
    return graph.add("Reshape", [side_by_side, graph.weight([0, 0, 2 * hidden])])


def _weights(network: Recurrent, suffix: str) -> list[NDArray[np.float32]]:
    """Return W, R and B of one direction of a layer, in the order of ONNX."""
    order = GATES[network.cell]

    def gates(kind: str) -> NDArray[np.float32]:
        stacked = np.split(getattr(network.recurrent, f"{kind}_{suffix}").detach().numpy(), len(order))
        return np.concatenate([stacked[gate] for gate in order])

    return [gates("weight_ih"), gates("weight_hh"), np.concatenate([gates("bias_ih"), gates("bias_hh")])]


def _linear(graph: Graph, linear: nn.Linear, z: str) -> str:
    product = graph.add("MatMul", [z, graph.weight(linear.weight.detach().T)])
    return graph.add("Add", [product, graph.weight(linear.bias.detach())])


def _head(graph: Graph, head: Head, h: str) -> None:
    z = _linear(graph, head.linear, h)
    if isinstance(head, Band):
        z = _ordered(graph, head, z)
    if isinstance(head, Values):
        z = graph.add("Mul", [z, graph.weight(head.std)])
        graph.add("Add", [z, graph.weight(head.mean)], ["output"])
    elif isinstance(head, Classes):
        graph.add("Softmax", [z], ["output"], axis=-1)
    else:
        graph.add("Sigmoid", [z], ["output"])


def _ordered(graph: Graph, head: Band, x: str) -> str:
    """Add what `Band` does: distances by squareplus, summed up within an answer."""
    square = graph.add("Mul", [x, x])
    root = graph.add("Sqrt", [graph.add("Add", [square, graph.weight(np.array(4.0, np.float32))])])
    distance = graph.add("Mul", [graph.add("Add", [x, root]), graph.weight(np.array(0.5, np.float32))])
    first = graph.add("Mul", [x, graph.weight(1 - head.rises)])
    rising = graph.add("Mul", [distance, graph.weight(head.rises)])
    return graph.add("MatMul", [graph.add("Add", [first, rising]), graph.weight(head.sums)])
