"""JSON in and out: texts become objects whose sequences are columns, and arrays become texts. Pure.

There are two ways in. The first reads numbers straight into arrays, and knows only what load looks like; what it cannot
read goes the other way, which reads everything there is and says what is wrong. Both agree on all that the first reads.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from simdjson import Array, Object, Parser

from service.api.values import Named, Steps, steps
from service.errors import InvalidRequest

_KEYS = 64  # an object with more is none of the wire's, and is not carried from place to place
_SAFE = 1e76  # a sum of squares below it has no number whose nearest float32 is infinite
_PARSED = 2**23  # bytes; the memory for so many is kept for the next text: new memory costs as much as the parsing

_parser = Parser()  # of whoever has the thread: it parses, and is done with the result, in one call


def parse(text: bytes | str) -> dict[str, Any]:
    """The JSON object in a text, every S in it as columns, and no other list.

    Raises:
        InvalidRequest: not UTF-8, not JSON (NaN and Infinity are not), or not an object.

    """
    content = text.encode() if isinstance(text, str) else text
    read = quickly(content)
    return surely(content) if read is None else read


def quickly(text: bytes) -> dict[str, Any] | None:
    """What is in a text if it is what load looks like, else None."""
    if text[:1] != b"{" or b"\\" in text:  # a mark before it would be skipped, and a key be cut at a NUL
        return None
    if text.find(b"{", 1) > 0 and b'"items"' not in text:  # steps by name
        return None
    parser = _parser if len(text) <= _PARSED else Parser()
    try:
        content: dict[str, Any] = _columns(parser.parse(text), _quick_steps)
    except (InvalidRequest, ValueError, TypeError, LookupError, RuntimeError):
        return None
    return content if _brackets(text) == _lists(content) else None  # else a list was where it looked for numbers


def surely(text: bytes) -> dict[str, Any]:
    """What is in a text. Raises InvalidRequest."""
    content = _loads(text)
    if not isinstance(content, dict):
        raise InvalidRequest("the body is not a JSON object")
    columns: dict[str, Any] = _columns(content, steps)
    return columns


def dump(content: Any) -> bytes:
    """JSON; float32 arrays as their shortest decimals."""
    return orjson.dumps(content, _objects, orjson.OPT_SERIALIZE_NUMPY)


def _objects(value: Any) -> orjson.Fragment:
    """Named outputs as objects. The texts of the numbers are put between those of the names, as no dict is so cheap."""
    if not isinstance(value, Named):
        raise TypeError(type(value).__name__)
    numbers = dump(value.outputs.ravel())[1:-1].split(b",")
    step = b",".join(dump(name).replace(b"%", b"%%") + b":%b" for name in value.names)
    steps = b",".join([b"{%b}" % step] * len(value.outputs)) % tuple(numbers)
    return orjson.Fragment(b"[%b]" % steps)


def _quick_steps(given: Any) -> Steps:
    if type(given) is not Array:
        raise TypeError
    (width,) = set(map(len, given))  # type: ignore[arg-type]  # what has no length is what this is to find
    numbers = np.frombuffer(given.as_buffer(of_type="d"))
    if not np.vdot(numbers, numbers) < _SAFE:  # unlike `dot`, silent where it overflows
        raise ValueError
    return Steps(numbers.astype(np.float32).reshape(len(given), width), width)


def _brackets(text: bytes) -> int:
    if len(text) < 4096:
        return text.count(b"[")
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("[")))


def _lists(content: Any) -> int:
    """How many lists a text of this content has."""
    if isinstance(content, Steps):
        return 1 + len(content.inputs)
    if isinstance(content, list):
        return 1 + sum(map(_lists, content))
    return sum(map(_lists, content.values())) if isinstance(content, dict) else 0


def _columns(content: Any, steps: Callable[[Any], Steps], depth: int = 0) -> Any:
    """What a parser read, with `steps` made of what stands where an S does, and without what stands nowhere."""
    if isinstance(content, list):
        return []
    if not isinstance(content, _OBJECTS):
        return content
    if depth > 1:
        return {}
    if len(content) > _KEYS:
        raise InvalidRequest(f"an object has {len(content)} keys; none has more than {_KEYS}")
    columns: dict[str, Any] = {}
    for key in content:
        value = content[key]
        if key in _S:
            columns[key] = steps(value)
        elif key in _MANY and isinstance(value, _LISTS):
            columns[key] = [steps(one) if key == "sequences" else _columns(one, steps, 1) for one in value]
        else:
            columns[key] = _columns(value, steps, depth + 1)
    if len(columns) < len(content):
        raise ValueError  # the quick parser finds the first of a key that comes twice; it is the last one that counts
    return columns


_S = ("inputs", "history")  # the keys of an S
_MANY = ("sequences", "items")  # the keys of lists of them, or of what has one
_OBJECTS = (dict, Object)
_LISTS = (list, Array)


def _loads(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _loads_slowly(text, error)


def _loads_slowly(text: bytes, error: orjson.JSONDecodeError) -> Any:
    """What the strict parser refused may still be JSON: 1e400 is a number, only not a finite one."""
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
    """As the strict parser has it: a float where 64 bits do not hold it."""
    number = float(digits)
    return int(digits) if -(2**63) <= number < 2**63 else number
