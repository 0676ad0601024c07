"""Change graphs without touching their weights: expose the states of recurrent nodes, free sizes that were frozen.

Knows ONNX; the file on the disk is never written. What comes of it has to be proved by running it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from service.errors import ModelUnusable
from service.models.pairs import Pair

if TYPE_CHECKING:
    from service.models.signature import Signature

_NODES = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
_SEQUENCE_LENS, _INITIAL, _LAST = 4, 5, 1  # inputs: lengths, and the first state; outputs: the first state
# Operators whose time, or whose output's size, follows from the value of an input.
_SIZED = {
    **{"Loop": 0, "ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3, "Pad": 1, "OneHot": 1, "Upsample": 1},
    **{"CenterCropPad": 1, "MaxUnpool": 2, "BlackmanWindow": 0, "HannWindow": 0, "HammingWindow": 0},
}
_FUNCTIONS = b"\xca\x01"  # field 25 of a model
_SIZED_BY_ANY = ("Range", "BeamSearch", "GreedySearch", "Sampling")


class Exposed(NamedTuple):
    """A graph whose states are inputs and outputs; `begins` names the tensors that were the first states, by input."""

    content: bytes
    pairs: list[Pair]
    begins: dict[str, str]


def inlined(content: bytes) -> bytes:
    """The graph with the nodes of its local functions in their place: all else looks for nodes there."""
    if _FUNCTIONS not in content:
        return content
    import onnx.inliner  # here, since few files need it: 0.3 s and 25 MB
    from google.protobuf.message import DecodeError

    with suppress(DecodeError):  # ONNX Runtime tells what is wrong
        if (model := onnx.ModelProto.FromString(content)).functions:
            return bytes(onnx.inliner.inline_local_functions(model).SerializeToString())
    return content


def recurrent(content: bytes) -> bool:
    """Whether a graph may have recurrent nodes."""
    return any(_operator(kind) in content for kind in _NODES)


def lone_rows_differ(content: bytes) -> bool:
    """Whether there is a plain RNN node, which computes a lone row in another order than one of several."""
    return _operator("RNN") in content


def quantised_by_run(content: bytes) -> bool:
    """Whether scales are taken from all that runs together: then a row's numbers depend on its company."""
    return b"DynamicQuantize" in content


def exposed(content: bytes) -> Exposed:
    """Give each LSTM, GRU and RNN node its states as inputs and outputs of the graph.

    Raises:
        ModelUnusable: with the reason for which the sequence is needed whole.

    """
    import onnx

    model = onnx.ModelProto.FromString(content)
    nodes = [node for node in model.graph.node if node.op_type in _NODES]
    inner = [node for graph in _subgraphs(model.graph) for node in graph.node if node.op_type in _NODES]
    if inner or not nodes:
        where = f"{inner[0].op_type} {inner[0].name!r} is inside a branch or a loop" if inner else "it has no such node"
        raise ModelUnusable(f"its states cannot be exposed: {where}")
    pairs, begins = [], {}
    for index, node in enumerate(nodes):
        told = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if (reason := _backward(node)) is not None:
            raise ModelUnusable(reason)
        if told.get("layout", 0):
            raise ModelUnusable(f"{node.op_type} {node.name!r} has layout 1, which ONNX Runtime does not run")
        for place, letter in enumerate("hc" if "LSTM" in node.op_type else "h"):
            name, after = f"state.{letter}{index}", f"next_state.{letter}{index}"
            begin = _expose(node, place, name, after)
            if begin:
                begins[name] = begin
            kind = _type_of(model.graph, node) or onnx.TensorProto.FLOAT
            width = [1, "batch", told["hidden_size"]]
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, width))
            model.graph.output.append(onnx.helper.make_tensor_value_info(after, kind, width))
            if node.output[_LAST + place] != after:
                model.graph.node.append(onnx.helper.make_node("Identity", [node.output[_LAST + place]], [after]))
            pairs.append(Pair(name, after, "rewritten"))
    return Exposed(model.SerializeToString(), pairs, begins)


def backward(content: bytes) -> str | None:
    """Why a graph needs its sequence whole, if one of its recurrent nodes reads it from its end."""
    if not recurrent(content):
        return None
    import onnx

    found = map(_backward, onnx.ModelProto.FromString(content).graph.node)
    return next((reason for reason in found if reason is not None), None)


