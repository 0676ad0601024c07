"""JSON in and out: texts become objects whose sequences are arrays, and arrays become texts. Pure.

There are two parsers. The fast one (simdjson) reads numbers straight into arrays and takes only what load looks like:
a predict in a fourth of the time. Whatever it does not take goes to the complete one (orjson), which names what is
wrong. They agree on everything that the fast one takes.
"""

import json
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from simdjson import Array as List
from simdjson import Object, Parser

from service.api.json.fields import Named, Split, Steps, steps
from service.errors import InvalidRequest, PayloadTooLarge

MOST = 2**16  # sequences or items of a call

_FEW = 2048  # bytes, of which it is faster to count them as text
_KEYS = 64  # of an object; none of the wire has as many
_MOST_VALUES = 2**12  # constants, or first states
SAFE = 1e76  # of numbers whose squares sum to less, each has a finite nearest float32
_PARSED = 2**23  # bytes; the parser keeps its memory for texts up to this: new memory takes as long as the parsing
_SEQUENCES = ("inputs", "history")  # keys whose value is a sequence of steps
_VALUES = ("constants", "initial")  # keys whose value is an object of arrays
_LISTS = ("sequences", "items", "ids")  # keys whose value is a list of things that are counted

FAULTS = (ValueError, TypeError, LookupError, RuntimeError, AttributeError)  # that the parser raises

_parser = Parser()  # shared on the thread: each call parses and drops the result before it returns


def parse(text: bytes | str, most: int = MOST) -> dict[str, Any]:
    """Parse a JSON object: each sequence becomes `Steps`, a constant or first state an array, or None if it is none.

    Any list that the wire does not know becomes empty.

    Raises:
        InvalidRequest: not UTF-8, not JSON (NaN and Infinity are not), or not an object.
        PayloadTooLarge: more than `most` sequences or items; they are counted before anything is built for them.

    """
    content = text.encode() if isinstance(text, str) else text
    read = parse_fast(content, things(content), most)
    return parse_any(content, most) if read is None else read


def things(text: bytes) -> int:
    """How many lists and objects a text has at most."""
    if len(text) < _FEW:
        return text.count(b"[") + text.count(b"{")
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) | 32 == ord("{")))  # `[` is the one with 32 less


def parse_fast(text: bytes, count: int, most: int = MOST) -> dict[str, Any] | None:
    """Parse a text with so many `things` that looks like load; None: it does not."""
    if text[:1] != b"{" or b"\\" in text:  # simdjson skips a byte order mark, and cuts a key at \u0000
        return None
    if text.find(b"{", 1) > 0 and b'"items"' not in text:  # steps by name
        return None
    parser = _parser if len(text) <= _PARSED else Parser()
    try:
        columns, found = _fast_object(parser.parse(text), most)
    except FAULTS:
        return None
    return columns if found == count else None  # otherwise a list stood where a number was expected


def parse_any(text: bytes, most: int = MOST) -> dict[str, Any]:
    """Parse any text. Raises as `parse`."""
    content = _loads(text)
    if not isinstance(content, dict):
        raise InvalidRequest("the body is not a JSON object")
    columns: dict[str, Any] = _columns(content, most)
    return columns


def dump(content: Any) -> bytes:
    """Write JSON; a float32 is written as the shortest decimal that reads back to the same bits."""
    return orjson.dumps(content, _other, orjson.OPT_SERIALIZE_NUMPY)


def _other(value: Any) -> Any:
    """What orjson does not write itself: arrays that are not contiguous, and outputs as objects.

    Numbers are put between the names as texts, since that is cheaper than building dicts.
    """
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value)
    if isinstance(value, Split):
        return value.parts()
    if not isinstance(value, Named):
        raise TypeError(type(value).__name__)
    numbers = dump(value.outputs.ravel())[1:-1].split(b",")
    step = b",".join(dump(name).replace(b"%", b"%%") + b":%b" for name in value.names)
    steps = b",".join([b"{%b}" % step] * len(value.outputs)) % tuple(numbers)
    return orjson.Fragment(b"[%b]" % steps)


