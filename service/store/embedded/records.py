"""Records of sessions, one value each in an LMDB environment, and what tells that they are whole. Knows no engines.

LMDB commits with fsync: a record is there or not, after power loss too. It has one writer, a thread of its own.
"""

import logging
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path

import lmdb
from xxhash import xxh3_64_digest

from service.store.embedded.record import FORMAT, Ended, Kept, Record, kind_of
from service.store.embedded.snapshot_records import SnapshotRecords
from service.store.store import StoreRefusedError

EPOCH = 44  # bits that count sessions and entries of one process
_LARGEST = 2**40  # bytes of the environment: of addresses, not of the disk
_ID = struct.Struct(">Q")
_ALIVE = struct.Struct("<dd")
_DUE = struct.Struct(">QB")  # second, what is due then
_SESSION, _TOMBSTONE = 0, 1
_STEPS = struct.Struct("<Q")
COUNTS = struct.Struct("<qq")  # sessions, and their states with those of the snapshots that they may keep
_LOCK = 2**16  # bytes: more than LMDB maps of its lock file

_log = logging.getLogger("carousel.store")


class Records:
    """The environment. A reader sees what is committed, on any thread; one thread writes.

    `records` by number, `ids` → number, `kinds` of sessions and how many there are, `due` what to look at when,
    `ended` id → when it is forgotten, `tails` entries that wait for their model, `about` the store; and `snapshots`.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "records"
        try:
            path.mkdir(exist_ok=True)
            path.chmod(0o700)  # lmdb would give it the mode of its files, with which only root enters it
            if not (lock := path / "lock.mdb").exists():  # it is mapped: with holes, a full disk would be SIGBUS
                lock.touch(0o600)
                lock.write_bytes(bytes(_LOCK))
            self._env = lmdb.open(str(path), map_size=_LARGEST, max_dbs=8, mode=0o600)
            names = (b"records", b"ids", b"ended", b"about", b"due", b"kinds", b"tails")
            dbs = [self._env.open_db(name) for name in names]
            self._records, self._ids, self._ended, self._about, self._due, self._kinds, self._tails = dbs
            self._snapshots = SnapshotRecords(self._env.open_db(b"snapshots"))
            self.epoch, self.store, self.alive = self._begin()
        except (lmdb.Error, OSError) as error:
            raise StoreRefusedError(f"{path} cannot be read: {error} (docs/durability.md)") from error

    def _begin(self) -> tuple[int, bytes, tuple[float, float] | None]:
        """Count this start → its number, the store's own random one, and when it was last seen alive."""
        with self._env.begin(write=True, db=self._about) as txn:
            told = txn.get(b"format", str(FORMAT).encode())
            if told != str(FORMAT).encode():
                raise StoreRefusedError(f"the store has format {told.decode()}, not {FORMAT}")
            txn.put(b"format", told)
            store = txn.get(b"store") or secrets.token_bytes(16)
            txn.put(b"store", store)
            epoch = int(txn.get(b"epoch", b"0")) + 1
            txn.put(b"epoch", str(epoch).encode())
            alive = txn.get(b"alive")
            return epoch, store, None if alive is None else _ALIVE.unpack(alive)

    def reach(self, epoch: int) -> None:
        """Let the next start have a number beyond this one."""
        with self._env.begin(write=True, db=self._about) as txn:
            txn.put(b"epoch", str(max(epoch, self.epoch)).encode())

    # Reading.

    def snapshot(self) -> lmdb.Transaction:
        """A view of what is there now; values are read where they lie, while it is open."""
        return self._env.begin(buffers=True)

    def number(self, txn: lmdb.Transaction, id: str) -> int | None:
        """The number of the session of an id."""
        found = txn.get(_key(id), db=self._ids)
        return None if found is None else int(_ID.unpack(found)[0])

    def value(self, txn: lmdb.Transaction, number: int) -> memoryview | None:
        """The record of a session, to be decoded."""
        found = txn.get(_ID.pack(number), db=self._records)
        return None if found is None else memoryview(found)

    def after(self, txn: lmdb.Transaction, id: str, prefix: str, most: int) -> list[str]:
        """The next ids in order, behind one, that begin so."""
        first, begin = max(_key(id) + b"\0", _key(prefix)), _key(prefix)
        with txn.cursor(self._ids) as cursor:
            there = cursor.set_range(first)
            keys = (bytes(key) for key in cursor.iternext(values=False)) if there else iter(())
            return [_id(key) for key in islice(takewhile(lambda key: key.startswith(begin), keys), most)]

    def all(self, txn: lmdb.Transaction) -> Iterator[tuple[int, memoryview]]:
        """Numbers and records of all sessions."""
        with txn.cursor(self._records) as cursor:
            for key, value in cursor:
                yield _ID.unpack(key)[0], memoryview(value)

    def tombstones(self, txn: lmdb.Transaction) -> Iterator[Ended]:
        """Ids that are told as expired."""
        with txn.cursor(self._ended) as cursor:
            for key, value in cursor:
                yield Ended(0, _id(key), struct.unpack("<d", value)[0])

    def expired(self, txn: lmdb.Transaction, id: str) -> float:
        """Until when an id is told as expired; 0: it is not."""
        found = txn.get(_key(id), db=self._ended)
        return 0.0 if found is None else float(struct.unpack("<d", found)[0])

    def kinds(self, txn: lmdb.Transaction) -> dict[bytes, tuple[int, int]]:
        """How many sessions there are of each kind, and how many states they may have with their snapshots."""
        with txn.cursor(self._kinds) as cursor:
            return {bytes(value[COUNTS.size :]): COUNTS.unpack_from(value) for _, value in cursor}

    def tails(self, txn: lmdb.Transaction) -> list[tuple[int, bytes]]:
        """Numbers of sessions, and the entries behind their records that wait for their models."""
        with txn.cursor(self._tails) as cursor:
            return [(_ID.unpack(key)[0], bytes(value[_STEPS.size :])) for key, value in cursor]

    def waiting(self, txn: lmdb.Transaction, number: int) -> int:
        """Time steps of the entries of a session that wait for its model."""
        found = txn.get(_ID.pack(number), db=self._tails)
        return 0 if found is None else int(_STEPS.unpack_from(found)[0])

    def snapshots(self, txn: lmdb.Transaction, number: int) -> list[Kept]:
        """The snapshots of a session, oldest first; damaged ones are left out."""
        return self._snapshots.read(txn, number)

    def due(self, now: float, most: int) -> list[tuple[bytes, int, bytes | None]]:
        """Sessions whose time may be over: what they stand under in `due`, numbers, and records."""
        found: list[tuple[bytes, int, bytes | None]] = []
        with self._env.begin() as txn, txn.cursor(self._due) as cursor:
            for key in cursor.iternext(values=False):
                second, what = _DUE.unpack_from(key)
                if second > now or len(found) == most:
                    break
                if what == _SESSION:
                    (number,) = _ID.unpack_from(key, _DUE.size)
                    found.append((key, number, txn.get(_ID.pack(number), db=self._records)))
        return found

    # Writing.

    def put(self, records: Sequence[Record], fresh: Sequence[tuple[str, int]]) -> None:
        """Write records of one kind, all or none; `fresh` are those that are written for the first time."""
        with self._env.begin(write=True) as txn:
            new = {number for _, number in fresh if txn.get(_ID.pack(number), db=self._records) is None}
            with txn.cursor(self._records) as cursor:
                cursor.putmulti([(_ID.pack(record.number), record.encode()) for record in records])
            for record in records:
                if record.rule is not None and record.snapshots is not None:
                    self._snapshots.put(txn, record.number, record.snapshots)
                if record.number in new:
                    txn.put(_due_session(record.deadline, record.number), b"", db=self._due)
            for id, number in fresh:
                txn.put(_key(id), _ID.pack(number), db=self._ids)
                txn.delete(_key(id), db=self._ended)
            if new:
                states = sum(record.states for record in records if record.number in new)
                self._count(txn, records[0].kind, len(new), states)

    def put_tail(self, record: Record, tail: bytes, steps: int) -> None:
        """Write a record, and the entries behind it that wait for its model: so many time steps."""
        self.put([record], [(record.id, record.number)])
        with self._env.begin(write=True) as txn:
            txn.put(_ID.pack(record.number), _STEPS.pack(steps) + tail, db=self._tails)

    def drop_tails(self, numbers: Iterable[int]) -> None:
        """Entries that waited were run, and records are behind them."""
        with self._env.begin(write=True) as txn:
            for number in numbers:
                txn.delete(_ID.pack(number), db=self._tails)

    def end(self, ended: Iterable[Ended], alive: tuple[float, float]) -> None:
        """Delete records of sessions that are no more, and remember how late it is."""
        with self._env.begin(write=True) as txn:
            for number, id, until in ended:
                value = txn.pop(_ID.pack(number), db=self._records)
                if value is not None:
                    self._count(txn, *kind_of(value))
                txn.delete(_ID.pack(number), db=self._tails)
                self._snapshots.put(txn, number, ())
                taken = txn.get(_key(id), db=self._ids)
                if taken == _ID.pack(number):
                    txn.delete(_key(id), db=self._ids)
                if taken in (None, _ID.pack(number)):
                    txn.delete(_key(id), db=self._ended)
                    if until:
                        txn.put(_key(id), struct.pack("<d", until), db=self._ended)
                        txn.put(_DUE.pack(int(until) + 1, _TOMBSTONE) + _key(id), b"", db=self._due)
            txn.put(b"alive", _ALIVE.pack(*alive), db=self._about)

    def tidy(self, now: float, looked_at: Iterable[bytes], again: Iterable[tuple[float, int]]) -> None:
        """Forget what was due: sessions that were looked at, but for some later, and expired ids."""
        with self._env.begin(write=True) as txn:
            for key in looked_at:
                txn.delete(key, db=self._due)
            for later, number in again:
                txn.put(_due_session(later, number), b"", db=self._due)
            with txn.cursor(self._due) as cursor:
                for key in list(takewhile(lambda key: _DUE.unpack_from(key)[0] <= now, cursor.iternext(values=False))):
                    id = key[_DUE.size :]
                    if _DUE.unpack_from(key)[1] == _TOMBSTONE:
                        until = txn.get(id, db=self._ended)
                        if until is not None and struct.unpack("<d", until)[0] <= now:
                            txn.delete(id, db=self._ended)
                        txn.delete(key, db=self._due)

    def close(self) -> None:
        """Give the environment up."""
        self._env.close()

    def _count(self, txn: lmdb.Transaction, kind: bytes, more: int, states: int) -> None:
        key = xxh3_64_digest(kind)
        found = txn.get(key, db=self._kinds)
        if found is None and more < 0:
            return  # of a damaged record
        before = COUNTS.unpack_from(found) if found else (0, 0)
        txn.put(key, COUNTS.pack(before[0] + more, before[1] + states) + kind, db=self._kinds)


def _due_session(deadline: float, number: int) -> bytes:
    return _DUE.pack(int(deadline) + 1, _SESSION) + _ID.pack(number)


def _key(id: str) -> bytes:
    """The key of an id: tenant, 0, id. There are no tenants yet."""
    return b"\0" + id.encode()


def _id(key: bytes | memoryview) -> str:
    return str(key, "utf-8").partition("\0")[2]
