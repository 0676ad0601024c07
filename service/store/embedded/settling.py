"""Prepares the folders of a store before its workers start: a session that lies in two of them stays in one, and the
folders of more workers than there will be are merged into the first. No other process has them open.
"""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import lmdb
import numpy as np

from service.store import kind as kinds
from service.store.embedded import entries, journal_files
from service.store.embedded.record import Ended, Kept, decode
from service.store.embedded.records import COUNTS, EPOCH, Records
from service.store.embedded.recovery import Recovery
from service.store.embedded.replaying import tails

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from service.store.embedded.record import Record

_AT_ONCE = 500  # records that are written together

_log = logging.getLogger("carousel.store")


def folder_of(path: Path, number: int) -> Path:
    """The folder of a worker, counted from 1. The first one has what a service without workers has."""
    return path if number == 1 else path / f"worker-{number}"


def settle(path: Path, workers: int) -> None:
    """Prepare the folders for so many workers. Blocks.

    Raises:
        StoreRefusedError: one cannot be read.

    """
    folders = [path, *path.glob("worker-*"), *path.glob("merging-*")]
    if len(folders) > 1:
        _choose(folders)
    for folder in folders[1:]:
        kind, told = folder.name.split("-")
        if kind == "worker" and int(told) > workers:
            left = folder.rename(path / f"merging-{told}")  # it is no worker's, whatever happens
            _merge(left, path)
        elif kind == "merging":
            _merge(folder, path)
    for number in range(2, workers + 1):
        _prepare(folder_of(path, number), path)


class Dead:
    """The folder of a worker that has ended."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._records = folder, Records(folder)
        self._key = entries.key_of(self._records.store)
        self.imported: dict[int, int] = {}  # number → epoch of the newest entry that brought it here
        # number → position and epoch of its last entry; −1: it has ended
        self._stands: dict[int, tuple[int, int]] = {}
        for file in journal_files.files(folder):
            for found in entries.read(memoryview(file.read_bytes())[journal_files.HEAD :], self._key):
                if not isinstance(found, range) and found.body is not None:
                    self._take(found)

    def close(self) -> None:
        """Let another process have it."""
        self._records.close()

    def epoch(self, number: int) -> int:
        """The epoch of a session; -1: it is not there."""
        position, epoch = self._stands.get(number, (0, -1))
        with self._records.snapshot() as txn, suppress(ValueError):
            value = self._records.value(txn, number)
            record = None if value is None else decode(number, value)
            if record is not None and record.position >= position:
                epoch = record.epoch
        return epoch

    def forget(self, numbers: Iterable[int]) -> None:
        """Let sessions be deleted: another worker has them."""
        gone = np.array([*numbers], np.int64)
        first = self._records.epoch << EPOCH
        stamp = entries.Stamp(first + 1, 0.0, 0.0, bytes(8))
        entry = entries.entry(entries.change(entries.DELETED, len(gone)), gone.tobytes(), stamp, self._key)
        journal_files.add(self._folder, self._records.store, first + 1, entry)

    def _take(self, entry: entries.Entry) -> None:
        for one in entry.changes():
            numbers = one.numbers.tolist()
            if one.kind == entries.IMPORTED:
                epoch = self.imported[numbers[0]] = decode(numbers[0], memoryview(one.rest)).epoch
            elif one.kind in (entries.OPENED, entries.COPIED):
                epoch = 0
            elif one.kind in (entries.DELETED, entries.EXPIRED):
                epoch = -1
            else:
                continue
            self._stands |= dict.fromkeys(numbers, (entry.stamp.position, epoch))


def kinds_of(folder: Path) -> set[bytes]:
    """The kinds of the sessions in a folder that another process has."""
    path = folder / "records"
    if not (path / "data.mdb").exists():
        return set()
    with closing(lmdb.open(str(path), readonly=True, max_dbs=8)) as env, env.begin() as txn:
        try:
            found = env.open_db(b"kinds", txn, create=False)
        except lmdb.NotFoundError:
            return set()
        with txn.cursor(found) as cursor:
            return {bytes(value[COUNTS.size :]) for _, value in cursor}


def _choose(folders: list[Path]) -> None:
    """Let the highest epoch have each session that was on its way when all ended."""
    if not any(journal_files.files(folder) for folder in folders):
        return
    dead = [Dead(folder) for folder in folders]
    try:
        losers: dict[int, list[int]] = defaultdict(list)
        for number in set().union(*(one.imported for one in dead)):
            epochs = [one.epoch(number) for one in dead]
            newest = max(*epochs, *(one.imported.get(number, -1) for one in dead))  # it may have ended there
            for place, epoch in enumerate(epochs):
                if 0 <= epoch < newest:
                    losers[place].append(number)
        for place, numbers in losers.items():
            dead[place].forget(numbers)
    finally:
        for one in dead:
            one.close()


def _prepare(folder: Path, first: Path) -> None:
    """Make a folder whose numbers of sessions no folder had that was there before: the first one has their epochs."""
    if not folder.exists():
        folder.mkdir()
        with closing(Records(first)) as old, closing(Records(folder)) as new:
            new.reach(old.epoch)


def _merge(source: Path, target: Path) -> None:
    """Write what a folder has to another one, and remove it. Calls behind records wait there for their models."""
    count = 0
    with closing(Records(source)) as old, closing(Records(target)) as new:
        base = max(old.epoch, new.epoch) << EPOCH  # of positions: behind all that there are
        new.reach(base >> EPOCH)
        found = Recovery(old, source, 0)
        found.key = entries.key_of(new.store)
        written = {one.number for one in found.ended}
        for kind, records in found.kinds().items():
            for record, tail, steps in tails(found, records, kinds.decode(kind).file, base):
                new.put_tail(_whole(record, base, record.snapshots or ()), tail, steps)
                written.add(record.number)
        by_kind: dict[bytes, list[Record]] = defaultdict(list)
        with old.snapshot() as txn:
            for number, value in old.all(txn):
                if number in written:
                    continue
                try:
                    record = decode(number, value)
                except ValueError as error:
                    _log.error("the record of the session of number %d is refused: %s", number, error)
                    continue
                record = _whole(record, base, old.snapshots(txn, number) if record.rule else ())
                by_kind[record.kind].append(record._replace(numbers=bytes(record.numbers)))
                count += 1
                if len(by_kind[record.kind]) == _AT_ONCE:
                    _put(new, by_kind.pop(record.kind))
            for some in by_kind.values():
                _put(new, some)
            gone = [*old.tombstones(txn), *(Ended(0, one.id, one.until) for one in found.ended if one.until)]
        new.end(gone, max(found.alive or (0.0, 0.0), new.alive or (0.0, 0.0)))
        found.close()
    shutil.rmtree(source)
    _log.info("%d sessions of %s were taken over", count + len(written), source.name)


def _put(new: Records, records: list[Record]) -> None:
    new.put(records, [(record.id, record.number) for record in records])


def _whole(record: Record, position: int, snapshots: Iterable[Kept]) -> Record:
    return record._replace(position=position, snapshots=[one._replace(stored=False) for one in snapshots])
