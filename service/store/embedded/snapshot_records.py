"""Kept snapshots of sessions in the LMDB environment: states by number and step, each behind its seal."""

import logging
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import lmdb
from xxhash import xxh3_64_digest

from service.store.embedded.record import SEAL, Kept

_KEY = struct.Struct(">QQ")  # number, step
_NUMBER = struct.Struct(">Q")

_log = logging.getLogger("carousel.store")


class SnapshotRecords:
    """One database of the environment."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def read(self, txn: lmdb.Transaction, number: int) -> list[Kept]:
        """The snapshots of a session, oldest first; damaged ones are left out."""
        found = []
        for key, value in self._of(txn, number):
            seal, state = value[:SEAL], bytes(value[SEAL:])
            if xxh3_64_digest(key + state) == seal:
                found.append(Kept(_KEY.unpack(key)[1], state, stored=True))
            else:
                _log.error("a snapshot of the session of number %d is damaged, and is not kept", number)
        return found

    def put(self, txn: lmdb.Transaction, number: int, snapshots: Sequence[Kept]) -> None:
        """Let a session have these: those that are new are written, and others deleted."""
        kept = {_KEY.pack(number, one.step): one for one in snapshots}
        for key in [key for key, _ in self._of(txn, number) if key not in kept]:
            txn.delete(key, db=self._database)
        for key, one in kept.items():
            if not one.stored:
                txn.put(key, xxh3_64_digest(key + one.state) + one.state, db=self._database)

    def _of(self, txn: lmdb.Transaction, number: int) -> Iterator[tuple[bytes, bytes | memoryview]]:
        """Keys and values of the snapshots of a session."""
        with txn.cursor(self._database) as cursor:
            there = cursor.set_range(_NUMBER.pack(number))
            while there and bytes(cursor.key()[: _NUMBER.size]) == _NUMBER.pack(number):
                yield bytes(cursor.key()), cursor.value()
                there = cursor.next()
