"""What a store has when a process starts: records, and the journal behind them, run again through the models.

It knows records, entries and models; not engines or the loop.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from service.sessions.snapshots import Rule
from service.store import kind as kinds
from service.store.embedded import entries, journal_files
from service.store.embedded.record import Ended, Record, decode
from service.store.embedded.record import Kept as Snapshot
from service.store.embedded.replaying import Call

if TYPE_CHECKING:
    from service.store.embedded.entries import Entry, Written
    from service.store.embedded.records import Records

_log = logging.getLogger("carousel.store")


class Recovery:
    """Reads the journal once, and the records that it is about: no start reads all of them.

    `records` are these sessions by number, `calls` those behind them by the model's digest.
    """

    def __init__(self, records: Records, folder: Path, first: int) -> None:
        self.records: dict[int, Record] = {}
        self.calls: dict[bytes, list[Call]] = defaultdict(list)
        self.ended: list[Ended] = []  # expired, deleted, or harmed: to be told to the records
        self.stored: dict[int, int] = {}  # positions of the records that were read, by number
        self.tailed: set[int] = set()  # sessions whose calls waited for their model
        self.damaged: set[Path] = set()  # files of the journal
        self.first, self.alive = first, records.alive
        self.snapshots: dict[int, list[Snapshot]] = {}  # by session
        self.touched: dict[int, float] = {}
        self._counted: list[tuple[bytes, int]] = []  # kinds and states of the records that were read
        self.key = entries.key_of(records.store)
        self._txn = records.snapshot()
        self._stored, self._read = records, set[int]()
        for number, tail in records.tails(self._txn):
            self.tailed.add(number)
            self._read_entries(memoryview(tail), f"the calls that waited of session {number:x}")
        self.files = journal_files.files(folder)
        for path in self.files:
            self._read_file(path, records.store)

    def close(self) -> None:
        """Let go of what was read."""
        self._txn.abort()

    def kinds(self) -> dict[bytes, list[Record]]:
        """All sessions by their kind."""
        kinds: dict[bytes, list[Record]] = defaultdict(list)
        for _, record in sorted(self.records.items()):
            kinds[record.kind].append(record)
        return kinds

    def counts(self) -> dict[bytes, tuple[int, int]]:
        """How many sessions of each kind there are that the journal is not about, and their states: see Records."""
        counts = self._stored.kinds(self._txn)
        for kind, states in self._counted:
            counts[kind] = counts[kind][0] - 1, counts[kind][1] - states
        return {kind: count for kind, count in counts.items() if count[0] > 0}

    def expire(self, now: float) -> None:
        """Forget sessions that were idle beyond their TTL."""
        late = {number: ends for number, record in self.records.items() if (ends := self.deadline(record)) <= now}
        if not late:
            return
        for calls in self.calls.values():
            for _, seconds, one in calls:
                for number in late.keys() & set(one.numbers.tolist()):
                    late[number] = max(late[number], seconds + self.records[number].ttl)
        for number, deadline in late.items():
            if deadline <= now:
                record = self.records.pop(number)
                self.ended.append(Ended(number, record.id, deadline + record.ttl))

    def deadline(self, record: Record) -> float:
        """When a session expires, but for calls behind it."""
        return max(record.deadline, self.touched.get(record.number, 0.0) + record.ttl)

    def behind(self, record: Record) -> bool:
        """Whether the record in the store is not the session as it is known, calls aside."""
        number = record.number
        return number in self.touched or number in self.tailed or self.stored.get(number) != record.position

    def refuse(self, number: int, why: str) -> None:
        """Give a session up: it is damaged."""
        if self._record(number) and (record := self.records.pop(number)):
            _log.error("session %r is refused: %s", record.id, why)
            self.ended.append(Ended(number, record.id, 0.0))

    def _record(self, number: int) -> Record | None:
        """The session of a number as it stands, with its record where there is one."""
        if number not in self._read:
            self._read.add(number)
            value = self._stored.value(self._txn, number)
            if value is not None and number not in self.records:
                try:
                    record = decode(number, value)
                except (ValueError, UnicodeDecodeError) as error:
                    _log.error("the record of the session of number %d is refused: %s", number, error)
                    self.ended.append(Ended(number, "", 0.0))
                else:
                    self.records[number], self.stored[number] = record, record.position
                    self._counted.append((record.kind, record.states))
        return self.records.get(number)

    def _read_file(self, path: Path, store: bytes) -> None:
        with path.open("rb") as file:
            content = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ) if path.stat().st_size else b"")
        reason = journal_files.foreign(content, store)
        if reason is not None:
            _log.error("%s: %s; of its entries those of this store are taken", path.name, reason)
        if not self._read_entries(content[journal_files.HEAD :], path.name) or reason is not None:
            self.damaged.add(path)

    def _read_entries(self, content: memoryview, name: str) -> bool:
        """Take entries → whether all of them were whole."""
        whole = True
        for found in entries.read(content, self.key):
            if isinstance(found, range):
                torn = found.stop == len(content)
                level, what = logging.ERROR, "are damaged; sessions that miss them are refused"
                if torn:
                    level, what = logging.WARNING, "are a torn end, and are cut"
                _log.log(level, "%s: bytes %d to %d %s", name, found.start, found.stop, what)
                whole = whole and torn
                continue
            self.alive = max(self.alive or (0.0, 0.0), (found.stamp.seconds, found.stamp.wall))
            if found.body is None:
                whole = False
                _log.error("%s: entry %x is damaged", name, found.stamp.position)
                for number in found.numbers.tolist():
                    self.refuse(number, f"entry {found.stamp.position:x} of {name} is damaged")
            else:
                self._take(found)
        return whole

    def _take(self, entry: Entry) -> None:
        position, seconds, _, model = entry.stamp
        for one in entry.changes():
            if one.kind == entries.ADVANCED:
                for number in one.numbers.tolist():
                    self._record(number)
                self.calls[model].append(Call(position, seconds, one))
            elif one.kind in (entries.OPENED, entries.COPIED):
                self._open(position, seconds, one)
            elif one.kind == entries.IMPORTED:
                self._import(position, one)
            else:
                for number in one.numbers.tolist():
                    self._change(number, position, seconds, one)

    def _open(self, position: int, seconds: float, one: Written) -> None:
        told, kind = one.rest.split(b"\n")
        ttl, told_rule, *ids = orjson.loads(told)
        rule = None if told_rule is None else Rule(*told_rule)
        state = bytes(4 * kinds.decode(kind).width) if one.state is None else one.state.tobytes()
        step = one.starts.item(0)
        for number, id in zip(one.numbers.tolist(), ids, strict=True):
            if self._record(number) is None and number not in self.stored:
                self.records[number] = Record(number, id, position, step, seconds + ttl, ttl, kind, state, rule=rule)

    def _import(self, position: int, one: Written) -> None:
        """Take a session that came from another worker; it may have been here before."""
        number = one.numbers.item(0)
        self._record(number)
        if position > self.stored.get(number, 0):
            self.records[number] = decode(number, memoryview(one.rest))._replace(position=position)
            self.snapshots[number] = []
            self.ended = [gone for gone in self.ended if gone.number != number]

    def _change(self, number: int, position: int, seconds: float, one: Written) -> None:
        record = self._record(number)
        # a snapshot of a history stands in the entry that opens its session
        behind = self.stored.get(number, 0) if one.kind == entries.SNAPPED else record.position if record else 0
        if record is None or position <= behind:
            return
        if one.kind == entries.TOUCHED:
            self.touched[number] = seconds
        elif one.kind == entries.REPLACED:
            assert one.state is not None
            step, deadline, state = one.starts.item(0), seconds + record.ttl, one.state.tobytes()
            record = record._replace(position=position, step=step, deadline=deadline, numbers=state)
            if one.rest:  # it goes on in another engine, without its snapshots
                record, step = record._replace(kind=one.rest), -1
            self.records[number] = record._replace(long=b"")
            self.snapshots_of(record)[:] = [kept for kept in self.snapshots_of(record) if kept.step <= step]
        elif one.kind == entries.SNAPPED:
            assert one.state is not None
            assert record.rule is not None
            kept = self.snapshots_of(record)
            kept.append(Snapshot(one.starts.item(0), one.state.tobytes(), stored=False))
            del kept[: -record.rule.keep]
        else:
            del self.records[number]
            until = orjson.loads(one.rest) if one.kind == entries.EXPIRED else 0.0
            self.ended.append(Ended(number, record.id, until))

    def snapshots_of(self, record: Record) -> list[Snapshot]:
        """What is known of the snapshots of a session, to be changed."""
        if record.rule is None:
            return []
        if record.number not in self.snapshots:
            self.snapshots[record.number] = self._stored.snapshots(self._txn, record.number)
        return self.snapshots[record.number]
