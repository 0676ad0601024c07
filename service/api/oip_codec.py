"""Bodies of the Open Inference Protocol: a JSON header, and raw tensors behind it. Pure: it knows no sessions.

A model of our contract takes `input` FP32 [B, T, F], or [B, F] for one step each, and `lengths` INT32 or INT64 [B]
where the rows differ; it answers `output` FP32 [B, T, K] or [B, K], zero behind a row's length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import numpy as np
import orjson

from service.errors import InvalidInput, InvalidRequest
from service.sessions.table import every

if TYPE_CHECKING:
    from service.models.model import Array

LENGTH = b"inference-header-content-length"
_KINDS: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT32": np.dtype("<i4"), "INT64": np.dtype("<i8")}
_INPUTS = {"input": ("FP32",), "lengths": ("INT32", "INT64")}
_MOST = 16  # inputs, outputs and dimensions
_MOST_ID = 256  # characters of a sequence id as it stands in a URL
_REMEMBERED = 512  # headers
_MOST_INTEGER = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Sequence:
    """The sequence of a request, and whether it begins and ends with it."""

    id: int | str
    start: bool
    end: bool

    def session(self, model: str) -> str:
        """The id of its session: one that `/v1` cannot create; the integer 42 is MODEL~42, the string MODEL~'42'."""
        return f"{model}~{self.id}" if isinstance(self.id, int) else f"{model}~'{quote(self.id)}'"


class Header(NamedTuple):
    """What the JSON of a request says. `tensors` are the inputs whose `data` were read: flat arrays."""

    id: str | None
    sequence: Sequence | None
    timeout: float | None  # seconds
    inputs: list[dict[str, Any]]
    binary: bool  # the output is to be raw bytes


class Rows(NamedTuple):
    """B sequences that lie one behind the other."""

    inputs: Array  # [ΣT, F]
    lengths: list[int]  # [B]
    shape: tuple[int, ...]  # of the tensor, without its last dimension


def split(content: bytes, length: bytes | None) -> tuple[bytes, memoryview]:
    """The JSON of a body and the bytes behind it. `length` is the header of the JSON's length, where it is given."""
    if length is None:
        return content, memoryview(b"")
    if not (length.isdigit() and len(length) <= 18 and int(length) <= len(content)):
        told = length[:30].decode("latin-1")
        raise InvalidRequest(f"Inference-Header-Content-Length is {told}; the body has {len(content)} bytes")
    return content[: int(length)], memoryview(content)[int(length) :]


def header(text: bytes) -> Header:
    """Read the JSON of a request.

    Raises:
        InvalidRequest: it is not JSON, or not such an object.
        InvalidInput: data are not numbers of their datatype.

    """
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the request is not JSON: {error}") from error
    how = _object(_typed(told, dict, "the request"), "parameters")
    inputs = _objects(told, "inputs")
    for place, one in enumerate(inputs):
        _check_input(one, f"inputs[{place}]")
    if len({one["name"] for one in inputs}) < len(inputs):
        raise InvalidRequest("inputs: a name comes twice")
    id, timeout = told.get("id"), how.get("timeout")
    if id is not None:
        _typed(id, str, "id")
    if timeout is not None and not 0 < _typed(timeout, int, "parameters.timeout") < _MOST_INTEGER:
        raise InvalidRequest("parameters.timeout: not a number of microseconds")
    seconds = None if timeout is None else timeout / 1e6
    return Header(id, _sequence(how), seconds, inputs, _binary(_objects(told, "outputs", least=0), how))


@lru_cache(_REMEMBERED)
def header_of_raw(text: bytes) -> Header:
    """As `header`, of a short one with raw bytes behind it: those of one client hardly differ."""
    return header(text)


def _sequence(how: dict[str, Any]) -> Sequence | None:
    """The sequence that the parameters name; 0 and "" are none."""
    id = how.get("sequence_id", 0)
    start, end = (_typed(how.get(name, False), bool, name) for name in ("sequence_start", "sequence_end"))
    if type(id) not in (int, str) or (isinstance(id, int) and not 0 <= id <= _MOST_INTEGER):
        raise InvalidRequest("sequence_id: neither an unsigned integer of 64 bits nor a string")
    if isinstance(id, str) and len(quote(id)) > _MOST_ID:
        raise InvalidRequest(f"sequence_id: more than {_MOST_ID} characters, as it stands in a URL")
    if not id and (start or end):
        raise InvalidRequest("sequence_start and sequence_end need a sequence_id other than 0 and the empty string")
    return Sequence(id, start, end) if id else None


def _binary(outputs: list[dict[str, Any]], how: dict[str, Any]) -> bool:
    """Whether the output is to be raw bytes."""
    binary = _typed(how.get("binary_data_output", False), bool, "binary_data_output")
    if len(outputs) > 1:
        raise InvalidRequest("outputs: the model has one, 'output'")
    for one in outputs:
        if one.get("name") != "output":
            raise InvalidRequest(f"outputs: no output {str(one.get('name'))[:100]!r}; the model has 'output'")
        parameters = _object(one, "parameters")
        for name in parameters.keys() & {"classification", "shared_memory_region"}:
            raise InvalidRequest(f"outputs: {name} is not supported")
        binary = _typed(parameters.get("binary_data", binary), bool, "binary_data")
    return bool(binary)


