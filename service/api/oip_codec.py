"""Bodies of the Open Inference Protocol: a JSON header, and raw tensors behind it. Pure: it knows no models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote

import numpy as np
import orjson

from service.api import oip_tensors
from service.api.oip_tensors import KINDS
from service.errors import InvalidInput, InvalidRequest

if TYPE_CHECKING:
    from service.api.oip_tensors import Plan, Rows, Tensors
    from service.models.model import Array
    from service.models.turning import AnyArray

LENGTH = b"inference-header-content-length"
_MOST = 1024  # inputs, and outputs
_MOST_AXES = 16
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
        return f"{model}~{self.id}" if isinstance(self.id, int) else f"{model}~'{quote(self.id, safe='')}'"


class Header(NamedTuple):
    """What the JSON of a request says. `tensors` are the inputs whose `data` were read: flat arrays."""

    id: str | None
    sequence: Sequence | None
    timeout: float | None  # seconds
    inputs: list[dict[str, Any]]
    outputs: dict[str, bool]  # that are asked for, and whether as raw bytes; none: all
    binary: bool  # the others are to be raw bytes
    plan: dict[Tensors, Plan]  # of the model that it was sent to last


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
    return header_of(told)


def header_of(told: Any) -> Header:
    """What the parsed JSON of a request says. Raises as `header`."""
    how = _object(_typed(told, dict, "the request"), "parameters")
    inputs = _objects(told, "inputs")
    for place, one in enumerate(inputs):
        _check_input(one, f"inputs[{place}]")
    if len({one["name"] for one in inputs}) < len(inputs):
        raise InvalidRequest("inputs: a name comes twice")
    id, timeout = told.get("id"), how.get("timeout")
    if id is not None:
        _typed(id, str, "id")
    if timeout is not None and not 0 <= _typed(timeout, int, "parameters.timeout") < _MOST_INTEGER:
        raise InvalidRequest("parameters.timeout: not a number of microseconds")
    seconds = timeout / 1e6 if timeout else None  # 0 is none, as in Triton
    binary = _typed(how.get("binary_data_output", False), bool, "binary_data_output")
    outputs = _outputs(_objects(told, "outputs", least=0), binary=binary)
    return Header(id, _sequence(how), seconds, inputs, outputs, binary, {})


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
    if isinstance(id, str) and len(quote(id, safe="")) > _MOST_ID:
        raise InvalidRequest(f"sequence_id: more than {_MOST_ID} characters, as it stands in a URL")
    if not id and (start or end):
        raise InvalidRequest("sequence_start and sequence_end need a sequence_id other than 0 and the empty string")
    return Sequence(id, start, end) if id else None


def _outputs(outputs: list[dict[str, Any]], *, binary: bool) -> dict[str, bool]:
    """The outputs that a request names, and whether they are to be raw bytes."""
    found = {}
    for one in outputs:
        name, parameters = _typed(one.get("name"), str, "outputs: name"), _object(one, "parameters")
        for unknown in parameters.keys() & {"classification", "shared_memory_region"}:
            raise InvalidRequest(f"outputs: {unknown} is not supported")
        found[name] = _typed(parameters.get("binary_data", binary), bool, "binary_data")
    if len(found) < len(outputs):
        raise InvalidRequest("outputs: a name comes twice")
    return found


def _check_input(one: dict[str, Any], place: str) -> None:
    """Check an input, and put an array in the place of its `data`."""
    name, kind, shape = (one.get(key) for key in ("name", "datatype", "shape"))
    _typed(name, str, f"{place}.name")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidRequest(f"{place}: datatype {str(kind)[:20]}, not one of {', '.join(KINDS)}")
    if (
        not isinstance(shape, list)
        or len(shape) > _MOST_AXES
        or any(type(size) is not int or size < 0 for size in shape)
    ):
        raise InvalidRequest(f"{place}.shape: not a list of sizes")
    parameters = _object(one, "parameters")
    if "shared_memory_region" in parameters:
        raise InvalidRequest(f"{place}: shared_memory_region is not supported")
    size = parameters.get("binary_data_size")
    if (size is None) == ("data" not in one):
        raise InvalidRequest(f"{place}: give either data or the parameter binary_data_size")
    if size is not None and _typed(size, int, "binary_data_size") != math.prod(shape) * KINDS[kind].itemsize:
        raise InvalidRequest(f"{place}: binary_data_size is {size}; {kind} {shape} is another size")
    if size is None:
        one["data"] = _numbers(one["data"], KINDS[kind], math.prod(shape), place)


def _numbers(given: Any, kind: np.dtype[Any], count: int, place: str) -> AnyArray:
    """Nested or flat lists of numbers as a flat array."""
    taken: dict[str, set[type]] = {"f": {int, float}, "b": {bool}}
    try:
        while isinstance(given, list) and given and isinstance(given[0], list):
            given = list(chain.from_iterable(given))
        if not isinstance(given, list) or not set(map(type, given)) <= taken.get(kind.kind, {int}):
            raise TypeError
        with np.errstate(over="ignore"):
            numbers: AnyArray = np.array(given, np.float64 if kind.kind == "f" else kind).astype(kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{place}.data: not a list of numbers of its datatype") from error
    if len(numbers) != count:
        raise InvalidRequest(f"{place}.data: {len(numbers)} numbers; the shape has {count}")
    return numbers


def answer(told: Header, model: str, version: str, given: Rows, outputs: Array) -> tuple[dict[str, Any], bytes, int]:
    """The answer, the raw bytes behind it, and how many numbers are in it. `outputs` [ΣT, K] are of all rows."""
    view: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": []}
    raw, numbers = [], 0
    for (laid, _, binary), array in zip(given.outputs, oip_tensors.answers(given, outputs), strict=True):
        one: dict[str, Any] = {"name": laid.name, "datatype": laid.datatypes[0], "shape": array.shape}
        if binary:
            raw.append(array.tobytes())
            one["parameters"] = {"binary_data_size": array.nbytes}
        else:
            numbers += array.size
            one["data"] = array.ravel()
        view["outputs"].append(one)
    return view if told.id is None else view | {"id": told.id}, b"".join(raw), numbers


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
    """An object that may be left out: null says so too."""
    found = one.get(key)
    return {} if found is None else cast("dict[str, Any]", _typed(found, dict, key))


def _objects(told: dict[str, Any], key: str, least: int = 1) -> list[dict[str, Any]]:
    found = [] if told.get(key) is None else told[key]
    if not isinstance(found, list) or not least <= len(found) <= _MOST or any(type(one) is not dict for one in found):
        raise InvalidRequest(f"{key}: not a list of {least} to {_MOST} objects")
    return found
