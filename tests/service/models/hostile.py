"""ONNX files that an operator should not have to fear, and files whose weights lie beside them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
node = helper.make_node


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[TensorProto] = (),
    *,
    width: int = 1,
    state: int | None = None,
) -> Path:
    """Write a graph with the inputs and outputs of the contract; it is not checked."""
    value = helper.make_tensor_value_info
    inputs, outputs = [value("input", FLOAT, ["batch", "time", width])], []
    outputs.append(value("output", FLOAT, ["batch", "time", width]))
    if state is not None:
        inputs.append(value("state.s", FLOAT, ["batch", state]))
        outputs.append(value("next_state.s", FLOAT, ["batch", state]))
    graph = helper.make_graph(list(nodes), "g", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def constant(name: str, value: object, kind: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.array(value, kind), name)


def identity(path: Path, width: int = 1, state: int | None = None) -> Path:
    """output = input, of any width; a state stays as it is."""
    nodes = [node("Identity", ["input"], ["output"])]
    if state is not None:
        nodes.append(node("Identity", ["state.s"], ["next_state.s"]))
    return save(path, nodes, width=width, state=state)


def looping(path: Path) -> Path:
    """Counts to 2**62 in a `Loop`."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Add", ["sum", "step"], ["next"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("sum", FLOAT, [])],
        [value("on", TensorProto.BOOL, []), value("next", FLOAT, [])],
        [constant("step", 1)],
    )
    nodes = [
        node("Loop", ["trips", "yes", "zero"], ["counted"], body=body),
        node("Add", ["input", "counted"], ["output"]),
    ]
    return save(path, nodes, [constant("trips", 2**62, np.int64), constant("yes", True, np.bool_), constant("zero", 0)])


def aborting(path: Path) -> Path:
    """Runs an LSTM on zero rows: ONNX Runtime calls `std::terminate`."""
    nodes = [
        node("Slice", ["input", "none", "none", "rows"], ["nothing"]),
        node("LSTM", ["nothing", "W", "R"], ["all"], hidden_size=1),
        node("ReduceSum", ["all"], ["sum"], keepdims=0),
        node("Add", ["input", "sum"], ["output"]),
    ]
    index = [constant("none", [0], np.int64), constant("rows", [1], np.int64)]
    return save(path, nodes, [*index, constant("W", np.ones((1, 4, 1))), constant("R", np.ones((1, 4, 1)))])


def allocating(path: Path, numbers: int) -> Path:
    """Makes a tensor of so many numbers, and writes each."""
    nodes = [
        node("Shape", ["input"], ["shape"]),
        node("ReduceMin", ["shape"], ["one"], keepdims=1),  # not known before it is run: not folded at load
        node("Mul", ["one", "numbers"], ["large"]),
        node("Expand", ["zero", "large"], ["filled"]),
        node("ReduceMax", ["filled"], ["least"], keepdims=0),
        node("Add", ["input", "least"], ["output"]),
    ]
    return save(path, nodes, [constant("numbers", [numbers], np.int64), constant("zero", [0])])


def external(path: Path, location: str, *, offset: int = 0, length: int = 16) -> Path:
    """output = input + the sum of `length` bytes of weights that lie at `location`."""
    weights = _external("W", location, offset, length)
    return save(
        path, [node("ReduceSum", ["W"], ["sum"], keepdims=0), node("Add", ["input", "sum"], ["output"])], [weights]
    )


def external_in_a_branch(path: Path, location: str) -> Path:
    """The same, the weights being those of both branches of an `If`."""
    value = helper.make_tensor_value_info
    branches = [
        helper.make_graph(
            [node("ReduceSum", [f"W{name}"], [f"sum{name}"], keepdims=0)],
            name,
            [],
            [value(f"sum{name}", FLOAT, [])],
            [_external(f"W{name}", location, 0, 16)],
        )
        for name in ("then", "else")
    ]
    nodes = [
        node("If", ["yes"], ["sum"], then_branch=branches[0], else_branch=branches[1]),
        node("Add", ["input", "sum"], ["output"]),
    ]
    return save(path, nodes, [constant("yes", True, np.bool_)])


def weights(path: Path, value: float) -> Path:
    """A file of four weights whose sum is `value`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.array([value, 0, 0, 0], np.float32).tobytes())
    return path


def _external(name: str, location: str, offset: int, length: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[length // 4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor
