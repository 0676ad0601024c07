"""Sessions as the server keeps them: a hash each, every field sealed. Pure.

Keys, all of a session in one slot of a cluster: `carousel:{XX}:s:TENANT:ID`, where XX is one of 16 buckets; the indexes
`carousel:{XX}:expiry` and `carousel:{XX}:ids` of a bucket, and its marks `carousel:{XX}:expired:TENANT:ID`. Fields:
`fence` (owner, epoch, step), `state`, `about` (what never changes), `held` (see `put_held`), an answer kept for a retry
in each of `a0`, `a1`, and a snapshot to which it may be rewound in each of `r0`, `r1`, … `carousel:{XX}:held` sums up
what sessions of a bucket count for: their number by model and version, and by the empty name their bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
import orjson
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from service.sessions.session import Standing
from service.sessions.snapshots import Rule
from service.store.embedded.entries import width_of
from service.store.embedded.kind import Kind

if TYPE_CHECKING:
    from service.models.model import Array

FENCE = struct.Struct("<16sQQ")  # owner, epoch, step
NOBODY = bytes(16)  # the owner of a session that was given up
NOTHING = bytes(FENCE.size)  # the fence of a session that is not there
BUCKETS = 16
_FORMAT = 3
_STATE = struct.Struct("<dd")  # deadline, on the store's own clock, and TTL
_SNAPSHOT = struct.Struct("<QQ")  # number of all of the session, step
_ANSWER = struct.Struct("<QQ16s")  # number of all of the session, first step, digest of the inputs
_HEAD, HEAD_FORM = struct.Struct("<BdI32s"), b"<BdI4c32"  # clear, score, milliseconds, fence before; in Lua's words
_OLD, _NEW = slice(13, 45), slice(50, 82)  # where the fences stand in an operation
_SEAL = 8
_PREFIX = len("carousel:{00}:")

Part: TypeAlias = "bytes | memoryview"


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


class Operation:
    """What is written of a session if its fence is `old`."""

    def __init__(
        self,
        row: int,
        key: bytes,
        old: bytes,
        new: bytes = b"",
        *,
        clear: bool = False,
        score: float = 0.0,
        told: float = 0.0,
    ) -> None:
        """`new` is its fence then; empty: the session is no more. Fields that are not written are dropped if `clear`.

        `score` is that in the index of expiry; 0: as it is; −1: none. For `told` seconds the id is told as expired.
        """
        self.row, self.key, self.new, self.score = row, key, new, score
        self._old, self._clear, self._told = old, clear, min(int(1000 * told), 2**32 - 1)
        self._seed = seed_of(key)
        self._form, self._parts = HEAD_FORM, list[Part]()
        self.snapshots = 0
        if new:
            self._put(b"fence", new)

    def put_state(self, deadline: float, ttl: float, state: Part) -> None:
        """Write the field `state`. Its seal is over epoch and step too."""
        self._put_sealed(b"state", _STATE.pack(deadline, ttl), state, self.new[16:])

    def put_about(self, birth: int, rule: Rule | None, kind: bytes) -> None:
        """Write the field `about`: what holds as long as the session lives."""
        self._put_sealed(b"about", b"%d %d %d %d " % (_FORMAT, birth, *(rule or (0, 0))), kind)

    def put_held(self, size: int, version: str) -> None:
        """Write the field `held`: the bytes, and the model and version, for which it counts against the bounds."""
        self._put_sealed(b"held", b"%d " % size, version.encode())

    def put_snapshot(self, places: int, number: int, step: int, state: bytes) -> None:
        """Write a snapshot, in one of so many places."""
        self._put_sealed(b"r%d" % (number % places), _SNAPSHOT.pack(number, step), state)
        self.snapshots += 1

    def group(self) -> Group:
        """What COMMIT reads."""
        head = _HEAD.pack(self._clear, self.score, self._told, self._old)
        return Group(self._form, [self.row], [self.key], b"".join((head, *self._parts)), snapshots=self.snapshots)

    def _put_sealed(self, name: bytes, head: bytes, body: Part, context: bytes = b"") -> None:
        seal = xxh3_64_digest(b"".join((context, name, head, body)), self._seed)
        self._put(name, b"".join((head, body, seal)))

    def _put(self, name: bytes, content: bytes) -> None:
        self._form += b"c%dc%d" % (len(name), len(content))
        self._parts += (name, content)


@dataclass(slots=True)
class Group:
    """Operations of one shape, as COMMIT reads them."""

    form: bytes  # of an operation, in the words of Lua's `struct`
    rows: list[int]
    keys: list[bytes]
    content: Part  # of all of them, one behind the other
    answers: int = 0  # that are kept by each
    snapshots: int = 0  # by each
    moved: Callable[[], None] | None = None  # done once it is written: the session is in another book

    def fences(self, place: int) -> tuple[bytes, bytes]:
        """The fence of a session before, and the one that is written."""
        width = len(self.content) // len(self.rows)
        one = bytes(self.content[width * place : width * (place + 1)])
        return one[_OLD], one[_NEW]

    def pick(self, places: Sequence[int]) -> Group:
        """Some of them."""
        if len(places) == len(self.rows):
            return self
        content = (
            np.frombuffer(self.content, np.uint8).reshape(len(self.rows), -1)[np.array(places, np.int64)].tobytes()
        )
        rows, keys = [self.rows[place] for place in places], [self.keys[place] for place in places]
        return replace(self, rows=rows, keys=keys, content=content)


def grouped(operations: Iterable[Operation]) -> list[Group]:
    """Operations as few groups."""
    found: dict[tuple[bytes, int], list[Group]] = {}
    for one in operations:
        group = one.group()
        found.setdefault((group.form, group.snapshots), []).append(group)
    return [
        replace(
            alike[0],
            rows=[row for one in alike for row in one.rows],
            keys=[key for one in alike for key in one.keys],
            content=b"".join([one.content for one in alike]),
        )
        for alike in found.values()
    ]


def seed_of(key: bytes) -> int:
    """What the seals of a session begin with."""
    return xxh3_64_intdigest(key)


def key_of(id: str) -> bytes:
    """The key of a session. The tenant is empty."""
    name = id.encode()
    return b"carousel:{%02x}:s::%b" % (crc32(b":" + name) % BUCKETS, name)


def place_of(key: bytes, servers: int) -> int:
    """Which of so many servers has a session: one has all, or each bucket has its own."""
    return int(key[10:12], 16) % servers


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


def tables_of(tag: bytes) -> list[bytes]:
    """The keys of owners and their generations, of their processes, what leases begin with, and the clock."""
    return [b"carousel:{%b}:%b" % (tag, name) for name in (b"names", b"processes", b"lease:", b"clock")]


def decode(key: bytes, fields: Mapping[bytes, bytes]) -> Found:
    """Read a session.

    Raises:
        ValueError: it is damaged, or of another format.

    """
    fence = fields.get(b"fence", b"")
    if len(fence) != FENCE.size:
        raise ValueError("its fence is damaged")
    content = partial(_content, fields, seed_of(key))
    *numbers, encoded = bytes(content(b"about")).split(b" ", 4)
    told, birth, every, keep = map(int, numbers)
    if told != _FORMAT:
        raise ValueError(f"it has format {told}, not {_FORMAT}")
    kind = Kind(**orjson.loads(encoded))
    content(b"held")
    state = content(b"state", fence[16:])
    if len(state) != _STATE.size + 4 * width_of(kind.shapes):
        raise ValueError("its state has another size")
    kept = [_kept(content(name), kind.outputs) for name in fields if _numbered(name, b"a")]
    kept.sort(key=lambda one: -one.number)
    snapshots = sorted(_snapped(content(name)) for name in fields if _numbered(name, b"r"))
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


def _content(fields: Mapping[bytes, bytes], seed: int, name: bytes, context: bytes = b"") -> memoryview:
    """The content of a sealed field."""
    value = fields.get(name, b"")
    content = memoryview(value)[:-_SEAL]
    if len(value) < _SEAL or xxh3_64_digest(b"".join((context, name, content)), seed) != value[-_SEAL:]:
        raise ValueError(f"its field {name.decode()} is damaged")
    return content


def freed(key: bytes, fence: bytes) -> Operation:
    """Give a session up that has this fence."""
    return Operation(-1, key, fence, NOBODY + fence[16:])


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Fields as the server lists them."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
