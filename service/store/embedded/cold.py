"""Sessions that are in the store and not in memory: looked at where they lie, and brought in when they are called."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from service.errors import Overloaded, VersionNotFound
from service.sessions.session import Standing
from service.store import kind as kinds
from service.store.embedded.placing import place_one
from service.store.embedded.record import Ended, decode

if TYPE_CHECKING:
    import lmdb

    from service.sessions.session import Session
    from service.sessions.sessions import Sessions
    from service.store.clock import Clock
    from service.store.embedded.book import Book
    from service.store.embedded.journal import Journal
    from service.store.embedded.record import Record
    from service.store.embedded.records import Records

_log = logging.getLogger("carousel.store")


class ColdSessions:
    """See Cold. Invariant: a session is in `ended` or in memory, or its record says how it stands.

    Reading takes no lock and waits for no writer.
    """

    def __init__(self, records: Records, sessions: Sessions, clock: Clock, journal: Journal) -> None:
        self._records, self._sessions, self._clock, self._journal = records, sessions, clock, journal
        self.ended: dict[int, Ended] = {}  # by number: their records are still to be deleted
        self.books: dict[bytes, Book] = {}  # by kind
        self.count = self.bytes = 0
        self.by_kind = Counter[bytes]()

    def counts(self, kind: bytes, count: int, states: int) -> None:
        """Count sessions that come, or go, and their states with those of the snapshots that they may keep."""
        self.count += count
        self.by_kind[kind] += count
        self.bytes += states * 4 * kinds.decode(kind).width

    def load(self, id: str) -> Session | None:
        """See Cold."""
        with self._records.snapshot() as txn:
            record = self._find(txn, id)
            if record is None:
                return None
            book = self.books.get(record.kind)
            if book is None:
                raise Overloaded(f"session {id!r} is being recovered")
            if book.engine.refusal is None and self._records.waiting(txn, record.number):
                raise VersionNotFound(f"session {id!r} goes on after a restart: its version came later than its calls")
            kept = self._records.snapshots(txn, record.number) if record.rule else []
            record = record._replace(snapshots=kept)
            session = place_one(record, book, self._sessions, self._clock.seconds())
        self.counts(record.kind, -1, -record.states)
        return session

    def look(self, id: str) -> Standing | None:
        """See Cold."""
        with self._records.snapshot() as txn:
            record = self._find(txn, id)
            if record is None:
                return None
            kind, left = kinds.decode(record.kind), record.deadline - self._clock.seconds()
            kept = [one.step for one in self._records.snapshots(txn, record.number)] if record.rule else None
        return Standing(id, kind.model, kind.version, record.step, record.ttl, left, resident=False, snapshots=kept)

    def expired(self, id: str) -> bool:
        """See Cold."""
        with self._records.snapshot() as txn:
            until = self._records.expired(txn, id)
        later = [one.until for one in self.ended.values() if one.id == id] if until else []
        return (later[-1] if later else until) > self._clock.seconds()

    def ids(self, after: str, prefix: str, most: int) -> list[str]:
        """See Cold."""
        with self._records.snapshot() as txn:
            return self._records.after(txn, after, prefix, most)

    def _find(self, txn: lmdb.Transaction, id: str) -> Record | None:
        number = self._records.number(txn, id)
        value = None if number is None or number in self.ended else self._records.value(txn, number)
        if number is None or value is None:
            return None
        try:
            record = decode(number, value)
        except (ValueError, UnicodeDecodeError) as error:
            _log.error("the record of session %r (number %d) is refused: %s", id, number, error)
            self.ended[number] = Ended(number, id, 0.0)
            self.count -= 1
            return None
        if record.deadline > self._clock.seconds():
            more = self._records.waiting(txn, number)  # its model is not there, else it would be in memory
            return record._replace(step=record.step + more)
        self.expire(record)
        return None

    def expire(self, record: Record) -> None:
        """End a session that was idle beyond its TTL."""
        until = record.deadline + record.ttl
        self._journal.note_expired(record.number, until, kinds.decode(record.kind).file)
        self.ended[record.number] = Ended(record.number, record.id, until)
        self.counts(record.kind, -1, -record.states)
        self._sessions.expired.lapse(record.id, until - self._clock.offset)
