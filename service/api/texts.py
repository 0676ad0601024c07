"""JSON in and out: texts become objects whose sequences are columns, and arrays become texts. Pure.

There are two ways in. The first reads numbers straight into arrays, and knows only what load looks like; what it cannot
read goes the other way, which reads everything there is and says what is wrong. Both agree on all that the first reads.
"""

import json
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
        content = parser.parse(text)
        columns, lists = _one_step(content) or _quick_columns(content)
    except (ValueError, TypeError, LookupError, RuntimeError):
        return None
    return columns if lists == _brackets(text) else None  # else a list was where it looked for numbers


def surely(text: bytes) -> dict[str, Any]:
    """What is in a text. Raises InvalidRequest."""
    content = _loads(text)
    if not isinstance(content, dict):
        raise InvalidRequest("the body is not a JSON object")
    columns: dict[str, Any] = _columns(content)
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


def _one_step(content: Any) -> tuple[dict[str, Any], int] | None:
    """What `_quick_columns` makes of one numbered step, of which there are most: its keys are looked up, not walked."""
    if len(content) != 2:  # to look in vain takes longer
        return None
    given, step = content.get("inputs"), content.get("step")
    if type(step) is not int or type(given) is not Array or len(given) != 1:
        return None
    return {"inputs": _quick_numbers(given, len(given[0])), "step": step}, 2


def _quick_columns(content: Any) -> tuple[dict[str, Any], int]:
    """What `_columns` makes of an object that has no other in it but items, and how many lists it has."""
    if type(content) is not Object:
        raise TypeError
    columns: dict[str, Any] = {}
    lists = 0
    for key in content:
        value = content[key]
        if key in _S:
            columns[key] = _quick_steps(value)
            lists += 1 + len(columns[key].inputs)
        elif type(value) is Object:
            raise TypeError
        elif type(value) is not Array:
            columns[key] = value
        elif key == "sequences":
            columns[key] = [_quick_steps(one) for one in value]
            lists += 1 + sum(1 + len(one.inputs) for one in columns[key])
        elif key == "items":
            items = [_quick_columns(one) for one in value]
            columns[key] = [item for item, _ in items]
            lists += 1 + sum(count for _, count in items)
    if not len(content) == len(columns) <= _KEYS:
        raise ValueError  # among others where a key comes twice: it finds the first, but it is the last one that counts
    return columns, lists


def _quick_steps(given: Any) -> Steps:
    if type(given) is not Array:
        raise TypeError
    (width,) = set(map(len, given))  # type: ignore[arg-type]  # what has no length is what this is to find
    return _quick_numbers(given, width)


def _quick_numbers(given: Any, width: int) -> Steps:
    numbers = np.ndarray((len(given), width), np.float64, given.as_buffer(of_type="d"))
    if not np.vdot(numbers, numbers) < _SAFE:  # unlike `dot`, silent where it overflows
        raise ValueError
    return Steps(numbers.astype(np.float32), width)


def _brackets(text: bytes) -> int:
    if len(text) < 4096:
        return text.count(b"[")
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("[")))


def _columns(content: Any, depth: int = 0) -> Any:
    """What a parser read, with columns of what stands where an S does, and without what stands nowhere."""
    if isinstance(content, list):
        return []
    if not isinstance(content, dict):
        return content
    if depth > 1:
        return {}
    if len(content) > _KEYS:
        raise InvalidRequest(f"an object has {len(content)} keys; none has more than {_KEYS}")
    columns: dict[str, Any] = {}
    for key, value in content.items():
        if key in _S:
            columns[key] = steps(value)
        elif key == "sequences" and isinstance(value, list):
            columns[key] = [steps(one) for one in value]
        elif key == "items" and isinstance(value, list):
            columns[key] = [_columns(one, 1) for one in value]
        else:
            columns[key] = _columns(value, depth + 1)
    return columns


_S = ("inputs", "history")  # the keys of an S


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
