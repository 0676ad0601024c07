"""Journal entries as bytes: one for each commit, with the calls as they came.

Layout, little-endian: head | body | tail. Head and tail are the same bytes behind their marks (HEAD | numbers of the
sessions | checksum), so that damage to one place leaves the sessions known that it concerns. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest, xxh3_64_intdigest

if TYPE_CHECKING:
    from service.models.model import Array, Index

Numbers: TypeAlias = NDArray[np.uint64]  # of sessions: none is ever used twice

ADVANCED, OPENED, REPLACED, DELETED, EXPIRED, TOUCHED, COPIED, SNAPPED, IMPORTED = range(1, 10)
FORMAT = 1
_BEGIN, _END = b"CRSe", b"eSRC"
# format, rows, bytes of the body, the stamp, checksum of the body
_HEAD = struct.Struct("<HxxIQQdd8sQ")
# kind, rows, 1 + numbers of a state (0: none), time steps, features, outputs, bytes of the rest
_CHANGE = struct.Struct("<BxxxIIQIII")
_SEAL = 8


class Written(NamedTuple):
    """A change as it stands in an entry: n rows."""

    kind: int
    numbers: Numbers  # [n]
    starts: Index  # [n]; of what begins or stands anew, and of SNAPPED, the step
    lengths: Index  # [n]
    inputs: Array  # [ΣT, F]
    outputs: Array  # [ΣT, K]; no columns: only the inputs are there
    state: Array | None  # [n, numbers of a state]; of COPIED [1, …]
    rest: bytes  # of OPENED and COPIED: TTL, rule and ids in a line, and the kind; of EXPIRED: until when it is told;
    #  of IMPORTED: a record


class Stamp(NamedTuple):
    """Where and when an entry was written, and for which file."""

    position: int  # in the order of all entries
    seconds: float  # on the store's own clock: see Clock
    wall: float  # seconds on the system's clock
    model: bytes  # the first 8 bytes of the digest of the model's file


class Entry(NamedTuple):
    """One commit. `body` is None where it is damaged: then only the sessions are known."""

    stamp: Stamp
    numbers: Numbers  # of all changes, one behind the other
    body: memoryview | None

    def changes(self) -> Iterator[Written]:
        """What was committed, in order."""
        assert self.body is not None
        at = first = 0
        while at < len(self.body):
            change, size = _read_change(self.body, at, self.numbers[first:])
            yield change
            at, first = at + size, first + len(change.numbers)


def change(  # noqa: PLR0917  # in the order of `Written`
    kind: int,
    rows: int,
    starts: Index | None = None,
    lengths: Index | None = None,
    inputs: Array | None = None,
    outputs: Array | None = None,
    state: Array | None = None,
    rest: bytes = b"",
) -> bytes:
    """The bytes of a change of so many rows; see Written."""
    steps, features = inputs.shape if inputs is not None else (0, 0)
    width = outputs.shape[1] if outputs is not None else 0
    numbers = 0 if state is None else 1 + state.shape[1]
    arrays = (starts, lengths if steps != rows else None, inputs, outputs, state)
    head = _CHANGE.pack(kind, rows, numbers, steps, features, width, len(rest))
    return b"".join([head, *(np.ascontiguousarray(array).data for array in arrays if array is not None), rest])


def part(one: Written, place: int) -> bytes:
    """The bytes of one row of steps."""
    end = int(one.lengths[: place + 1].sum())
    steps = slice(end - one.lengths.item(place), end)
    state, at = None if one.state is None else one.state[[place]], [place]
    return change(one.kind, 1, one.starts[at], one.lengths[at], one.inputs[steps], one.outputs[steps], state)


def key_of(store: bytes) -> int:
    """The key of the checksums of a store's entries: no client knows what an entry looks like."""
    return int.from_bytes(store[:8], "little")


def entry(body: bytes, numbers: bytes, stamp: Stamp, key: int) -> bytes:
    """The bytes of an entry with this body."""
    head = _HEAD.pack(FORMAT, len(numbers) // 8, len(body), *stamp, xxh3_64_intdigest(body, key)) + numbers
    head += xxh3_64_digest(head, key)
    return b"".join([_BEGIN, head, body, _END, head])


def read(content: memoryview, key: int) -> Iterator[Entry | range]:
    """The entries in order; a range is a place that holds none: it is damaged, or the last is torn."""
    at = 0
    while at < len(content):
        found = _head(content, at, _BEGIN, key)
        if found is not None:
            end = at + 2 * found[1] + found[2]
            body = content[at + found[1] : end - found[1]]
            if end <= len(content):
                intact = xxh3_64_intdigest(body, key) == found[3]
                yield found[0]._replace(body=body if intact else None)
                at = end
                continue
        after = _next(content, at + 1, key)
        if after is None:
            yield range(at, len(content))
            return
        place, mark = after
        tail = _head(content, place, mark, key)
        assert tail is not None
        if mark == _END:  # of an entry whose head is damaged
            yield tail[0]
            place += tail[1]
        else:
            yield range(at, place)
        at = place


def _head(content: memoryview, at: int, mark: bytes, key: int) -> tuple[Entry, int, int, int] | None:
    """The entry whose head, or tail, stands at a place: with bytes of it and of the body, and the body's checksum."""
    begin = at + len(mark)
    if content[at:begin] != mark or len(content) < begin + _HEAD.size:
        return None
    told, rows, size, position, seconds, wall, model, seal = _HEAD.unpack_from(content, begin)
    end = begin + _HEAD.size + 8 * rows
    if told != FORMAT or len(content) < end + _SEAL:
        return None
    if xxh3_64_digest(content[begin:end], key) != content[end : end + _SEAL]:
        return None
    numbers = np.frombuffer(content, np.uint64, rows, begin + _HEAD.size)
    return Entry(Stamp(position, seconds, wall, model), numbers, None), end + _SEAL - at, size, seal


def _next(content: memoryview, start: int, key: int) -> tuple[int, bytes] | None:
    """The next place where a head or tail stands."""
    rest, at = bytes(content[start:]), 0
    while True:
        places = [(place, mark) for mark in (_BEGIN, _END) if (place := rest.find(mark, at)) >= 0]
        if not places:
            return None
        at, mark = min(places)
        if _head(content, start + at, mark, key) is not None:
            return start + at, mark
        at += 1


def _read_change(body: memoryview, at: int, numbers: Numbers) -> tuple[Written, int]:
    kind, rows, numbers_of_state, steps, features, width, rest = _CHANGE.unpack_from(body, at)
    begin, at = at, at + _CHANGE.size

    def array(type_: Any, count: int) -> NDArray[Any]:
        nonlocal at
        found = np.frombuffer(body, type_, count, at)
        at += found.nbytes
        return found

    with_step = kind not in (DELETED, EXPIRED, TOUCHED, IMPORTED)
    starts = array(np.int64, rows) if with_step else np.zeros(rows, np.int64)
    lengths = array(np.int64, rows) if kind == ADVANCED and steps != rows else np.ones(rows, np.int64)
    inputs = array(np.float32, steps * features).reshape(steps, features)
    outputs = array(np.float32, steps * width).reshape(steps, width)
    size = numbers_of_state - 1
    stated = 1 if kind == COPIED else rows
    state = array(np.float32, stated * size).reshape(stated, size) if numbers_of_state else None
    told = bytes(body[at : at + rest])
    return Written(kind, numbers[:rows], starts, lengths, inputs, outputs, state, told), at + rest - begin
