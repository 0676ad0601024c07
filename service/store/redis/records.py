"""Sessions as the server keeps them: a hash each, every field sealed. Pure.

Keys, all of a session in one slot of a cluster: `carousel:{XX}:s:TENANT:ID`, where XX is one of 16 buckets; the indexes
`carousel:{XX}:expiry` and `carousel:{XX}:ids` of a bucket, and its marks `carousel:{XX}:expired:TENANT:ID`. Fields:
`fence` (owner, epoch, step), `state`, `about` (what never changes), `held` (see `put_held`), an answer kept for a retry
in each of `a0`, `a1`, and a snapshot to which it may be rewound in each of `r0`, `r1`, … `carousel:{XX}:held` sums up
what sessions of a bucket count for: their number by model and version, and by the empty name their bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
import orjson
from xxhash import xxh3_64_digest

from service.sessions.session import Standing
from service.sessions.snapshots import Rule
from service.store.embedded.entries import width_of
from service.store.embedded.kind import Kind

if TYPE_CHECKING:
    from service.models.model import Array

FENCE = struct.Struct("<16sQQ")  # owner, epoch, step
NOBODY = bytes(16)  # the owner of a session that was given up
BUCKETS = 16
_FORMAT = 2
_STATE = struct.Struct("<dd")  # deadline, on the store's own clock, and TTL
_SNAPSHOT = struct.Struct("<QQ")  # number of all of the session, step
_ANSWER = struct.Struct("<QQ16s")  # number of all of the session, first step, digest of the inputs
_OPERATION, _LENGTH = struct.Struct("<BdIH"), struct.Struct("<I")
_COUNT = struct.Struct("<H")
_SEAL = 8
_PREFIX = len("carousel:{00}:")


def _named(name: bytes) -> bytes:
    return bytes((len(name),)) + name


Part: TypeAlias = "bytes | memoryview"
_NAMES = {name: _named(name) for name in (b"state", b"about", b"a0", b"a1", b"a2", b"a3")}  # the most frequent
_FENCE = _named(b"fence") + _LENGTH.pack(FENCE.size)


class Kept(NamedTuple):
    """An answer that a retry gets."""

    number: int
    start: int
    digest: bytes
    outputs: Array  # [T, K]


class Snapped(NamedTuple):
    """A snapshot to which a session may be rewound."""

    number: int  # of all of the session
    step: int
    state: bytes


class Found(NamedTuple):
    """A session as the server has it."""

    key: bytes
    fence: bytes
    step: int
    deadline: float
    ttl: float
    state: bytes  # float32
    kind: Kind
    birth: int  # tells sessions of one id apart, everywhere
    rule: Rule | None
    kept: list[Kept]  # the newest first
    snapshots: list[Snapped]  # the oldest first

    @property
    def owner(self) -> bytes:
        """The process that may write it, or NOBODY."""
        return self.fence[:16]

    def stands(self, id: str, now: float, *, resident: bool) -> Standing:
        """What is told of it at a time on the store's clock."""
        told = id, self.kind.model, self.kind.version, self.step, self.ttl, self.deadline - now
        steps = [one.step for one in self.snapshots] if self.rule is not None else None
        return Standing(*told, resident=resident, snapshots=steps)


@dataclass(slots=True)
class Operation:
    """What is written of a session if its fence is `old`; empty: it is not there."""

    row: int
    key: bytes
    old: bytes
    new: bytes = b""  # its fence then; empty: it is no more
    fields: list[Part] = field(default_factory=list)  # as COMMIT reads them; a later one of a name wins
    count: int = 0  # of the fields
    answers: int = 0  # kept by it
    snapshots: int = 0
    clear: bool = False  # fields that are not written are dropped
    score: float = 0.0  # in the index of expiry; 0: as it is; −1: none
    told: float = 0.0  # seconds for which the id is told as expired
    moved: Callable[[], None] | None = None  # done once it is written: the session is in another book

    def put(self, name: bytes, context: bytes, head: bytes, body: Part) -> None:
        """Write a field: its seal is over the context too."""
        seal = xxh3_64_digest(b"".join((context, head, body)))
        length = len(head) + len(body) + _SEAL
        self.fields += (_NAMES.get(name) or _named(name), _LENGTH.pack(length), head, body, seal)
        self.count += 1

    def put_state(self, deadline: float, ttl: float, state: Part) -> None:
        """Write the field `state`, for its fence, whoever owns it."""
        self.put(b"state", self.key + self.new[16:], _STATE.pack(deadline, ttl), state)

    def put_about(self, birth: int, rule: Rule | None, kind: bytes) -> None:
        """Write the field `about`: what holds as long as the session lives."""
        self.put(b"about", self.key, b"%d %d %d %d " % (_FORMAT, birth, *(rule or (0, 0))), kind)

    def put_held(self, size: int, version: str) -> None:
        """Write the field `held`: the bytes, and the model and version, for which it counts against the bounds."""
        self.put(b"held", self.key, b"%d " % size, version.encode())

    def put_answer(self, places: int, number: int, start: int, digest: bytes, outputs: Part) -> None:
        """Write an answer that is kept, in one of so many places."""
        self.put(b"a%d" % (number % places), self.key, _ANSWER.pack(number, start, digest), outputs)
        self.answers += 1

    def put_snapshot(self, places: int, number: int, step: int, state: bytes) -> None:
        """Write a snapshot, in one of so many places."""
        self.put(b"r%d" % (number % places), self.key, _SNAPSHOT.pack(number, step), state)
        self.snapshots += 1

    def encode(self) -> list[Part]:
        """The bytes that COMMIT reads, in parts."""
        head = _OPERATION.pack(self.clear, self.score, min(int(1000 * self.told), 2**32 - 1), len(self.key))
        old = _COUNT.pack(len(self.old)) + self.old
        if not self.new:
            return [head, self.key, old, _COUNT.pack(0)]
        return [head, self.key, old, _COUNT.pack(self.count + 1), _FENCE, self.new, *self.fields]