def stateless(content: bytes) -> list[str]:
    """The recurrent nodes of which a first state follows from no input: each call begins it anew."""
    if not recurrent(content):
        return []
    import onnx

    graph, found = onnx.ModelProto.FromString(content).graph, []
    valued = {one.name for one in graph.input} - {one.name for one in graph.initializer}
    for node in graph.node:
        end = _INITIAL + (2 if "LSTM" in node.op_type else 1)
        if node.op_type in _NODES and not (len(node.input) >= end and valued.issuperset(node.input[_INITIAL:end])):
            found.append(f"{node.op_type} {node.name!r}")
        if node.op_type not in ("Shape", "Size") and not valued.isdisjoint(node.input):
            valued.update(node.output)
    return found


def _backward(node: Any) -> str | None:
    way = next((one.s for one in node.attribute if one.name == "direction"), b"forward")
    if node.op_type not in _NODES or way == b"forward":
        return None
    return f"{node.op_type} {node.name!r} is {way.decode()}: it reads the sequence whole"


def _expose(node: Any, place: int, name: str, after: str) -> str:
    """Make a graph input the first state of a node, and name the last one → the tensor that was the first state."""
    while len(node.input) <= _INITIAL + place:
        node.input.append("")
    while len(node.output) <= _LAST + place:
        node.output.append("")
    begin, node.input[_INITIAL + place] = node.input[_INITIAL + place], name
    node.output[_LAST + place] = node.output[_LAST + place] or after
    return str(begin)


def _type_of(graph: Any, node: Any) -> int | None:
    """The type of a node's numbers, by its weights; those that are quantised stand for float32."""
    if node.op_type == "DynamicQuantizeLSTM":
        return None
    return next((one.data_type for one in graph.initializer if one.name == node.input[1]), None)


def told_outputs(content: bytes, names: Sequence[str]) -> bytes:
    """The graph with more outputs: tensors of these names."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    present = {one.name for one in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in set(names) - present)
    return bytes(model.SerializeToString())


def freed(content: bytes, signature: Signature) -> bytes:
    """The graph with free sizes for batch and time, where the file declares what an exporter has frozen."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    ports = {port.name: port for port in (*signature.inputs, *(state.port for state in signature.states))}
    for one in model.graph.input:
        if one.name in ports:
            for axis, name in ((ports[one.name].batch, "batch"), (ports[one.name].time, "time")):
                if axis is not None:
                    one.type.tensor_type.shape.dim[axis].dim_param = name
    for one in model.graph.output:
        one.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


def by_values(content: bytes) -> bool:
    """Whether the time or memory of a run may follow from values of the inputs, not from their sizes alone."""
    if not any(_operator(kind) in content for kind in (*_SIZED, *_SIZED_BY_ANY)):
        return False
    import onnx

    model = onnx.ModelProto.FromString(content)
    constants = {one.name for one in model.graph.initializer}
    return _by_values(model.graph, {one.name for one in model.graph.input} - constants)


def _by_values(graph: Any, valued: set[str]) -> bool:
    """Whether an operator is sized by one of these tensors, or by what is computed of their values. Adds to them."""
    for node in graph.node:
        depends = [name in valued for name in node.input]
        place = _SIZED.get(node.op_type)
        if any(depends) and node.op_type in _SIZED_BY_ANY:
            return True
        if place is not None and any(depends[place : place + 2 if node.op_type == "Loop" else place + 1]):
            return True
        inside = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        if node.op_type == "Loop" and not node.input[0] and inside:
            return True  # it ends when its body says so
        for one in inside:
            if _by_values(one, valued | {value.name for value in one.input}):
                return True
        outer = any(name in valued for one in inside for node in one.node for name in node.input)
        if (any(depends) or outer) and node.op_type not in ("Shape", "Size"):
            valued.update(node.output)
    return False


def _operator(kind: str) -> bytes:
    """A node's type as it stands in a file: field 4."""
    return bytes([0x22, len(kind)]) + kind.encode()


def _subgraphs(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for attribute in node.attribute:
            for one in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
                yield one
                yield from _subgraphs(one)
