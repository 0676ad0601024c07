"""Check what a JSON body holds: objects with known keys, and sequences of steps. Pure.

Every error names the place at fault, `inputs[17][2]: not a number`.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput, InvalidRequest, UnknownLabel

if TYPE_CHECKING:  # the process that parses large bodies must not load onnxruntime
    from service.models.description import Column

Array = NDArray[np.float32]

_NUMBERS = {int, float}  # the type of true and false is bool
_NOTHING: Array = np.empty((0, 0), np.float32)


class Steps(NamedTuple):
    """A sequence of steps as parsed, before its model is known."""

    inputs: Array  # [T, W]; empty where `fault` is set
    first: int | tuple[str, ...] | None  # the first step: its W numbers, or the names of its numbers; None: neither
    fault: str = ""  # what no model takes; begins with the place within the sequence
    words: Sequence[tuple[int, str]] = ()  # of steps by name: where a word stands for a number, and which; 0 is there


class Named(NamedTuple):
    """Outputs [T, K] to be written as objects."""

    names: list[str]
    outputs: Array

    @property
    def size(self) -> int:
        """Count of numbers, as of an array."""
        return self.outputs.size


class Packed(NamedTuple):
    """Many sequences without a fault whose first steps are alike, one behind the other."""

    steps: Steps
    lengths: list[int]


class Split(NamedTuple):
    """Outputs [ΣT, K] of several sequences, each to be written in the style of its inputs."""

    outputs: Array
    lengths: list[int]
    names: list[str]
    objects: list[bool]  # by sequence: the style is objects, with these names

    def parts(self) -> list[Array | Named]:
        """The outputs of each sequence."""
        ends = accumulate(self.lengths)
        each = [self.outputs[end - length : end] for end, length in zip(ends, self.lengths, strict=True)]
        return [Named(self.names, one) if named else one for one, named in zip(each, self.objects, strict=True)]


class Sequenced(NamedTuple):
    """Checked inputs [T, F], and whether they came as objects: outputs are written in the same style."""

    inputs: Array
    objects: bool

    def outputs(self, outputs: Array, columns: "Sequence[Column]") -> Array | Named:
        """Outputs [T, K] in the style of the inputs."""
        return Named([column.name for column in columns], outputs) if self.objects else outputs


def sequence(given: Steps, features: "Sequence[Column]", place: str) -> Sequenced:
    """Check steps against the features of a model; steps by name are put into the model's order.

    Raises:
        InvalidInput: they are not all lists of F numbers, or all objects with the F names.

    """
    inputs, first, fault, words = given
    if isinstance(first, int) and first != len(features):
        raise InvalidInput(f"{place}[0]: {_other_width(first, len(features))}")
    if isinstance(first, tuple):
        inputs = _in_model_order(inputs, first, features, place)
        if words:
            inputs = _with_codes(inputs, first, words, features, place)
    if fault:
        raise InvalidInput(place + fault)
    return Sequenced(inputs, objects=isinstance(first, tuple))


def pack(given: list[Steps]) -> list[Steps] | list[Packed]:
    """One `Packed` in place of sequences without words, where that can be."""
    firsts = {one.first for one in given}
    if len(firsts) != 1 or None in firsts or any(one.fault or one.words for one in given):
        return given
    inputs = np.concatenate([one.inputs for one in given])
    return [Packed(Steps(inputs, given[0].first), [len(one.inputs) for one in given])]


def _in_model_order(inputs: Array, given: tuple[str, ...], features: "Sequence[Column]", place: str) -> Array:
    """Put numbers into the model's order. A few names are refused by a look at a few of the model's."""
    names = tuple(column.name for column in features) if len(given) == len(features) else None
    if given == names:
        return inputs
    if names is None or set(given) != set(names):
        raise InvalidInput(f"{place}[0]: {_other_names(given, features)}")
    columns = {name: column for column, name in enumerate(given)}
    return np.take(inputs, [columns[name] for name in names], axis=1) if len(inputs) else inputs


def _with_codes(
    inputs: Array, first: tuple[str, ...], words: Iterable[tuple[int, str]], features: "Sequence[Column]", place: str
) -> Array:
    """Inputs with the codes of words, which must be labels of their features."""
    known = {column.name: (at, column.labels) for at, column in enumerate(features)}
    coded = inputs.copy()
    for index, word in words:
        at, labels = known[first[index % len(first)]]
        if word not in labels:
            where = place + _at(index, first)
            raise UnknownLabel(where, word, labels) if labels else InvalidInput(f"{where}: not a number")
        if len(coded):  # else there is a fault, which is told next
            coded[index // len(first), at] = labels[word]
    return coded


def steps(given: Any) -> Steps:
    """Convert a parsed sequence, lists or objects, to an array; a fault is kept until the model is known."""
    if not isinstance(given, list):
        return Steps(_NOTHING, None, ": not a list of steps")
    if not given:
        return Steps(_NOTHING, None, ": empty")
    first = tuple(given[0]) if isinstance(given[0], dict) else len(given[0]) if isinstance(given[0], list) else None
    words: list[tuple[int, str]] = []
    try:
        return Steps(_numbers(given, first, words), first, "", words)
    except InvalidInput as fault:
        return Steps(_NOTHING, first, fault.detail, words)


def _numbers(given: list[Any], first: int | tuple[str, ...] | None, words: list[tuple[int, str]]) -> Array:
    """Numbers [T, W] of steps that are all like the first one; `words` takes those of steps by name.

    Raises InvalidInput.
    """
    rows = _in_first_order(given, first) if isinstance(first, tuple) else given
    width = _width(rows)
    flat = rows[0] if len(rows) == 1 else list(chain.from_iterable(rows))
    if not set(map(type, flat)) <= _NUMBERS:
        for index in [index for index, value in enumerate(flat) if type(value) not in _NUMBERS]:
            if type(flat[index]) is not str or not isinstance(first, tuple):
                raise InvalidInput(f"{_at(index, first)}: not a number")
            words.append((index, flat[index]))
            flat[index] = 0
    with np.errstate(over="ignore"):
        inputs = np.array(array("d", flat)).astype(np.float32)  # NumPy reads a list at half the speed
    finite = np.isfinite(inputs)
    if not finite.all():
        raise InvalidInput(f"{_at(int(np.flatnonzero(~finite)[0]), first)}: no finite float32")
    return inputs.reshape(len(rows), width)


def _in_first_order(given: list[Any], names: tuple[str, ...]) -> list[list[Any]]:
    """Objects as lists, in the order of names of the first object."""
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
    """Count of numbers in each row. Raises InvalidInput: the rows differ."""
    for index, step in enumerate(rows):
        if not isinstance(step, list):
            raise InvalidInput(f"[{index}]: not a list of numbers{', as the first step is' if index else ''}")
        if len(step) != len(rows[0]):
            raise InvalidInput(f"[{index}]: {_other_width(len(step), len(rows[0]))}")
    return len(rows[0])


def _other_width(width: int, features: int) -> str:
    return f"{width} features, the model has {features}"


_SHOWN = 100  # names listed in one message; a table of thousands of columns would make each error a megabyte


def _other_names(step: Iterable[str], expected: "Sequence[str | Column]") -> str:
    """Describe how the names of a step differ from those expected, or from those of these columns."""
    given = set(step)
    missing = next((name for name in map(_name, expected) if name not in given), None)
    if missing is None:
        known = set(map(_name, expected))
        what = f"unknown feature {next(name for name in step if name not in known)[:_SHOWN]!r}"
    else:
        what = f"no {missing!r}"
    more = f" and {len(expected) - _SHOWN} more" if len(expected) > _SHOWN else ""
    return f"{what}; the model's features are {', '.join(map(_name, expected[:_SHOWN]))}{more}"


def _name(one: "str | Column") -> str:
    return one if isinstance(one, str) else one.name


def _at(index: int, first: int | tuple[str, ...] | None) -> str:
    """The place of the index-th number of a sequence."""
    step, column = divmod(index, first if isinstance(first, int) else len(first or ()))
    return f"[{step}].{first[column]}" if isinstance(first, tuple) else f"[{step}][{column}]"


def fields(given: Any, place: str, required: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    """Check that an object has these keys and types and no others; the type `object` stands for any.

    Raises:
        InvalidRequest: not an object, another type, a missing or an unknown key.

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
            raise InvalidRequest(f"{place}: unknown key {key[:_SHOWN]!r}; known are {known}")
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if kind is not object and type(value) not in kinds:
            raise InvalidRequest(f"{place}.{key}: not {' or '.join(_KINDS[kind] for kind in kinds)}")
    return given


_KINDS = {
    str: "a string",
    int: "a whole number of 64 bits",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
