"""Sequences as callers hold them, to and from WIRE's `S`; knows styles, not models.

A sequence is a NumPy array [T, F], a list of T lists of F numbers, or a list of T dicts by feature name. A lone step
is a 1-D array [F], a list of F numbers or a dict; a dict may hold a category's label. Outputs come back in the style
of the inputs: float32 arrays [T, K] for arrays, one step for one step.
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from carousel_client.errors import InvalidInput, InvalidRequest

T = TypeVar("T")
S = TypeVar(
    "S",
    NDArray[Any],
    Sequence[float],
    Sequence[Sequence[float]],
    Mapping[str, float],
    Mapping[str, float | str],  # a category's label for its code
    Sequence[Mapping[str, float]],
    Sequence[Mapping[str, float | str]],
)


@dataclass(frozen=True, slots=True)
class Encoded(Generic[S]):
    """One sequence on its way out, and how its outputs are to come back."""

    steps: list[Any]  # WIRE's S: one entry a time step
    array: bool  # outputs as a float32 array
    lone: bool  # the caller gave one bare step and gets one bare step

    @property
    def named(self) -> bool:
        """Whether the outputs come as objects by name."""
        return bool(self.steps) and isinstance(self.steps[0], Mapping)

    def decode(self, outputs: Any) -> S:
        """WIRE's outputs in the caller's style."""
        if self.array:
            outputs = np.asarray(outputs, dtype=np.float32)  # [time, output]
        return cast(S, outputs[0] if self.lone else outputs)


def forecast(inputs: Any, steps: int) -> tuple[dict[str, Any], Encoded[Any]]:
    """What a forecast asks for, and a sequence whose outputs come back as those of the forecast: one a step of both."""
    given = Encoded([], array=True, lone=False) if inputs is None else encode(inputs)
    asked = ({} if inputs is None else {"inputs": given.steps}) | ({"steps": steps} if steps else {})
    style = given.steps[-1:] or [[]]
    return asked, Encoded([*given.steps, *style * steps], given.array, lone=False)


def encode(inputs: S) -> Encoded[S]:
    """Read the style off the inputs. Raises InvalidInput where they are in none of the styles."""
    if isinstance(inputs, np.ndarray):
        return _encode_array(inputs)
    if isinstance(inputs, Mapping):
        return Encoded([inputs], array=False, lone=True)
    if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes):
        lone = len(inputs) > 0 and isinstance(inputs[0], numbers.Real)
        return Encoded([inputs] if lone else list(inputs), array=False, lone=lone)
    raise InvalidInput(f"a sequence is an array [T, F] or a list of lists or dicts, not {type(inputs).__name__}")


def listed(ids: Iterable[T]) -> list[T]:
    """Ids as a list. Raises InvalidRequest for one id alone, whose letters would be taken for ids."""
    if isinstance(ids, str):
        raise InvalidRequest(f"a list of ids is wanted, not {ids!r} alone")
    return list(ids)


def _encode_array(inputs: NDArray[Any]) -> Encoded[Any]:
    if inputs.dtype.kind not in "fiu":
        raise InvalidInput(f"an array of numbers is wanted, not of {inputs.dtype}")
    if inputs.ndim not in {1, 2}:
        raise InvalidInput(f"a sequence is an array [T, F], a lone step [F]; this array has shape {list(inputs.shape)}")
    if np.ma.is_masked(inputs):
        raise InvalidInput("an array without masked numbers is wanted")
    steps = np.atleast_2d(inputs) if inputs.size or inputs.ndim == 2 else inputs
    return Encoded(steps.tolist(), array=True, lone=inputs.ndim == 1)


def to_json(body: Mapping[str, Any]) -> bytes:
    """The body as JSON, floats with all their bits. Raises InvalidInput for what is no finite number."""
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"not finite numbers: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return list(value)
    if isinstance(value, np.longdouble):  # is its own `tolist`
        return float(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays inside lists
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no number")
