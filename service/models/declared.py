"""`model.toml`, which may lie beside a model file and says what the file does not. Pure but for reading it.

providers = ["cuda", "cpu"]
lengths = "x_lens"
inputs = ["x"]

[state]
h0 = "hn"

[shapes]
x = ["batch", "time", 80]

[constants]
sample_rate = 16000

[initial]
h0 = 0.5
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from service.errors import ModelUnusable

MOST_BYTES = 2**20


@dataclass(frozen=True)
class Declared:
    """What `model.toml` says; every key is optional."""

    state: Mapping[str, str] = field(default_factory=dict)  # the next one of input is output
    inputs: tuple[str, ...] = ()  # the sequences; other inputs are states and constants
    outputs: tuple[str, ...] = ()  # those that are answered, in this order
    lengths: str | None = None
    shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)  # of inputs; "batch" and "time" are free
    constants: Mapping[str, Any] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    providers: tuple[str, ...] = ()  # that run it, by short names, instead of those of the service

    @property
    def names_of_inputs(self) -> set[str]:
        """All inputs that it names."""
        return {*self.state, *self.inputs, *self.shapes, *self.constants, *self.initial} | (
            {self.lengths} if self.lengths else set()
        )

    @property
    def names_of_outputs(self) -> set[str]:
        """All outputs that it names."""
        return {*self.state.values(), *self.outputs}

    @staticmethod
    def unfit(name: str, value: Any, shape: tuple[int, ...]) -> Iterator[str]:
        """Why a value is none of such a shape: a number stands for all of them."""
        try:
            array = np.asarray(value, np.float64)
            if array.shape in ((), shape) and np.isfinite(array).all():
                return
            yield f"{name!r} takes a number or lists of the shape {list(shape)}, not {list(array.shape)}"
        except (ValueError, TypeError):
            yield f"{name!r} takes numbers, not {str(value)[:40]!r}"


def parse(content: bytes) -> Declared:
    """Read the content of a `model.toml`.

    Raises:
        ModelUnusable: it is no TOML, or has other keys or types.

    """
    try:
        if len(content) > MOST_BYTES:
            raise ValueError(f"it has {len(content)} bytes, more than {MOST_BYTES}")
        told = tomllib.loads(content.decode())
        return _declared(told)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelUnusable(f"model.toml cannot be read: {error}") from error


def _declared(told: dict[str, Any]) -> Declared:
    known = {one.name for one in fields(Declared)}
    if unknown := [key for key in told if key not in known]:
        raise ValueError(f"it has {', '.join(map(repr, unknown))}; the keys are {', '.join(sorted(known))}")
    for key in ("state", "shapes", "constants", "initial"):
        if not isinstance(told.setdefault(key, {}), dict):
            raise TypeError(f"{key} is a table")
    for key in ("inputs", "outputs", "providers"):
        if not all(isinstance(name, str) for name in _list(told.setdefault(key, []), key)):
            raise TypeError(f"{key} is a list of names")
        told[key] = tuple(told[key])
    if not all(isinstance(name, str) for name in (*told["state"].values(), told.get("lengths") or "")):
        raise TypeError("state and lengths tell names")
    told["shapes"] = {name: tuple(_sizes(shape, name)) for name, shape in told["shapes"].items()}
    return Declared(**told)


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{key} is a list")
    return value


def _sizes(shape: Any, name: str) -> Iterator[int | str]:
    for size in _list(shape, f"shapes.{name}"):
        if size not in ("batch", "time") and (type(size) is not int or size < 1):
            raise TypeError(f'shapes.{name}: {size!r} is neither a size nor "batch" or "time"')
        yield size
