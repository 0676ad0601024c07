"""`carousel adapt`: write a model file anew in the model contract, where turning axes, casting and naming is enough.

What is written is proved like any file, and compared with the file that it was made of.
"""

from pathlib import Path
from typing import Any

import numpy as np

from service.errors import ModelUnusable
from service.models import files
from service.models.declared import parse
from service.models.model import OnnxModel
from service.models.prepare import Prepared, load, prepared
from service.models.signature import Port, Signature
from service.models.speed import measured

_INSIDE = "file/"  # before every name of the file that is adapted
_LENGTHS_INPUT = 4


def adapt(path: Path, output: Path) -> str:
    """Write the file → what was done.

    Raises:
        ModelUnusable: it cannot be served, or not be written mechanically; why.

    """
    content, digest = files.read(path)
    told, digest = files.declared(path, digest)
    found = prepared(content, digest, parse(told), measured)
    if found.signature is None:
        raise ModelUnusable("it follows the model contract as it is")
    if faults := list(_obstacles(found.signature, found)):
        raise ModelUnusable("; ".join(faults))
    old = load(found.content, digest, found.signature)
    for lengths in (True, False):  # the file's own graph may not stand rows of different lengths
        written = _written(found.content, found.signature, lengths=lengths)
        try:
            new = prepared(written, digest, parse(b""), measured)
            _compare(old, load(new.content, digest, new.signature), found.signature)
        except ModelUnusable:
            if not lengths:
                raise
        else:
            break
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(written)
    ways = "rows of different lengths in one run" if new.signature is None else "rows of one length in one run"
    return f"{output}: states {', '.join(old.state_shapes) or 'none'}; {ways}; the same numbers as {path.name}"


def _obstacles(signature: Signature, found: Prepared) -> Any:
    """What the model contract has no place for."""
    if not signature.timed or signature.last:
        yield "one call gives one answer: the contract wants one for every step of a sequence"
    if signature.rows or not signature.batched:
        rows = f"{signature.rows} rows" if signature.rows else "one row"
        yield f"one call takes {rows}: the contract wants a free batch"
    if any(np.asarray(state.initial).any() for state in signature.states):
        yield "its first state is not zero"
    if wide := [one.port.name for one in signature.states if np.dtype(one.port.kind).itemsize > 4]:
        yield f"states of 64 bits: {', '.join(wide)}"


def _written(content: bytes, signature: Signature, *, lengths: bool) -> bytes:
    import onnx
    from onnx import compose, helper, numpy_helper

    model = compose.add_prefix(onnx.ModelProto.FromString(content), _INSIDE)
    graph, value, before, after = model.graph, helper.make_tensor_value_info, [], []
    recurrent = [node for node in graph.node if node.op_type in ("LSTM", "GRU", "RNN")]
    del graph.input[:], graph.output[:], graph.value_info[:]
    width = sum(port.width for port in signature.inputs)
    graph.input.append(value("input", onnx.TensorProto.FLOAT, ["batch", "time", width]))
    parts = ["input"] if len(signature.inputs) == 1 else [f"part.{port.name}" for port in signature.inputs]
    if len(parts) > 1:
        graph.initializer.append(numpy_helper.from_array(np.array([p.width for p in signature.inputs]), "widths"))
        before.append(helper.make_node("Split", ["input", "widths"], parts, axis=2))
    for part, port in zip(parts, signature.inputs, strict=True):
        before += _turned(graph, part, _INSIDE + port.name, port, inward=True)
    if lengths and recurrent and signature.lengths is None:
        for node in recurrent:
            node.input.extend([""] * (_LENGTHS_INPUT + 1 - len(node.input)))
            node.input[_LENGTHS_INPUT] = node.input[_LENGTHS_INPUT] or "lengths"
    if lengths or signature.lengths is not None:
        graph.input.append(value("lengths", onnx.TensorProto.INT32, ["batch"]))
    if signature.lengths is not None:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(signature.lengths.kind))
        before.append(helper.make_node("Cast", ["lengths"], [_INSIDE + signature.lengths.name], to=kind))
    for state in signature.states:
        name = state.port.name.removeprefix("state.")
        for label, told in (("state", graph.input), ("next_state", graph.output)):
            told.append(value(f"{label}.{name}", onnx.TensorProto.FLOAT, ["batch", *state.port.shape]))
        before += _turned(graph, f"state.{name}", _INSIDE + state.port.name, state.port, inward=True)
        after += _turned(graph, _INSIDE + state.output, f"next_state.{name}", state.port, inward=False)
    for constant in signature.constants:
        array = np.broadcast_to(np.asarray(constant.value, constant.port.kind), constant.port.shape)
        graph.initializer.append(numpy_helper.from_array(np.array(array), _INSIDE + constant.port.name))
    answers = [f"answer.{port.name}" for port in signature.outputs]
    for answer, port in zip(answers, signature.outputs, strict=True):
        after += _turned(graph, _INSIDE + port.name, answer, port, inward=False)
    after.append(helper.make_node("Concat", answers, ["output"], axis=2))
    outputs = sum(port.width for port in signature.outputs)
    graph.output.insert(0, value("output", onnx.TensorProto.FLOAT, ["batch", "time", outputs]))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _turned(graph: Any, source: str, target: str, port: Port, *, inward: bool) -> list[Any]:
    """Nodes between an array of the contract, batch and time first, and one of the file."""
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(port.kind if inward else "float32"))
    axes = [axis for axis in (port.batch, port.time) if axis is not None]
    others = [axis for axis in range(len(axes) + len(port.shape)) if axis not in axes]
    ahead = [*axes, *others]  # of the file's axes, in the contract's order
    flat = [0] * len(axes) + ([port.width] if port.time is not None else list(port.shape))
    sizes = [0] * len(axes) + list(port.shape) if inward else flat
    graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), f"{target}.sizes"))
    perm = np.argsort(ahead).tolist() if inward else ahead
    cast = helper.make_node("Cast", [source], [f"{target}.cast"], to=kind)
    shape = helper.make_node("Reshape", [f"{target}.{'cast' if inward else 'turned'}", f"{target}.sizes"], [""])
    turn = helper.make_node("Transpose", [""], [""], perm=perm)
    if inward:
        shape.output[0] = turn.input[0] = f"{target}.shaped"
        turn.output[0] = target
        return [cast, shape, turn]
    turn.input[0], turn.output[0] = f"{target}.cast", f"{target}.turned"
    shape.output[0] = target
    return [cast, turn, shape]


def _compare(old: OnnxModel, new: OnnxModel, signature: Signature) -> None:
    """Raise unless both give the same numbers to a few sequences."""
    rng = np.random.default_rng(1)
    inputs = old.draw(rng.uniform(0, 3, (3, 11, old.features)).astype(np.float32))
    lengths = np.full(len(inputs), inputs.shape[1], np.int32)
    answers = []
    for model in (old, new):
        state = {name: np.zeros((len(inputs), *shape), np.float32) for name, shape in model.state_shapes.items()}
        answers.append(model.run(inputs, lengths, state)[0])
    first, second = answers
    if not np.allclose(first, second, rtol=1e-5, atol=1e-6):
        raise ModelUnusable(f"what was written differs by {np.abs(first - second).max():.2g}")
