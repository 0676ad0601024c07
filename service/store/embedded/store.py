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

from service.store.clock import Clock
from service.store.embedded.book import Book
from service.store.embedded.cold import ColdSessions
from service.store.embedded.journal import Journal
from service.store.embedded.lock import Lock, Share
from service.store.embedded.placing import place
from service.store.embedded.records import EPOCH, Records
from service.store.embedded.recovery import Recovery
from service.store.embedded.replaying import replay, tails
from service.store.embedded.settling import settle
from service.store.embedded.upkeep import Upkeep
from service.store.kind import decode
from service.store.store import Advanced, Moved, Snapped

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.sessions.session import Session
    from service.sessions.sessions import Sessions
    from service.store.embedded.record import Record
    from service.store.store import Change, Conflicts

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

    # Commits.

    def commit(self, home: object, changes: Sequence[Change]) -> asyncio.Future[Conflicts] | None:
        """See Store."""
        book = self._books[changes[0].home if isinstance(changes[0], Moved) else home]
        body, numbers = book.entry(changes)
        position = self._journal.next()
        steps = all(isinstance(one, Advanced | Snapped) for one in changes)
        pending = self._journal.append(body, numbers, position, book.model, behind=steps)
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
            self._journal.note_expired(session.birth, until, book.model)
            self._cold.ended[session.birth] = book.forget(row, until)

    def _committed(self, book: Book, changes: Sequence[Change], position: int) -> None:
        self._upkeep.position = position
        if isinstance(changes[0], Moved):
            source, left = self._books[changes[0].source], changes[0].left
            book.epoch[changes[0].row] = source.epoch[left]
            source.forget(left)
        for one in book.committed(changes, position):
            self._cold.ended[one.number] = one

    # The beginning.

    def start(self) -> None:
        """See Keeper."""
        if self._share is None:
            self._lock = Lock(self._path / "lock", self._patience)
            settle(self._path, 1)
        else:
            self._path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock.inherited(self._share.lock)
        sessions, records = self._sessions, Records(self._path)
        first = records.epoch << EPOCH
        sessions.born = first + (self._share.place << _SHARE if self._share is not None else 0)
        found = Recovery(records, self._path, first)
        clock = Clock(self._monotonic, self._wall, found.alive)
        journal = Journal(self._path, records.store, first, clock, sync=self._sync, behind=self._behind)
        cold = ColdSessions(records, sessions, clock, journal)
        self._records, self._recovery, self._clock, self._journal, self._cold = records, found, clock, journal, cold
        told = journal, records, clock, sessions
        self._upkeep = Upkeep(*told, books=self._books, cold=cold, found=found, resident=self._resident)
        found.expire(clock.seconds())
        self._kinds = found.kinds()
        for one in found.ended:
            cold.ended[one.number] = one
            if one.until > clock.seconds():
                sessions.expired.lapse(one.id, one.until - clock.offset)
        sessions.recovering.update(record.id for record in found.records.values())
        sessions.lapsed, sessions.cold = self.expired, cold
        if self._behind:
            sessions.promises["behind_ms"] = round(1000 * self._behind)
        for kind, counts in found.counts().items():  # those that the journal is not about stay where they are
            cold.counts(kind, *counts)
            self._kinds.setdefault(kind, [])
        if total := cold.count + len(sessions.recovering):
            _log.info("%d sessions are stored in %s", total, self._path)

    def stored(self) -> set[tuple[str, str]]:
        """See Keeper."""
        return {decode(kind).served_as for kind in self._kinds}

    def release(self, home: object) -> None:
        """See Keeper."""
        if (book := self._books.pop(home, None)) is not None and self._cold.books.get(book.encoded) is book:
            del self._cold.books[book.encoded]

    def holds(self, home: object) -> bool:
        """See Keeper."""
        book = self._books.get(home)
        return book is not None and self._cold.by_kind[book.encoded] > 0

    async def recover(self, home: object) -> None:
        """See Keeper."""
        engine = cast("Engine", home)
        book = self._book(engine)
        records = self._kinds.pop(book.encoded, [])
        if not records:
            return
        begin, refused = time.perf_counter(), len(self._recovery.ended)
        told, each = (self._recovery, records, book.model, engine.model, engine.fitness), self._sessions.budget.each
        found = await asyncio.to_thread(replay, *told, each=each)
        self._cold.ended |= {one.number: one for one in self._recovery.ended[refused:]}
        await place(found, book, self._sessions, self._clock.seconds)
        for record in records:
            self._sessions.recovering.discard(record.id)
        _log.info(
            "%d sessions of %s/%s are back in %.1f s; %d steps were run again",
            *(len(found.records), engine.name, engine.version, time.perf_counter() - begin, found.steps),
        )

    async def recovered(self, absent: Callable[[str, str], Engine]) -> None:
        """See Keeper. `absent` makes an engine that refuses the calls of a model version and says why."""
        for encoded, records in self._kinds.items():
            kind = decode(encoded)
            engine = absent(kind.model, kind.version)
            await self._keep(records, kind.file)
            book = self._book(engine)
            self._cold.books[encoded] = book
            for record in records:
                self._sessions.recovering.remove(record.id)
                self._cold.counts(encoded, 1, record.states)
            _log.warning("sessions wait for %s/%s: %s", kind.model, kind.version, engine.refusal)
        self._kinds = {}
        self._recovery.close()
        del self._recovery  # of a million sessions it has 1 GB
        run = self._upkeep.run(self._replay_seconds)
        self._tasks = [asyncio.create_task(self._upkeep.look()), asyncio.create_task(run)]

    async def _keep(self, records: Sequence[Record], model: bytes) -> None:
        """Keep what is behind the records of sessions whose model is not there."""
        for record, *tail in tails(self._recovery, records, model):
            await self._upkeep.blocking(self._records.put_tail, record, *tail)
            self._upkeep.tailed.discard(record.number)

    def _book(self, engine: Engine) -> Book:
        book = self._books[engine] = Book(engine)
        self._cold.books[book.encoded] = book
        return book

    # While it serves, and the end.

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
