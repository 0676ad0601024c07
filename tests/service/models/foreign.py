"""Graphs of other people's shapes and names, written as ONNX text, and how the service loads and runs them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser

from service.models.examiner import Examiner
from service.models.fitness import Fitness
from service.models.model import Array, OnnxModel, State

HEAD = '<ir_version: 9, opset_import: ["": 18, "com.microsoft": 1]>\n'


def write(path: Path, text: str, toml: str = "") -> Path:
    """Write a graph `name (inputs) => (outputs) {nodes}`, and a model.toml beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(onnx.parser.parse_model(HEAD + text).SerializeToString())
    if toml:
        path.with_name("model.toml").write_text(toml)
    return path


def load(path: Path) -> tuple[OnnxModel, Fitness]:
    examiner = Examiner()
    try:
        return examiner.load(path)
    finally:
        examiner.close()


def fresh(model: OnnxModel, rows: int) -> State:
    return {name: np.zeros((rows, *shape), np.float32) for name, shape in model.state_shapes.items()}


def run(model: OnnxModel, inputs: Any, state: State | None = None) -> tuple[Array, State]:
    """Run rows of one length [B, T, F], from the zero state if none is given."""
    values = np.asarray(inputs, np.float32)
    lengths = np.full(len(values), values.shape[1], np.int32)
    return model.run(values, lengths, fresh(model, len(values)) if state is None else state)


# Two states of one shape: `keep` a sum that decays, `seen` the last input.
TWO = """
g (float[batch, 1] x, float[batch, 1] {first}, float[batch, 1] {second})
  => (float[batch, 1] {second_after}, float[batch, 1] y, float[batch, 1] {first_after})
<float half = {{0.5}}, float ten = {{10}}>
{{
  decayed = Mul({first}, half)
  {first_after} = Add(decayed, x)
  {second_after} = Identity(x)
  tens = Mul({second}, ten)
  y = Add({first_after}, tens)
}}
"""


def two(values: Any) -> list[float]:
    """What TWO answers to a sequence."""
    total, last, answers = 0.0, 0.0, []
    for value in values:
        total = total / 2 + value
        answers.append(total + 10 * last)
        last = value
    return answers
