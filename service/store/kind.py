"""What all sessions of an engine have in common, and their states as rows of numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import Array, State


class Kind(NamedTuple):
    """What all sessions of an engine have in common. `shapes` are those of the states, in order."""

    model: str
    version: str
    digest: str
    shapes: Mapping[str, Sequence[int]]
    outputs: int

    @classmethod
    def of(cls, engine: Engine) -> Kind:
        """The kind of the sessions of an engine."""
        shapes = {name: array.shape[1:] for name, array in engine.table.state.items()}
        return cls(engine.name, engine.version, engine.digest, shapes, engine.model.outputs)

    @property
    def served_as(self) -> tuple[str, str]:
        """Model and version."""
        return self.model, self.version

    @property
    def file(self) -> bytes:
        """What journal entries name the model's file by."""
        return bytes.fromhex(self.digest)[:8].ljust(8, b"\0")

    @property
    def width(self) -> int:
        """Numbers of a state."""
        return sum(map(math.prod, self.shapes.values()))

    def encode(self) -> bytes:
        """The bytes that `decode` reads."""
        return orjson.dumps(self._asdict())


@lru_cache
def decode(encoded: bytes) -> Kind:
    """Read what `Kind.encode` wrote."""
    return Kind(**orjson.loads(encoded))


def flat(state: State, count: int) -> Array:
    """States [n, …] as one row of numbers each."""
    parts = [array.reshape(count, -1) for array in state.values()]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty((count, 0), np.float32), *parts], axis=1)


def shaped(numbers: Array, shapes: Mapping[str, Sequence[int]]) -> State:
    """The states [n, …] that `flat` made one row of numbers each."""
    state, first = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        state[name] = np.ascontiguousarray(numbers[:, first : first + size], np.float32).reshape(-1, *shape)
        first += size
    return state
