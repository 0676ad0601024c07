"""What all sessions of an engine have in common, and their longer kept answers as bytes. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson

from service.sessions.ring import LongAnswer

if TYPE_CHECKING:
    from service.models.model import Array

_LONG = struct.Struct("<IQQQI")  # back, start, digest, time steps


class Kind(NamedTuple):
    """What all sessions of an engine have in common. `shapes` are those of the states, in order."""

    model: str
    version: str
    digest: str
    shapes: dict[str, Sequence[int]]
    outputs: int

    @property
    def file(self) -> bytes:
        """What journal entries name the model's file by."""
        return bytes.fromhex(self.digest)[:8].ljust(8, b"\0")

    def encode(self) -> bytes:
        """The bytes that `Kind(**orjson.loads(…))` reads."""
        return orjson.dumps(self._asdict())


def pack(answers: Sequence[LongAnswer]) -> bytes:
    """The longer kept answers of a record."""
    return b"".join(
        _LONG.pack(one.back, one.start, *one.digest, len(one.outputs)) + one.outputs.tobytes() for one in answers
    )


def unpack(long: bytes, width: int) -> list[LongAnswer]:
    """The longer kept answers of a record, whose outputs have so many numbers a step."""
    answers, at = [], 0
    while at < len(long):
        back, start, one, other, steps = _LONG.unpack_from(long, at)
        outputs: Array = np.frombuffer(long, np.float32, steps * width, at + _LONG.size).reshape(steps, width)
        answers.append(LongAnswer(back, start, (one, other), outputs))
        at += _LONG.size + outputs.nbytes
    return answers
