"""Build an ONNX graph node by node."""

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from training.arrays import Floats
from training.file.contract import METADATA_KEY, Description

OPSET = 17  # supported by all runtimes of recent years; has LSTM-14
IR_VERSION = 8  # file format of that opset


class Graph:
    """Nodes and weights. Weights are initializers, not graph inputs, so that ONNX Runtime can pre-pack them."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix  # of all names
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, op: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its first output."""
        outputs = outputs or [f"{self.prefix}{op.lower()}.{len(self.nodes)}"]
        name = f"{self.prefix}node.{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def weight(self, values: Tensor | Floats | list[int] | float) -> str:
        """Add a float32 constant, or an int64 constant from a list; return its name."""
        return self.constant(np.asarray(values, np.int64 if isinstance(values, list) else np.float32))

    def constant(self, values: NDArray[Any] | np.generic) -> str:
        """Add a constant of any type; return its name."""
        name = f"{self.prefix}weight.{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def model(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], description: Description
    ) -> onnx.ModelProto:
        """Return the checked model."""
        graph = helper.make_graph(self.nodes, description.recipe, inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="carousel")
        helper.set_model_props(model, {METADATA_KEY: json.dumps(description.metadata())})
        onnx.checker.check_model(model, full_check=True)
        return model
