"""Records of sessions, one value each in an LMDB environment, and what tells that they are whole. Knows no engines.

LMDB commits with fsync: a record is there or not, after power loss too. It has one writer, a thread of its own.
"""

import logging
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import lmdb
from xxhash import xxh3_64_digest

from service.sessions.rewinds import Rule
from service.store.store import StoreRefusedError

_FORMAT = 2
_MARK = b"CRSs"
# mark, format, owner, epoch, position, step, deadline, TTL, rule; bytes of: tenant, id, kind, numbers, long, tail
_HEAD = struct.Struct("<4sHxx16sQQQddQQHHIIII")
_SEAL = 8
_NOBODY = bytes(16)  # the owner of all records while a store has one worker
_LARGEST = 2**40  # bytes of the environment: of addresses, not of the disk
_ID = struct.Struct(">Q")
_SNAPSHOT = struct.Struct(">QQ")  # number, step
_ALIVE = struct.Struct("<dd")

_log = logging.getLogger("carousel.store")


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
    long: bytes = b""  # longer kept answers; see pack_long
    tail: bytes = b""  # entries behind `position` that could not be run, as their model was not there
    rule: Rule | None = None
    snapshots: Sequence[Kept] | None = None  # None: as they are stored

    def encode(self) -> bytes:
        """The bytes that `decode` reads. The tenant is empty, the owner and its epoch are 0."""
        id = self.id.encode()
        parts = (b"", id, self.kind, self.numbers, self.long, self.tail)
        stands = self.position, self.step, self.deadline, self.ttl, *(self.rule or (0, 0))
        head = _HEAD.pack(_MARK, _FORMAT, _NOBODY, 0, *stands, *map(len, parts))
        content = b"".join((_ID.pack(self.number), head, *parts))
        return content[_ID.size :] + xxh3_64_digest(content)


def decode(number: int, value: memoryview) -> Record:
    """Read what `encode` wrote under that number.

    Raises:
        ValueError: it is damaged, or of another format.

    """
    content, seal = value[:-_SEAL], value[-_SEAL:]
    if len(value) < _HEAD.size + _SEAL or xxh3_64_digest(_ID.pack(number) + content) != seal:
        raise ValueError("it is damaged")
    mark, told, _, _, position, step, deadline, ttl, every, keep, *sizes = _HEAD.unpack_from(content)
    if (mark, told) != (_MARK, _FORMAT):
        raise ValueError(f"it has format {told}, not {_FORMAT}")
    parts, at = [], _HEAD.size
    for size in sizes:
        parts.append(content[at : at + size])
        at += size
    _, id, kind, numbers, long, tail = parts
    return Record(
        *(number, str(id, "utf-8"), position, step, deadline, ttl, bytes(kind), numbers, bytes(long), bytes(tail)),
        rule=Rule(every, keep) if every else None,
    )


class Ended(NamedTuple):
    """A session that is no more. `until`: its id is told as expired until then; 0: never."""

    number: int
    id: str
    until: float


