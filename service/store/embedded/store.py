"""The embedded store: what is committed goes to a journal before it is answered, and to records at leisure.

Everything but `start` is called on the loop's thread. It wires journal, records, books and recovery.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import orjson

from service.store.embedded import entries, journal_files
from service.store.embedded.book import Book
from service.store.embedded.clock import Clock
from service.store.embedded.cold import ColdSessions
from service.store.embedded.journal import Journal
from service.store.embedded.kind import Kind
from service.store.embedded.lock import Lock, Share
from service.store.embedded.placing import place
from service.store.embedded.records import EPOCH, Records
from service.store.embedded.recovery import Recovery
from service.store.embedded.replaying import replay, tails
from service.store.embedded.settling import settle
from service.store.embedded.upkeep import Upkeep
from service.store.embedded.writer import EntryWriter
from service.store.store import Advanced, Moved, Snapped

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.sessions.session import Session
    from service.sessions.sessions import Sessions
    from service.store.embedded.record import Record
    from service.store.store import Change, Conflicts

_LOOK = 0.5  # seconds between looks for touched sessions and jumps of the clock
_SHARE = 38  # bits that count sessions of one process of several

_log = logging.getLogger("carousel.store")


class EmbeddedStore:
    """Invariant: what was answered is in a record, or in an entry behind it in the journal."""

    def __init__(
        self,
        path: Path,
        sessions: Sessions,
        *,
        sync: bool = False,
        behind: float = 0.0,
        resident: int = 2**30,
        replay_seconds: float = 10.0,
        patience: float = 0.0,
        share: Share | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._sessions, self._sync, self._replay_seconds = path, sessions, sync, replay_seconds
        self._behind = behind  # seconds of answered steps that may be lost
        self._share = share
        self._patience, self._monotonic, self._wall, self._resident = patience, clock, wall, resident
        self._books: dict[object, Book] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.recovering: dict[str, int] = {}

    # Commits.

    def commit(self, home: object, changes: Sequence[Change]) -> asyncio.Future[Conflicts] | None:
        """See Store."""
        book = self._books[changes[0].home if isinstance(changes[0], Moved) else home]
        body, numbers = book.entry(changes)
        position = self._journal.next()
        steps = all(isinstance(one, Advanced | Snapped) for one in changes)
        pending = self._writer.append(body, numbers, position, book.model, behind=steps)
        if pending is None:
            self._committed(book, changes, position)
            return None

        def done(written: asyncio.Future[Conflicts]) -> None:
            if written.exception() is None:
                self._committed(book, changes, position)

        pending.add_done_callback(done)
        return pending

    def expired(self, session: Session, until: float) -> None:
        """A session was idle beyond its TTL; its id is told as expired until then."""
        book, row = self._books[session.home], session.row
        if book.changed.item(row):
            until += self._clock.offset
            self._writer.note_expired(session.birth, until, book.model)
            self._upkeep.ended[session.birth] = book.forget(row, until)

    def _committed(self, book: Book, changes: Sequence[Change], position: int) -> None:
        self._upkeep.position = position
        if isinstance(changes[0], Moved):
            source, left = self._books[changes[0].source], changes[0].left
            book.epoch[changes[0].row] = source.epoch[left]
            source.forget(left)
        for one in book.committed(changes, position):
            self._upkeep.ended[one.number] = one

    # The beginning.

    def start(self) -> None:
        """See Keeper."""
        if self._share is None:
            self._lock = Lock(self._path / "lock", self._patience)
            settle(self._path, 1)
        else:
            self._path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock.inherited(self._share.lock)
        self._records = Records(self._path)
        first = self._records.epoch << EPOCH
        self._sessions.born = first + (self._share.place << _SHARE if self._share is not None else 0)
        files = journal_files.files(self._path)
        self._recovery = Recovery(self._records, files, first)
        self._clock = Clock(self._monotonic, self._wall, self._recovery.alive)
        self._journal = Journal(self._path, self._records.store, first, sync=self._sync, behind=self._behind)
        self._writer = EntryWriter(self._journal, self._clock, self._recovery.key)
        told = self._journal, self._records, self._clock, self._sessions
        self._upkeep = upkeep = Upkeep(*told, resident=self._resident, position=first)
        upkeep.old, upkeep.damaged, upkeep.tailed = files, self._recovery.damaged, self._recovery.tailed
        self._recovery.expire(self._clock.seconds())
        self._kinds = self._recovery.kinds()
        for one in self._recovery.ended:
            upkeep.ended[one.number] = one
            if one.until > self._clock.seconds():
                self._sessions.expired.lapse(one.id, one.until - self._clock.offset)
        self.recovering = {record.id: number for number, record in self._recovery.records.items()}
        self._sessions.recovering, self._sessions.lapsed = self.recovering, self.expired
        cold = self._cold = ColdSessions(self._records, self._sessions, self._clock, upkeep.ended, self._lapsed)
        upkeep.cold = self._sessions.cold = cold
        if self._behind:
            self._sessions.promises["behind_ms"] = round(1000 * self._behind)
        self._count()

    def _count(self) -> None:
        """Count the sessions that the journal is not about: they stay where they are."""
        cold = self._cold
        for kind, counts in self._recovery.counts().items():
            cold.counts(kind, *counts)
            self._kinds.setdefault(kind, [])
        if total := cold.count + len(self.recovering):
            _log.info("%d sessions are stored in %s", total, self._path)

    def _lapsed(self, record: Record, until: float) -> None:
        self._writer.note_expired(record.number, until, Kind(**orjson.loads(record.kind)).file)

    def stored(self) -> set[tuple[str, str]]:
        """See Keeper."""
        kinds = [Kind(**orjson.loads(encoded)) for encoded in self._kinds]
        return {(kind.model, kind.version) for kind in kinds}

    def release(self, home: object) -> None:
        """See Keeper."""
        if (book := self._books.pop(home, None)) is not None:
            self._upkeep.books.remove(book)
            if self._cold.books.get(book.kind.encode()) is book:
                del self._cold.books[book.kind.encode()]

    def holds(self, home: object) -> bool:
        """See Keeper."""
        book = self._books.get(home)
        return book is not None and self._cold.by_kind[book.kind.encode()] > 0

    async def recover(self, home: object) -> None:
        """See Keeper."""
        engine = cast("Engine", home)
        book = self._book(engine)
        records = self._kinds.pop(book.kind.encode(), [])
        if not records:
            return
        begin, refused = time.perf_counter(), len(self._recovery.ended)
        told, each = (self._recovery, records, book.model, engine.model, engine.fitness), self._sessions.budget.each
        found = await asyncio.to_thread(replay, *told, each=each)
        self._upkeep.ended |= {one.number: one for one in self._recovery.ended[refused:]}
        await place(found, book, self._sessions, self._clock.seconds)
        for record in records:
            self.recovering.pop(record.id, None)
        _log.info(
            "%d sessions of %s/%s are back in %.1f s; %d steps were run again",
            *(len(found.records), engine.name, engine.version, time.perf_counter() - begin, found.replayed),
        )

    async def recovered(self, absent: Callable[[str, str], Engine]) -> None:
        """See Keeper. `absent` makes an engine that refuses the calls of a model version and says why."""
        for encoded, records in self._kinds.items():
            kind = Kind(**orjson.loads(encoded))
            engine = absent(kind.model, kind.version)
            await self._keep(records, kind.file)
            book = self._book(engine)
            self._cold.books[encoded] = book
            for record in records:
                self.recovering.pop(record.id)
                self._cold.counts(encoded, 1, record.states)
            _log.warning("sessions wait for %s/%s: %s", kind.model, kind.version, engine.refusal)
        self._kinds = {}
        self._recovery.close()
        del self._recovery  # of a million sessions it has 1 GB
        run = self._upkeep.run(self._replay_seconds)
        self._tasks = [asyncio.create_task(self._look()), asyncio.create_task(run)]

    async def _keep(self, records: Sequence[Record], model: bytes) -> None:
        """Keep what is behind the records of sessions whose model is not there."""
        for record, *tail in tails(self._recovery, records, model):
            await self._upkeep.blocking(self._records.put_tail, record, *tail)
            self._upkeep.tailed.discard(record.number)

    def _book(self, engine: Engine) -> Book:
        book = self._books[engine] = Book(engine)
        self._upkeep.books.append(book)
        self._cold.books[book.kind.encode()] = book
        return book

    # While it serves, and the end.

    async def _look(self) -> None:
        """Write what no call writes: sessions that were touched, and that the system's clock was set."""
        while True:
            await asyncio.sleep(_LOOK)
            self.note_touched()
            self._upkeep.look()
            if self._clock.jumped():
                self._writer.note(b"", b"", bytes(8))

    def note_touched(self) -> None:
        """Write the sessions whose idle clocks were restarted without a call: a retry, say."""
        for book in self._books.values():
            if len(rows := book.touched(self._upkeep.position)):
                self._writer.note(
                    entries.change(entries.TOUCHED, len(rows)), book.engine.table.birth[rows].tobytes(), book.model
                )

    def ends(self) -> None:
        """See Keeper."""
        self._lock.drains()

    async def close(self) -> None:
        """See Keeper."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            if self._tasks:  # else not all is recovered: records and journal stay as they are
                await self._upkeep.round(0.0)
        except Exception as error:
            _log.error("records cannot be written, the journal has the rest: %s", error)
        await self._journal.close()
        self._upkeep.close()
        self._records.close()
        self._lock.release()
