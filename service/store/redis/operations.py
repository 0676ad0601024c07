"""What a commit writes: operations on sessions as bytes, grouped by shape. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_64_digest

from service.store.redis.records import FORMAT, SNAPSHOT, STATE, UNOWNED, seed_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.sessions.snapshots import Rule
    from service.store.redis.records import Part

_HEAD, HEAD_FORM = struct.Struct("<BdI32s"), b"<BdI4c32"  # clear, score, milliseconds, fence before; in Lua's words
_OLD, _NEW = slice(13, 45), slice(50, 82)  # where the fences stand in an operation

_FENCE = np.dtype([("owner", "V16"), ("epoch", "<u8"), ("step", "<u8")])
_HEAD_COLUMNS = [("clear", "u1"), ("score", "<f8"), ("told", "<u4"), ("old", _FENCE)]
_STATE_COLUMNS = [("fence", "S5"), ("new", _FENCE), ("name", "S5"), ("deadline", "<f8"), ("ttl", "<f8")]
_ANSWER_COLUMNS = [("number", "<u8"), ("start", "<u8"), ("digest", "<u8", 2)]
_SEAL_COLUMN = ("seal", "V8")


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
        self._form, self._parts = HEAD_FORM, list[bytes]()
        self.snapshots = 0
        if new:
            self._put(b"fence", new)

    def put_state(self, deadline: float, ttl: float, state: Part) -> None:
        """Write the field `state`. Its seal is over epoch and step too."""
        self._put_sealed(b"state", STATE.pack(deadline, ttl), state, self.new[16:])

    def put_about(self, birth: int, rule: Rule | None, kind: bytes) -> None:
        """Write the field `about`: what holds as long as the session lives."""
        self._put_sealed(b"about", b"%d %d %d %d " % (FORMAT, birth, *(rule or (0, 0))), kind)

    def put_held(self, size: int, version: str) -> None:
        """Write the field `held`: the bytes, and the model and version, for which it counts against the bounds."""
        self._put_sealed(b"held", b"%d " % size, version.encode())

    def put_before(self, fence: bytes) -> None:
        """Write the field `before`: the fence at which it is taken, by which its owner knows how far it came."""
        self._put_sealed(b"before", fence, b"")

    def put_snapshot(self, places: int, number: int, step: int, state: bytes) -> None:
        """Write a snapshot, in one of so many places."""
        self._put_sealed(b"r%d" % (number % places), SNAPSHOT.pack(number, step), state)
        self.snapshots += 1

    def group(self) -> Group:
        """Return it as a group of one."""
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
    """Operations of one shape, as the script COMMIT reads them."""

    form: bytes  # of an operation, in the words of Lua's `struct`
    rows: list[int]
    keys: list[bytes]
    content: Part  # of all of them, one behind the other
    answers: int = 0  # that are kept by each
    snapshots: int = 0  # by each
    moved: Callable[[], None] | None = None  # done once it is written: another epoch, or another book

    def fences(self, place: int) -> tuple[bytes, bytes]:
        """The fence of a session before, and the one that is written."""
        width = len(self.content) // len(self.rows)
        one = bytes(self.content[width * place : width * (place + 1)])
        return one[_OLD], one[_NEW]

    def pick(self, places: Sequence[int]) -> Group:
        """Select operations."""
        if len(places) == len(self.rows):
            return self
        content = (
            np.frombuffer(self.content, np.uint8).reshape(len(self.rows), -1)[np.array(places, np.int64)].tobytes()
        )
        rows, keys = [self.rows[place] for place in places], [self.keys[place] for place in places]
        return replace(self, rows=rows, keys=keys, content=content)


def grouped(operations: Iterable[Operation]) -> list[Group]:
    """Merge operations of one shape."""
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


def freed(key: bytes, fence: bytes) -> Operation:
    """Give a session up that has this fence."""
    return Operation(-1, key, fence, UNOWNED + fence[16:])


def ended(key: bytes, fence: bytes, *, row: int = -1, told: float = 0.0) -> Operation:
    """End a session that has this fence. For `told` seconds its id is told as expired."""
    return Operation(row, key, fence, clear=True, score=-1.0, told=max(0.0, told))


class Layout:
    """Steps of many sessions as one array whose rows have the bytes of an `Operation` that writes state and answers."""

    def __init__(self, state: int, outputs: int, places: int, calls: int) -> None:
        """`state` and `outputs` are float32 numbers per session; `calls` answers are written to `places` fields."""
        digits = len(str(places - 1))
        self.names = np.array([b"a%0*d" % (digits, place) for place in range(places)])
        answer = np.dtype([("name", self.names.dtype), *_ANSWER_COLUMNS, ("outputs", "<f4", outputs), _SEAL_COLUMN])
        answers = [(f"a{call}", answer) for call in range(calls)]
        self.kind = np.dtype([*_HEAD_COLUMNS, *_STATE_COLUMNS, ("state", "<f4", state), _SEAL_COLUMN, *answers])
        self.form = HEAD_FORM + b"c5c32c5c%d" % (24 + 4 * state)
        self.form += b"c%dc%d" % (self.names.itemsize, 40 + 4 * outputs) * calls
        # what is sealed: column of an answer, first byte, and byte of the seal
        self._sealed: list[tuple[str, int, int]] = [("", _at(self.kind, "new") + 16, _at(self.kind, "seal"))]
        for name, _ in answers:
            self._sealed.append((name, _at(self.kind, name), _at(self.kind, name) + _at(answer, "seal")))
        self._blank = np.zeros(1, self.kind)
        self._blank["fence"], self._blank["name"] = b"fence", b"state"

    def rows(self, count: int) -> NDArray[Any]:
        """Allocate operations; constant columns are set."""
        return np.repeat(self._blank, count)

    def seal(self, rows: NDArray[Any], seeds: Sequence[int]) -> memoryview:
        """Compute the seals → all operations as bytes."""
        content, width = rows.view(np.uint8).data, self.kind.itemsize
        for name, first, end in self._sealed:
            places = zip(range(first, len(content), width), range(end, len(content), width), seeds, strict=True)
            seals = [xxh3_64_digest(content[begin:stop], seed) for begin, stop, seed in places]
            (rows[name] if name else rows)["seal"] = np.frombuffer(b"".join(seals), "V8")
        return content


@lru_cache(64)
def layout(state: int, outputs: int, places: int, calls: int) -> Layout:
    """See Layout."""
    return Layout(state, outputs, places, calls)


def _at(kind: np.dtype[Any], name: str) -> int:
    """Byte offset of a column."""
    assert kind.fields is not None
    return kind.fields[name][1]
