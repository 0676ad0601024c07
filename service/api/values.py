"""Sequences between JSON and arrays: WIRE's S. Pure; it names the place of whatever is wrong."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from service.errors import InvalidInput, InvalidRequest
from service.model import Column
from service.rows import Array

_NUMBERS = {int, float}  # bool is its own type, and is not a number


@dataclass(frozen=True)
class Sequenced:
    """Inputs [T, F] and whether they came as objects: the answer goes back in the same style."""

    inputs: Array
    objects: bool

    def outputs(self, outputs: Array, columns: Sequence[Column]) -> Any:
        """Outputs [T, K] in the style of the inputs, ready for JSON."""
        if not self.objects:
            return outputs
        names = [column.name for column in columns]
        return [dict(zip(names, step, strict=True)) for step in outputs]


def sequence(given: Any, features: Sequence[Column], place: str) -> Sequenced:
    """A list of steps, all lists of F numbers or all objects by feature name.

    Raises:
        InvalidInput: anything else; `detail` begins with the place.

    """
    if not isinstance(given, list):
        raise InvalidInput(f"{place}: not a list of steps")
    if not given:
        raise InvalidInput(f"{place}: empty")
    objects = isinstance(given[0], dict)
    steps = _in_order(given, features, place) if objects else given
    _check_steps(steps, features, place)
    flat = steps[0] if len(steps) == 1 else list(chain.from_iterable(steps))
    if not set(map(type, flat)) <= _NUMBERS:
        first = next(index for index, value in enumerate(flat) if type(value) not in _NUMBERS)
        raise InvalidInput(f"{_at(first, features, place, objects)}: not a number")
    with np.errstate(over="ignore"):
        inputs = np.frombuffer(array("d", flat)).astype(np.float32)  # NumPy reads a list at half the speed
    finite = np.isfinite(inputs)
    if not finite.all():
        raise InvalidInput(f"{_at(int(np.flatnonzero(~finite)[0]), features, place, objects)}: no finite float32")
    return Sequenced(inputs.reshape(len(steps), len(features)), objects)


def _in_order(given: list[Any], features: Sequence[Column], place: str) -> list[list[Any]]:
    """Objects as lists in feature order."""
    names = [column.name for column in features]
    known = set(names)
    steps = []
    for index, step in enumerate(given):
        if not isinstance(step, dict):
            raise InvalidInput(f"{place}[{index}]: not an object, as the first step is")
        if step.keys() != known:
            missing = [name for name in names if name not in step]
            unknown = [name for name in step if name not in known]
            what = f"no {missing[0]!r}" if missing else f"unknown feature {unknown[0]!r}"
            raise InvalidInput(f"{place}[{index}]: {what}; the model's features are {', '.join(names)}")
        steps.append([step[name] for name in names])
    return steps


def _check_steps(steps: list[Any], features: Sequence[Column], place: str) -> None:
    for index, step in enumerate(steps):
        if not isinstance(step, list):
            raise InvalidInput(f"{place}[{index}]: not a list of numbers{', as the first step is' if index else ''}")
        if len(step) != len(features):
            raise InvalidInput(f"{place}[{index}]: {len(step)} features, the model has {len(features)}")


def _at(index: int, features: Sequence[Column], place: str, objects: bool) -> str:
    """The place of the index-th number of a sequence."""
    step, column = divmod(index, len(features))
    return f"{place}[{step}].{features[column].name}" if objects else f"{place}[{step}][{column}]"


def fields(given: Any, place: str, required: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    """An object with these keys and types and no others.

    Raises:
        InvalidRequest: another type, a missing or an unknown key.

    """
    if not isinstance(given, dict):
        raise InvalidRequest(f"{place}: not an object")
    for key in required:
        if key not in given:
            raise InvalidRequest(f"{place}: no {key!r}")
    known = required | optional
    for key, value in given.items():
        if key not in known:
            raise InvalidRequest(f"{place}: unknown key {key!r}; known are {', '.join(known)}")
        kinds = known[key] if isinstance(known[key], tuple) else (known[key],)
        if object not in kinds and type(value) not in kinds:
            raise InvalidRequest(f"{place}.{key}: not {' or '.join(_KINDS[kind] for kind in kinds)}")
    return given


_KINDS = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
