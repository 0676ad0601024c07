"""What an undisturbed run answers: advances states of its own, step by step, beside the server."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from service.models import files
from service.models.model import Array, OnnxModel, State


class Reference(Protocol):
    """States of sessions, and how steps move them."""

    features: int

    def zero(self) -> State:
        """The state [1, …] of a new session."""

    def advance(self, states: Sequence[State], inputs: Sequence[Array]) -> list[tuple[Array, State]]:
        """Outputs [T, K] and the state after them, of each session."""

    def inputs(self, rng: np.random.Generator, steps: int) -> Array:
        """Random inputs [T, F]."""


class Sums:
    """A running sum of whole numbers: a lost, doubled, torn or leaked step is a wrong number."""

    features = 1

    def zero(self) -> State:
        return {"sum": np.zeros((1, 1), np.float32)}

    def advance(self, states: Sequence[State], inputs: Sequence[Array]) -> list[tuple[Array, State]]:
        outputs = [state["sum"] + one.cumsum(axis=0) for state, one in zip(states, inputs, strict=True)]
        return [(one, {"sum": one[-1:].copy()}) for one in outputs]

    def inputs(self, rng: np.random.Generator, steps: int) -> Array:
        return rng.integers(-9, 100, (steps, 1)).astype(np.float32)


class Network:
    """A model file, run by itself."""

    def __init__(self, path: Path) -> None:
        self._model = OnnxModel(*files.read(path))
        self.features = self._model.features

    def zero(self) -> State:
        return {name: np.zeros((1, *shape), np.float32) for name, shape in self._model.state_shapes.items()}

    def advance(self, states: Sequence[State], inputs: Sequence[Array]) -> list[tuple[Array, State]]:
        runs = [
            self._model.run(one[None], np.array([len(one)], np.int32), state)
            for state, one in zip(states, inputs, strict=True)
        ]
        return [(outputs[0], after) for outputs, after in runs]

    def inputs(self, rng: np.random.Generator, steps: int) -> Array:
        return rng.normal(size=(steps, self.features)).astype(np.float32)


def same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Whether two states are equal bit for bit."""
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)