def key_of(id: str) -> bytes:
    """The key of a session. The tenant is empty."""
    name = id.encode()
    return b"carousel:{%02x}:s::%b" % (crc32(b":" + name) % BUCKETS, name)


def id_of(key: bytes) -> str:
    """The id in a key."""
    return key[_PREFIX:].split(b":", 2)[2].decode()


def mark_of(key: bytes) -> bytes:
    """The key that tells a session as expired."""
    return key[:_PREFIX] + b"expired:" + key[_PREFIX + 2 :]


def index_of(bucket: int) -> bytes:
    """The key of the index of expiry of a bucket."""
    return b"carousel:{%02x}:expiry" % bucket


def held_of(bucket: int) -> bytes:
    """The key of what the sessions of a bucket count for."""
    return b"carousel:{%02x}:held" % bucket


def ids_of(bucket: int) -> bytes:
    """The key of the ids of a bucket, in order."""
    return b"carousel:{%02x}:ids" % bucket


def decode(key: bytes, fields: Mapping[bytes, bytes]) -> Found:
    """Read a session.

    Raises:
        ValueError: it is damaged, or of another format.

    """
    fence = fields.get(b"fence", b"")
    if len(fence) != FENCE.size:
        raise ValueError("its fence is damaged")
    *numbers, encoded = bytes(_content(key, fields, b"about")).split(b" ", 4)
    told, birth, every, keep = map(int, numbers)
    if told != _FORMAT:
        raise ValueError(f"it has format {told}, not {_FORMAT}")
    kind = Kind(**orjson.loads(encoded))
    _content(key, fields, b"held")
    state = _content(key + fence[16:], fields, b"state")
    if len(state) != _STATE.size + 4 * width_of(kind.shapes):
        raise ValueError("its state has another size")
    kept = [_kept(_content(key, fields, name), kind.outputs) for name in fields if _numbered(name, b"a")]
    kept.sort(key=lambda one: -one.number)
    snapshots = sorted(_snapped(_content(key, fields, name)) for name in fields if _numbered(name, b"r"))
    deadline, ttl = _STATE.unpack_from(state)
    step = FENCE.unpack(fence)[2]
    rule, found = Rule(every, keep) if every else None, bytes(state[_STATE.size :])
    return Found(key, fence, step, deadline, ttl, found, kind, birth, rule, kept, snapshots)


def _numbered(name: bytes, letter: bytes) -> bool:
    return name[:1] == letter and name[1:].isdigit()


def _snapped(content: memoryview) -> Snapped:
    number, step = _SNAPSHOT.unpack_from(content)
    return Snapped(number, step, bytes(content[_SNAPSHOT.size :]))


def _kept(content: memoryview, width: int) -> Kept:
    outputs = np.frombuffer(content, np.float32, offset=_ANSWER.size).reshape(-1, width)
    number, start, digest = _ANSWER.unpack_from(content)
    return Kept(number, start, digest, outputs)


def _content(context: bytes, fields: Mapping[bytes, bytes], name: bytes) -> memoryview:
    """The content of a sealed field."""
    value = fields.get(name, b"")
    content = memoryview(value)[:-_SEAL]
    if len(value) < _SEAL or xxh3_64_digest(context + content) != value[-_SEAL:]:
        raise ValueError(f"its field {name.decode()} is damaged")
    return content


def freed(key: bytes, fence: bytes) -> Operation:
    """Give a session up that has this fence."""
    return Operation(-1, key, fence, NOBODY + fence[16:])


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Fields as the server lists them."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