def _fast_object(content: Any, most: int) -> tuple[dict[str, Any], int]:
    """What `_columns` makes of an object without objects other than items, and how many lists and objects that are."""
    if type(content) is not Object or len(content) > _KEYS:  # to look a key up takes a look at all before it
        raise TypeError
    columns: dict[str, Any] = {}
    found = 1
    for key in content:
        value = content[key]
        if key in _SEQUENCES:
            columns[key] = _fast_steps(value)
            found += 1 + len(columns[key].inputs)
        elif type(value) is Object:
            raise TypeError
        elif type(value) is not List:
            columns[key] = value
        elif key in _LISTS:
            _count(key, len(value), most)
            columns[key], inner = _fast_list(key, value, most)
            found += 1 + inner
    if len(content) != len(columns):
        raise ValueError  # a key that comes twice: simdjson finds the first, but the last one counts
    return columns, found


def _fast_list(key: str, given: Any, most: int) -> tuple[list[Any], int]:
    if key == "items":
        items = [_fast_object(one, most) for one in given]
        return [item for item, _ in items], sum(count for _, count in items)
    sequences = [_fast_steps(one) for one in given]
    return sequences, sum(1 + len(one.inputs) for one in sequences)


def _fast_steps(given: Any) -> Steps:
    if type(given) is not List:
        raise TypeError
    (width,) = set(map(len, given))  # type: ignore[arg-type]  # raises where a step has no length
    numbers = np.ndarray((len(given), width), np.float64, given.as_buffer(of_type="d"))
    if not np.vdot(numbers, numbers) < SAFE:
        raise ValueError
    return Steps(numbers.astype(np.float32), width)


def _columns(content: Any, most: int, depth: int = 0) -> Any:
    """Convert sequences to `Steps`, and drop what stands where the wire has nothing."""
    if isinstance(content, list):
        return []
    if not isinstance(content, dict):
        return content
    if depth > 2:
        return {}
    if len(content) > _KEYS:
        raise InvalidRequest(f"an object has {len(content)} keys; none has more than {_KEYS}")
    columns: dict[str, Any] = {}
    for key, value in content.items():
        if key in _SEQUENCES:
            columns[key] = steps(value)
        elif key in _VALUES and isinstance(value, dict):
            _count(key, len(value), _MOST_VALUES)
            columns[key] = {name: numbers(one) for name, one in value.items()}
        elif key in _LISTS and isinstance(value, list):
            _count(key, len(value), most)
            columns[key] = [steps(one) if key == "sequences" else _columns(one, most, 1) for one in value]
        else:
            columns[key] = _columns(value, most, depth + 1)
    return columns


def numbers(value: Any) -> NDArray[np.float64] | None:
    """Numbers whose float32 is finite, from nested lists of one shape; None: it is something else."""
    with suppress(ValueError, OverflowError), np.errstate(over="ignore"):
        array = np.asarray(value)
        finite = array.dtype.kind in "iuf" and np.isfinite(array.astype(np.float32)).all()
        if finite and bool not in map(type, np.asarray(value, object).reshape(-1).tolist()):
            return array.astype(np.float64)
    return None


def _count(key: str, count: int, most: int) -> None:
    if count > most:
        raise PayloadTooLarge(f"{count} {key}; a call has at most {most}")


def _loads(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _loads_lenient(text, error)


def _loads_lenient(text: bytes, error: orjson.JSONDecodeError) -> Any:
    """Parse what orjson refuses though it is JSON: 1e400 is a number, only not a finite one."""
    if "infinity" not in str(error):
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    try:
        content = json.loads(text, parse_constant=_no_constant, parse_int=_integer)
        orjson.dumps(content)  # a lone surrogate passes the lenient parser, and could not be answered with
    except (ValueError, TypeError, RecursionError) as slow:
        raise InvalidRequest(f"the body is not JSON: {slow}") from slow
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    """As orjson reads it: a float where 64 bits do not hold it."""
    number = float(digits)
    return int(digits) if -(2**63) <= number < 2**63 else number