def _check_input(one: dict[str, Any], place: str) -> None:
    """Check an input, and put an array in the place of its `data`."""
    name, kind, shape = (one.get(key) for key in ("name", "datatype", "shape"))
    if not isinstance(name, str) or name not in _INPUTS:
        hidden = "; states are kept by the server: name a sequence_id" if str(name).startswith("state.") else ""
        raise InvalidRequest(f"{place}: no input {str(name)[:100]!r}; the model takes 'input' and 'lengths'{hidden}")
    if kind not in _INPUTS[name]:
        raise InvalidRequest(f"{place}: datatype {str(kind)[:20]}; {name!r} is {' or '.join(_INPUTS[name])}")
    if not isinstance(shape, list) or len(shape) > _MOST or any(type(size) is not int or size < 0 for size in shape):
        raise InvalidRequest(f"{place}.shape: not a list of sizes")
    size = _object(one, "parameters").get("binary_data_size")
    if (size is None) == ("data" not in one):
        raise InvalidRequest(f"{place}: give either data or the parameter binary_data_size")
    if size is not None and _typed(size, int, "binary_data_size") != math.prod(shape) * _KINDS[kind].itemsize:
        raise InvalidRequest(f"{place}: binary_data_size is {size}; {kind} {shape} is another size")
    if size is None:
        one["data"] = _numbers(one["data"], _KINDS[kind], math.prod(shape), place)


def _numbers(given: Any, kind: np.dtype[Any], count: int, place: str) -> Array:
    """Nested or flat lists of numbers as a flat array."""
    try:
        while isinstance(given, list) and given and isinstance(given[0], list):
            given = list(chain.from_iterable(given))
        if not isinstance(given, list) or not set(map(type, given)) <= ({int, float} if kind == "<f4" else {int}):
            raise TypeError
        with np.errstate(over="ignore"):
            numbers: Array = np.array(given, np.float64 if kind == "<f4" else kind).astype(kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{place}.data: not a list of numbers of its datatype") from error
    if len(numbers) != count:
        raise InvalidRequest(f"{place}.data: {len(numbers)} numbers; the shape has {count}")
    return numbers


def rows(told: Header, raw: memoryview, features: int) -> Rows:
    """The sequences of a request, for a model with so many features.

    Raises:
        InvalidRequest: the raw bytes do not add up.
        InvalidInput: a shape or a value that the model cannot take.

    """
    tensors: dict[str, tuple[Array, tuple[int, ...]]] = {}
    at = 0
    for one in told.inputs:
        kind, values, shape = _KINDS[one["datatype"]], one.get("data"), one["shape"]
        if values is None:
            end = at + one["parameters"]["binary_data_size"]
            if end > len(raw):
                break
            values, at = np.frombuffer(raw[at:end], kind), end
        tensors[one["name"]] = values, tuple(shape)
    if at != len(raw) or len(tensors) < len(told.inputs):
        raise InvalidRequest(f"{len(raw)} raw bytes stand behind the JSON; the inputs name another size")
    if "input" not in tensors:
        raise InvalidRequest("inputs: 'input' is missing")
    values, shape = tensors["input"]
    if len(shape) not in (2, 3) or shape[-1] != features or not values.size:
        raise InvalidInput(f"input: shape {[*shape]}; the model takes [batch, time, {features}] or [batch, {features}]")
    if not values.flags.aligned:
        values = values.copy()
    if not every(np.isfinite(values)):
        raise InvalidInput(
            f"input: the number at {int(np.flatnonzero(~np.isfinite(values))[0])} is not a finite float32"
        )
    B, T = shape[0], shape[1] if len(shape) == 3 else 1
    steps: Array = values.reshape(B * T, features)
    if "lengths" not in tensors:
        return Rows(steps, [T] * B, shape[:-1])
    lengths, told_shape = tensors["lengths"]
    if told_shape not in ((B,), (B, 1)) or lengths.min() < 1 or lengths.max() > T:
        raise InvalidInput(f"lengths: not {B} numbers from 1 to {T}")
    inside = np.arange(T) < lengths.reshape(B, 1)  # [B, T]
    return Rows(steps[inside.ravel()], [int(length) for length in lengths.flat], shape[:-1])


def answer(told: Header, model: str, version: str, given: Rows, outputs: Array) -> tuple[dict[str, Any], Array]:
    """The answer but for its numbers, and the numbers [B, T, K] or [B, K]. `outputs` [ΣT, K] are of all rows."""
    T, K = given.shape[1] if len(given.shape) == 2 else 1, outputs.shape[1]
    if len(outputs) < len(given.lengths) * T:
        padded = np.zeros((len(given.lengths) * T, K), np.float32)
        padded[(np.arange(T) < np.array(given.lengths)[:, None]).ravel()] = outputs
        outputs = padded
    outputs = np.ascontiguousarray(outputs, "<f4")
    output: dict[str, Any] = {"name": "output", "datatype": "FP32", "shape": [*given.shape, K]}
    if told.binary:
        output["parameters"] = {"binary_data_size": outputs.nbytes}
    view = {"model_name": model, "model_version": version, "outputs": [output]}
    return view if told.id is None else view | {"id": told.id}, outputs


def starting(sequence: Sequence, model: str) -> InvalidRequest:
    """The refusal of a step of a sequence that is not there."""
    return InvalidRequest(
        f"inference request for sequence {sequence.id!r} to model {model!r}"
        " must specify the START flag on the first request of the sequence"
    )


def _typed(value: Any, kind: type, place: str) -> Any:
    if type(value) is not kind:
        raise InvalidRequest(f"{place}: not {'an object' if kind is dict else kind.__name__}")
    return value


def _object(one: dict[str, Any], key: str) -> dict[str, Any]:
    found: dict[str, Any] = _typed(one.get(key, {}), dict, key)
    return found


def _objects(told: dict[str, Any], key: str, least: int = 1) -> list[dict[str, Any]]:
    found = told.get(key, [])
    if not isinstance(found, list) or not least <= len(found) <= _MOST or any(type(one) is not dict for one in found):
        raise InvalidRequest(f"{key}: not a list of {least} to {_MOST} objects")
    return found
