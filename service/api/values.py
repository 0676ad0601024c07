"""Sequences between JSON and arrays: WIRE's S. Pure; it names the place of whatever is wrong."""

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from service.errors import InvalidInput, InvalidRequest
from service.models.model import Array

if TYPE_CHECKING:  # the process that reads large bodies runs no model
    from service.models.model import Column

_NUMBERS = {int, float}  # bool is its own type, and is not a number
_NOTHING: Array = np.empty((0, 0), np.float32)


class Steps(NamedTuple):
    """An S as columns, read before its model is known. What no model would take comes along as a fault."""

    inputs: Array  # [T, W]
    first: int | tuple[str, ...] | None  # what the first step is: W numbers, or numbers of these names; or neither
    fault: str = ""  # begins with the place in S


class Named(NamedTuple):
    """Outputs [T, K] that are written as objects."""

    names: list[str]
    outputs: Array

    @property
    def size(self) -> int:
        """How many numbers, as an array tells it."""
        return self.outputs.size


class Sequenced(NamedTuple):
    """Inputs [T, F] and whether they came as objects: the answer goes back in the same style."""

    inputs: Array
    objects: bool

    def outputs(self, outputs: Array, columns: "Sequence[Column]") -> Array | Named:
        """Outputs [T, K] in the style of the inputs."""
        return Named([column.name for column in columns], outputs) if self.objects else outputs


def sequence(given: Steps, features: "Sequence[Column]", place: str) -> Sequenced:
    """Steps that are all lists of F numbers, or all objects by feature name.

    Raises:
        InvalidInput: anything else; `detail` begins with the place.

    """
    inputs, first, fault = given
    if isinstance(first, int) and first != len(features):
        raise InvalidInput(f"{place}[0]: {_too_wide(first, len(features))}")
    if isinstance(first, tuple):
        inputs = _named(inputs, first, tuple(column.name for column in features), place)
    if fault:
        raise InvalidInput(place + fault)
    return Sequenced(inputs, objects=isinstance(first, tuple))


def _named(inputs: Array, given: tuple[str, ...], names: tuple[str, ...], place: str) -> Array:
    """Columns of the given names in the order of these."""
    if given == names:
        return inputs
    if set(given) != set(names):
        raise InvalidInput(f"{place}[0]: {_other_names(given, names)}")
    columns = {name: column for column, name in enumerate(given)}
    return np.take(inputs, [columns[name] for name in names], axis=1) if len(inputs) else inputs


def steps(given: Any) -> Steps:
    """What a parser made of an S, as columns."""
    if not isinstance(given, list):
        return Steps(_NOTHING, None, ": not a list of steps")
    if not given:
        return Steps(_NOTHING, None, ": empty")
    first = tuple(given[0]) if isinstance(given[0], dict) else len(given[0]) if isinstance(given[0], list) else None
    try:
        return Steps(_inputs(given, first), first)
    except InvalidInput as fault:
        return Steps(_NOTHING, first, fault.detail)


def _inputs(given: list[Any], first: int | tuple[str, ...] | None) -> Array:
    """Steps like the first one, [T, W]. Raises InvalidInput, whose detail begins with the place in S."""
    rows = _in_order(given, first) if isinstance(first, tuple) else given
    width = _width(rows)
    flat = rows[0] if len(rows) == 1 else list(chain.from_iterable(rows))
    if not set(map(type, flat)) <= _NUMBERS:
        wrong = next(index for index, value in enumerate(flat) if type(value) not in _NUMBERS)
        raise InvalidInput(f"{_at(wrong, first)}: not a number")
    with np.errstate(over="ignore"):
        inputs = np.array(array("d", flat)).astype(np.float32)  # NumPy reads a list at half the speed
    finite = np.isfinite(inputs)
    if not finite.all():
        raise InvalidInput(f"{_at(int(np.flatnonzero(~finite)[0]), first)}: no finite float32")
    return inputs.reshape(len(rows), width)


def _in_order(given: list[Any], names: tuple[str, ...]) -> list[list[Any]]:
    """Objects as lists in the order of the first."""
    known = set(names)
    rows = []
    for index, step in enumerate(given):
        if not isinstance(step, dict):
            raise InvalidInput(f"[{index}]: not an object, as the first step is")
        if step.keys() != known:
            raise InvalidInput(f"[{index}]: {_other_names(step, names)}")
        rows.append([step[name] for name in names])
    return rows


def _width(rows: list[Any]) -> int:
    """How many numbers each has."""
    for index, step in enumerate(rows):
        if not isinstance(step, list):
            raise InvalidInput(f"[{index}]: not a list of numbers{', as the first step is' if index else ''}")
        if len(step) != len(rows[0]):
            raise InvalidInput(f"[{index}]: {_too_wide(len(step), len(rows[0]))}")
    return len(rows[0])


def _too_wide(width: int, features: int) -> str:
    return f"{width} features, the model has {features}"


def _other_names(step: Iterable[str], names: Sequence[str]) -> str:
    """What is wrong with the names of a step that has not these."""
    missing = [name for name in names if name not in step]
    unknown = [name for name in step if name not in names]
    what = f"no {missing[0]!r}" if missing else f"unknown feature {unknown[0]!r}"
    return f"{what}; the model's features are {', '.join(names)}"


def _at(index: int, first: int | tuple[str, ...] | None) -> str:
    """The place of the index-th number of a sequence."""
    step, column = divmod(index, first if isinstance(first, int) else len(first or ()))
    return f"[{step}].{first[column]}" if isinstance(first, tuple) else f"[{step}][{column}]"


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
    for key, value in given.items():
        kind = required.get(key) or optional.get(key)
        if kind is None:
            known = ", ".join([*required, *optional])
            raise InvalidRequest(f"{place}: unknown key {key!r}; known are {known}")
        if kind is object or type(value) is kind:
            continue
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if type(value) not in kinds:
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
