"""Export a trained network as one ONNX file, built from its weights. docs/model-contract.md describes the graph."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from training.arrays import Floats
from training.file.contract import Description
from training.file.graph import Graph
from training.file.verify import verify
from training.net.encoder import Encoder
from training.net.heads import Band, Classes, Head, Values
from training.net.networks import Feedforward, Network, Recurrent

NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {}),
    "gru": ("GRU", {"linear_before_reset": 1}),  # torch applies the reset gate after the matrix product
    "lstm": ("LSTM", {}),
}
GATES = {  # order of torch's gates in an ONNX weight
    "rnn": (0,),
    "gru": (1, 0, 2),  # r, z, n → z, r, h
    "lstm": (0, 3, 1, 2),  # i, f, g, o → i, o, f, c (torch's g)
}


def export(network: Network, description: Description, sample: Floats, path: Path) -> None:
    """Write the network to `path` if its file passes `verify` on sample [N, F]; else raise VerificationError."""
    write(build(network, description), network, sample, path)


def write(model: onnx.ModelProto, network: Network, sample: Floats, path: Path) -> None:
    """Write a model to `path` if it computes what the network does; else raise VerificationError."""
    content = model.SerializeToString()
    verify(content, network, sample)
    save(content, path)


def save(content: bytes, path: Path) -> None:
    """Write a verified file atomically: a server that watches the folder never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def build(network: Network, description: Description) -> onnx.ModelProto:
    """Return the model of a network."""
    graph = Graph()
    z = _encode(graph, network.encoder)
    if isinstance(network, Recurrent):
        z = graph.add("Transpose", [z], perm=[1, 0, 2])  # [T, B, E], the layout of ONNX
        for layer in range(network.recurrent.num_layers):
            z = _recurrent(graph, network, layer, z)
        z = graph.add("Transpose", [z], perm=[1, 0, 2])
    elif isinstance(network, Feedforward):
        for linear in network.linears:
            z = graph.add("Relu", [_linear(graph, linear, z)])
    _head(graph, network.head, z, "head" if network.added else "output")
    if network.added:
        last = graph.add("Gather", ["input", graph.weight([*network.added])], axis=2)  # [B, T, K]
        graph.add("Add", ["head", last], ["output"])

    def floats(name: str, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    F, K, states = len(description.features), len(description.outputs), network.state_shapes.items()
    lengths = helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"])
    inputs = [floats("input", "time", F), lengths, *(floats(f"state.{name}", *shape) for name, shape in states)]
    outputs = [floats("output", "time", K), *(floats(f"next_state.{name}", *shape) for name, shape in states)]
    return graph.model(inputs, outputs, description)


def _encode(graph: Graph, encoder: Encoder) -> str:
    """Add the encoder; return its output [B, T, E]."""
    parts = [_numbers(graph, encoder)] if encoder.numbers else []
    for index, column in enumerate(encoder.categories):
        code = graph.add("Gather", ["input", graph.weight([column])], axis=2)  # [B, T, 1]
        known = graph.add("Equal", [code, graph.weight(encoder.codes(index))])  # [B, T, n]; all false if unknown
        one_hot = graph.add("Cast", [known], to=TensorProto.FLOAT)
        parts.append(graph.add("MatMul", [one_hot, graph.weight(encoder.tables[index].detach())]))
    return graph.add("Concat", parts, axis=2)


def _numbers(graph: Graph, encoder: Encoder) -> str:
    numbers = graph.add("Gather", ["input", graph.weight(encoder.numbers)], axis=2)
    centred = graph.add("Sub", [numbers, graph.weight(encoder.mean)])
    scaled = graph.add("Mul", [centred, graph.weight(encoder.scale)])
    return graph.add("Clip", [scaled, graph.weight(-encoder.limit), graph.weight(encoder.limit)])


def _recurrent(graph: Graph, network: Recurrent, layer: int, z: str) -> str:
    """Add one layer over z [T, B, E]; return its hidden values [T, B, H], or [T, B, 2H] of both directions."""
    both = not network.streamable
    directions = [_weights(network, f"l{layer}{way}") for way in (("", "_reverse") if both else ("",))]
    weights = [graph.weight(np.stack(same)) for same in zip(*directions, strict=True)]  # each [directions, …]
    letters = "" if both else network.letters
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


def _weights(network: Recurrent, suffix: str) -> list[Floats]:
    """Return W, R and B of one direction of a layer, gates in the order of ONNX."""
    order = GATES[network.cell]

    def gates(kind: str) -> Floats:
        stacked = np.split(getattr(network.recurrent, f"{kind}_{suffix}").detach().numpy(), len(order))
        return np.concatenate([stacked[gate] for gate in order])

    return [gates("weight_ih"), gates("weight_hh"), np.concatenate([gates("bias_ih"), gates("bias_hh")])]


def _linear(graph: Graph, linear: nn.Linear, z: str) -> str:
    product = graph.add("MatMul", [z, graph.weight(linear.weight.detach().T)])
    return graph.add("Add", [product, graph.weight(linear.bias.detach())])


def _head(graph: Graph, head: Head, h: str, output: str) -> None:
    z = _linear(graph, head.linear, h)
    if isinstance(head, Values):
        z = _ordered(graph, head, z) if isinstance(head, Band) else z
        z = graph.add("Mul", [z, graph.weight(head.std)])
        graph.add("Add", [z, graph.weight(head.mean)], [output])
    elif isinstance(head, Classes):
        graph.add("Softmax", [z], [output], axis=-1)
    else:
        graph.add("Sigmoid", [z], [output])


def _ordered(graph: Graph, head: Band, x: str) -> str:
    """Add the quantiles of `Band`: distances by squareplus, summed within each answer."""
    root = graph.add("Sqrt", [graph.add("Add", [graph.add("Mul", [x, x]), graph.weight(4.0)])])
    distance = graph.add("Mul", [graph.add("Add", [x, root]), graph.weight(0.5)])
    first = graph.add("Mul", [x, graph.weight(1 - head.rises)])
    rising = graph.add("Mul", [distance, graph.weight(head.rises)])
    return graph.add("MatMul", [graph.add("Add", [first, rising]), graph.weight(head.sums)])