class Records:
    """The environment: `records` by number, `ids` → number, `ended` id → when it is forgotten, `about` the store.

    `snapshots` are states by number and step, each behind its seal.
    """

    def __init__(self, folder: Path) -> None:
        environment = folder / "records"
        try:
            environment.mkdir(exist_ok=True)
            environment.chmod(0o700)  # lmdb would give it the mode of its files, with which only root enters it
            self._env = lmdb.open(str(environment), map_size=_LARGEST, max_dbs=8, lock=False, mode=0o600)
            self._records, self._ids, self._ended, self._about, self._snapshots = (
                self._env.open_db(name) for name in (b"records", b"ids", b"ended", b"about", b"snapshots")
            )
            self.epoch, self.store, self.alive = self._begin()
        except (lmdb.Error, OSError) as error:
            raise StoreRefusedError(f"{environment} cannot be read: {error} (docs/durability.md)") from error

    def _begin(self) -> tuple[int, bytes, tuple[float, float] | None]:
        """Count this start → its number, the store's own random one, and when it was last seen alive."""
        with self._env.begin(write=True, db=self._about) as txn:
            told = txn.get(b"format", str(_FORMAT).encode())
            if told != str(_FORMAT).encode():
                raise StoreRefusedError(f"the store has format {told.decode()}, not {_FORMAT}")
            txn.put(b"format", told)
            store = txn.get(b"store") or secrets.token_bytes(16)
            txn.put(b"store", store)
            epoch = int(txn.get(b"epoch", b"0")) + 1
            txn.put(b"epoch", str(epoch).encode())
            alive = txn.get(b"alive")
            return epoch, store, None if alive is None else _ALIVE.unpack(alive)

    def snapshot(self) -> lmdb.Transaction:
        """A view of what is there now; values are read where they lie, while it is open."""
        return self._env.begin(buffers=True)

    def all(self, txn: lmdb.Transaction) -> Iterator[tuple[int, memoryview]]:
        """Numbers and values of all records."""
        with txn.cursor(self._records) as cursor:
            for key, value in cursor:
                yield _ID.unpack(key)[0], memoryview(value)

    def ids(self, txn: lmdb.Transaction) -> dict[int, str]:
        """Ids by number."""
        with txn.cursor(self._ids) as cursor:
            return {_ID.unpack(number)[0]: _id(key) for key, number in cursor}

    def ended(self, txn: lmdb.Transaction) -> dict[str, float]:
        """Expired ids, and when they are forgotten."""
        with txn.cursor(self._ended) as cursor:
            return {_id(key): struct.unpack("<d", until)[0] for key, until in cursor}

    def snapshots(self, txn: lmdb.Transaction, number: int) -> list[Kept]:
        """The snapshots of a session, oldest first; damaged ones are left out."""
        found = []
        with txn.cursor(self._snapshots) as cursor:
            for key, value in _of_number(cursor, number):
                seal, state = value[:_SEAL], value[_SEAL:]
                if xxh3_64_digest(key + bytes(state)) == seal:
                    found.append(Kept(_SNAPSHOT.unpack(key)[1], bytes(state), stored=True))
                else:
                    _log.error("a snapshot of the session of number %d is damaged, and is not kept", number)
        return found

    def _put_snapshots(self, txn: lmdb.Transaction, record: Record) -> None:
        """Write those that are new, and delete those that it does not have any more."""
        kept = {_SNAPSHOT.pack(record.number, one.step): one for one in record.snapshots or ()}
        with txn.cursor(self._snapshots) as cursor:
            for key in [key for key, _ in _of_number(cursor, record.number) if key not in kept]:
                txn.delete(key, db=self._snapshots)
        for key, one in kept.items():
            if not one.stored:
                txn.put(key, xxh3_64_digest(key + one.state) + one.state, db=self._snapshots)

    def put(self, records: Sequence[Record], fresh: Sequence[tuple[str, int]]) -> None:
        """Write records, all or none; `fresh` are those that are written for the first time."""
        with self._env.begin(write=True) as txn:
            with txn.cursor(self._records) as cursor:
                cursor.putmulti([(_ID.pack(record.number), record.encode()) for record in records])
            for record in records:
                if record.rule is not None and record.snapshots is not None:
                    self._put_snapshots(txn, record)
            for id, number in fresh:
                txn.put(_key(id), _ID.pack(number), db=self._ids)
                txn.delete(_key(id), db=self._ended)

    def end(self, ended: Iterable[Ended], alive: tuple[float, float]) -> None:
        """Delete records of sessions that are no more, and remember how late it is."""
        with self._env.begin(write=True) as txn:
            for number, id, until in ended:
                txn.delete(_ID.pack(number), db=self._records)
                with txn.cursor(self._snapshots) as cursor:
                    for key in [key for key, _ in _of_number(cursor, number)]:
                        txn.delete(key, db=self._snapshots)
                taken = txn.get(_key(id), db=self._ids)
                if taken == _ID.pack(number):
                    txn.delete(_key(id), db=self._ids)
                if until and taken in (None, _ID.pack(number)):
                    txn.put(_key(id), struct.pack("<d", until), db=self._ended)
            txn.put(b"alive", _ALIVE.pack(*alive), db=self._about)

    def tidy(self, now: float) -> None:
        """Forget expired ids whose time is over."""
        with self._env.begin(write=True) as txn:
            for id, until in self.ended(txn).items():
                if until <= now:
                    txn.delete(_key(id), db=self._ended)

    def close(self) -> None:
        """Give the environment up."""
        self._env.close()


def _of_number(cursor: lmdb.Cursor, number: int) -> Iterator[tuple[bytes, bytes | memoryview]]:
    """Keys and values of the snapshots of a session."""
    there = cursor.set_range(_ID.pack(number))
    while there and bytes(cursor.key()[:8]) == _ID.pack(number):
        yield bytes(cursor.key()), cursor.value()
        there = cursor.next()


def _key(id: str) -> bytes:
    """The key of an id: tenant, 0, id. There are no tenants yet."""
    return b"\0" + id.encode()


def _id(key: bytes | memoryview) -> str:
    return str(key, "utf-8").partition("\0")[2]
