"""Bodies of one numbered step each, `{"inputs":[[…]],"step":n}`: those of a turn are read together. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from simdjson import Array as List
from simdjson import Object, Parser

from service.api.json.codec import FAULTS, SAFE, dump
from service.api.json.fields import Array

_MOST = 2**23  # bytes that are parsed together
_parser = Parser()  # holds its memory; each call drops what was parsed before it returns


def one_steps(bodies: Sequence[bytes]) -> list[tuple[bytes, int] | None]:
    """The float64 bytes of the numbers of each body, and its step.

    None stands for a body that has to go through `codec.parse`: it is another one, or at fault.
    """
    # A further list or object could hide behind the right count of numbers.
    plain = [
        text.rfind(b"[") == text.find(b"[", text.find(b"[") + 1) and text.rfind(b"{") == 0 and b"\\" not in text
        for text in bodies
    ]
    if len(bodies) > 1 and all(plain) and (together := _together(bodies)) is not None:
        return together
    found: list[tuple[bytes, int] | None] = []
    for text, fine in zip(bodies, plain, strict=True):
        try:
            found.append(_one_step(_parser.parse(text)) if fine and len(text) <= _MOST else None)
        except FAULTS:
            found.append(None)
    return found


def _together(bodies: Sequence[bytes]) -> list[tuple[bytes, int] | None] | None:
    """`one_steps` by one parse; None: each has to be parsed by itself.

    Each body has one `{`, its first byte, and one `}`, its last. If there are as many objects as bodies then no brace
    lies in a string, and each object is one body, whatever the others are.
    """
    text = b"[%b]" % b",".join(bodies)
    if len(text) > _MOST or not all([one.find(b"}") == len(one) - 1 for one in bodies]):  # noqa: C419  # faster
        return None
    try:
        objects: Any = _parser.parse(text)
        return [_one_step(one) for one in objects] if len(objects) == len(bodies) else None
    except FAULTS:
        return None


def _one_step(content: Any) -> tuple[bytes, int] | None:
    """The numbers and the step of such an object; the parser takes no next text while it is held."""
    if type(content) is not Object or len(content) != 2:
        return None
    given, step = content["inputs"], content["step"]
    if type(step) is not int or type(given) is not List or len(given) != 1:
        return None
    return bytes(given.as_buffer(of_type="d")), step


def rows(numbers: Sequence[bytes], width: int) -> Array | None:
    """float32 [N, width] of N times the float64 bytes of `width` numbers; None: one of them is not finite."""
    given = np.frombuffer(b"".join(numbers))
    if not np.vdot(given, given) < SAFE:  # unlike `dot`, silent where it overflows
        return None
    return given.astype(np.float32).reshape(len(numbers), width)


def answers(outputs: Array, steps: Iterable[int]) -> list[bytes]:
    """Bodies of answers to one step each: outputs [N, K] and the N next steps."""
    texts = dump(outputs)[2:-2].split(b"],[")
    return [b'{"outputs":[[%b]],"step":%d}' % (text, step) for text, step in zip(texts, steps, strict=True)]
