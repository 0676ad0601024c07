"""The record of a session as bytes, and what else is told of one. Pure."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from xxhash import xxh3_64_digest

from service.sessions.ring import LongAnswer
from service.sessions.snapshots import Rule

FORMAT = 2
_MARK = b"CRSs"
# mark, format, owner, epoch, position, step, deadline, TTL, rule; bytes of: tenant, id, kind, numbers, long
_HEAD = struct.Struct("<4sHxx16sQQQddQQHHIII")
SEAL = 8
_NOBODY = bytes(16)  # the owner: of a record it is the worker in whose folder it lies
_NUMBER = struct.Struct(">Q")
_LONG = struct.Struct("<IQQQI")  # of a longer kept answer: back, start, digest, time steps


class Kept(NamedTuple):
    """A snapshot of a session: a value of its own, written once."""

    step: int
    state: bytes
    stored: bool


class Record(NamedTuple):
    """One session as it stood behind the entry at `position`."""

    number: int
    id: str
    position: int
    step: int
    deadline: float  # seconds on the store's own clock
    ttl: float
    kind: bytes  # see Kind; equal for all sessions of an engine
    numbers: bytes | memoryview  # state, keys and outputs of kept one-step answers; see Answers.record
    long: bytes = b""  # longer kept answers; see pack
    rule: Rule | None = None
    snapshots: Sequence[Kept] | None = None  # None: as they are stored
    epoch: int = 0  # how often it went from one worker to another

    @property
    def states(self) -> int:
        """Its state and the snapshots that it may keep."""
        return 1 + (self.rule.keep if self.rule else 0)

    def encode(self) -> bytes:
        """The bytes that `decode` reads. The tenant is empty, the owner is 0."""
        id = self.id.encode()
        parts = (b"", id, self.kind, self.numbers, self.long)
        stands = self.position, self.step, self.deadline, self.ttl, *(self.rule or (0, 0))
        head = _HEAD.pack(_MARK, FORMAT, _NOBODY, self.epoch, *stands, *map(len, parts))
        content = b"".join((_NUMBER.pack(self.number), head, *parts))
        return content[_NUMBER.size :] + xxh3_64_digest(content)


def decode(number: int, value: memoryview) -> Record:
    """Read what `encode` wrote under that number.

    Raises:
        ValueError: it is damaged, or of another format.

    """
    content, seal = value[:-SEAL], value[-SEAL:]
    if len(value) < _HEAD.size + SEAL or xxh3_64_digest(_NUMBER.pack(number) + content) != seal:
        raise ValueError("it is damaged")
    mark, told, _, epoch, position, step, deadline, ttl, every, keep, *sizes = _HEAD.unpack_from(content)
    if (mark, told) != (_MARK, FORMAT):
        raise ValueError(f"it has format {told}, not {FORMAT}")
    parts, at = [], _HEAD.size
    for size in sizes:
        parts.append(content[at : at + size])
        at += size
    _, id, kind, numbers, long = parts
    return Record(
        *(number, str(id, "utf-8"), position, step, deadline, ttl, bytes(kind), numbers, bytes(long)),
        rule=Rule(every, keep) if every else None,
        epoch=epoch,
    )


STAYS = -1  # the answer of a worker that did not take a session; else it is the bytes of the session


class Lent(NamedTuple):
    """A session on its way to another worker. Its record has all of its state, and the epoch that it has there."""

    record: Record
    left: float  # seconds that it lives without a call


class Ended(NamedTuple):
    """A session that is no more. `until`: its id is told as expired until then; 0: never."""

    number: int
    id: str
    until: float


def kind_of(value: bytes) -> tuple[bytes, int, int]:
    """The kind of a record that is deleted and not decoded, and what it counts for."""
    *_, keep, tenant, id, kind, _, _ = _HEAD.unpack_from(value)
    first = _HEAD.size + tenant + id
    return value[first : first + kind], -1, -1 - keep


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
        outputs = np.frombuffer(long, np.float32, steps * width, at + _LONG.size).reshape(steps, width)
        answers.append(LongAnswer(back, start, (one, other), outputs))
        at += _LONG.size + outputs.nbytes
    return answers
