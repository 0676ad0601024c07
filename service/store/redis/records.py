"""Sessions as the server keeps them: a hash each, every field sealed. Pure.

Keys, all of a session in one slot of a cluster: `carousel:{XX}:s:TENANT:ID`, where XX is one of 16 buckets; the indexes
`carousel:{XX}:expiry` and `carousel:{XX}:ids` of a bucket, and its marks `carousel:{XX}:expired:TENANT:ID`. Fields:
`fence` (owner, epoch, step), `before` (the fence at which it was taken last, unless it was written whole since),
`state`, `about` (what never changes), `held` (see `put_held`), an answer kept for a retry in each of `a0`, `a1`, and a
snapshot to which it may be rewound in each of `r0`, `r1`, … `carousel:{XX}:held` sums up what sessions of a bucket
count for: their number by model and version, and by the empty name their bytes. Tables of owners are
`carousel:{owners}:…` on a single server, and `carousel:{XX}:…` for each bucket of a cluster.

Every field but `fence` ends with the XXH3 of its name and content, with that of the session's key as the seed; `state`
is sealed behind epoch and step.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from service.sessions.session import Standing
from service.sessions.snapshots import Rule
from service.store import kind as kinds

if TYPE_CHECKING:
    from service.models.model import Array
    from service.store.kind import Kind

FENCE = struct.Struct("<16sQQ")  # owner, epoch, step
UNOWNED = bytes(16)  # the owner of a session that was given up
ABSENT = bytes(FENCE.size)  # the fence of a session that is not there
BUCKETS = 16
FORMAT = 3
STATE = struct.Struct("<dd")  # deadline, on the store's own clock, and TTL
SNAPSHOT = struct.Struct("<QQ")  # number of all of the session, step
_ANSWER = struct.Struct("<QQ16s")  # number of all of the session, first step, digest of the inputs
_SEAL = 8
STANDS = (b"fence", b"before", b"about")  # fields that `stands` reads
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


class Stands(NamedTuple):
    """By what a process knows what became of a commit."""

    fence: bytes  # empty: there is no session
    before: bytes | None  # the fence at which an owner took it last
    birth: int  # tells it from others of its id


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
        """The process that may write it, or UNOWNED."""
        return self.fence[:16]

    def stands(self, id: str, now: float, *, resident: bool) -> Standing:
        """What is told of it at a time on the store's clock."""
        told = id, self.kind.model, self.kind.version, self.step, self.ttl, self.deadline - now
        steps = [one.step for one in self.snapshots] if self.rule is not None else None
        return Standing(*told, resident=resident, snapshots=steps)


def seed_of(key: bytes) -> int:
    """Seed of the seals of a session."""
    return xxh3_64_intdigest(key)


def key_of(id: str) -> bytes:
    """The key of a session. The tenant is empty."""
    name = id.encode()
    return b"carousel:{%02x}:s::%b" % (crc32(b":" + name) % BUCKETS, name)


def place_of(key: bytes, servers: int) -> int:
    """Index of the server of a session: one server has all buckets, or each bucket has its own."""
    return int(key[10:12], 16) % servers


def id_of(key: bytes) -> str:
    """The id in a key."""
    return key[_PREFIX:].split(b":", 2)[2].decode()


def mark_of(key: bytes) -> bytes:
    """The key that tells a session as expired."""
    return key[:_PREFIX] + b"expired:" + key[_PREFIX + 2 :]


def of_bucket(bucket: int, name: str) -> bytes:
    """The key of a bucket's index of `expiry`, of its `ids` in order, or of what its sessions count for: `held`."""
    return b"carousel:{%02x}:%b" % (bucket, name.encode())


def tables_of(tag: bytes) -> list[bytes]:
    """The keys of owners and their generations, of their processes, what leases begin with, and the clock."""
    return [b"carousel:{%b}:%b" % (tag, name) for name in (b"names", b"processes", b"lease:", b"clock")]


def stands(fence: bytes | None, before: bytes | None, about: bytes | None) -> Stands:
    """Read the fields STANDS of a session."""
    return Stands(fence or b"", before and before[: FENCE.size], int(about.split(b" ", 2)[1]) if about else 0)


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
    if told != FORMAT:
        raise ValueError(f"it has format {told}, not {FORMAT}")
    kind = kinds.decode(encoded)
    content(b"held")
    if b"before" in fields:
        content(b"before")
    state = content(b"state", fence[16:])
    if len(state) != STATE.size + 4 * kind.width:
        raise ValueError("its state has another size")
    kept = [_kept(content(name), kind.outputs) for name in fields if _numbered(name, b"a")]
    kept.sort(key=lambda one: -one.number)
    snapshots = sorted(_snapped(content(name)) for name in fields if _numbered(name, b"r"))
    deadline, ttl = STATE.unpack_from(state)
    step = FENCE.unpack(fence)[2]
    rule, found = Rule(every, keep) if every else None, bytes(state[STATE.size :])
    return Found(key, fence, step, deadline, ttl, found, kind, birth, rule, kept, snapshots)


def _numbered(name: bytes, letter: bytes) -> bool:
    return name[:1] == letter and name[1:].isdigit()


def _snapped(content: memoryview) -> Snapped:
    number, step = SNAPSHOT.unpack_from(content)
    return Snapped(number, step, bytes(content[SNAPSHOT.size :]))


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


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Fields as the server lists them."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
