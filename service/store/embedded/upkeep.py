"""What a store does while it serves: it writes records at leisure, and drops the journal that they make needless.

Everything is called on the loop's thread; what blocks goes to a thread, which alone writes to LMDB.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from service.sessions.session import Session
from service.store.embedded import entries
from service.store.embedded.record import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from service.models.model import Index
    from service.sessions.sessions import Sessions
    from service.sessions.table import Table
    from service.store.clock import Clock
    from service.store.embedded.book import Book
    from service.store.embedded.cold import ColdSessions
    from service.store.embedded.journal import Journal
    from service.store.embedded.records import Records
    from service.store.embedded.recovery import Recovery

_LOOK = 0.5  # seconds between looks for touched sessions and jumps of the clock
_SLICE = 512  # sessions whose states are copied in one turn of the loop: 1 ms
_SPILL = 500  # sessions that leave memory in one turn of the loop: 2 ms
_GIVEN = 2**23  # bytes of memory that are given back in one turn of the loop: 0.5 ms
_ROOM = 0.1  # of the budget that is made free at once
_TIDY = 100  # rounds between looks for ids that may be forgotten, where nothing else is due
_DUE = 1_000  # sessions whose time is looked at together

_log = logging.getLogger("carousel.store")


class Upkeep:
    """Rounds of writing. Invariant: a file of the journal is dropped when all that it changed is in records.

    `resident` is how many bytes of sessions may stay in memory.
    """

    def __init__(
        self,
        journal: Journal,
        records: Records,
        clock: Clock,
        sessions: Sessions,
        *,
        books: Mapping[object, Book],
        cold: ColdSessions,
        found: Recovery,
        resident: int,
    ) -> None:
        self._journal, self._records, self._clock, self._sessions = journal, records, clock, sessions
        self._books, self._cold, self._ended, self._resident = books, cold, cold.ended, resident
        self._thread = ThreadPoolExecutor(1, "records")
        self._wanted = asyncio.Event()  # a round, now
        self.tailed = found.tailed  # sessions whose calls waited for their model, and were run
        self.old = found.files  # files of the journal that are still needed
        self._damaged = found.damaged  # of them: to be kept under another name
        self.coming = set[str]()  # ids that came from a worker which has not written so yet: the journal stays
        self.position = found.first  # of the newest entry that is written, of this process or one before
        self.rounds = 0  # done so far
        self._one = asyncio.Lock()  # round at a time

    async def run(self, replay_seconds: float) -> None:
        """Write again and again, so that no entry of the journal is needed for longer than so many seconds."""
        while True:
            begin = self._clock.monotonic()
            full, wanted = self._full(), self._wanted.is_set()
            self._wanted.clear()
            try:
                await self.round(0.0 if full or wanted else replay_seconds / 4)
            except Exception as error:
                _log.error("records cannot be written, the journal grows: %s", error)
            with suppress(TimeoutError):
                rest = max(0.0, replay_seconds / 2 - (self._clock.monotonic() - begin))
                await asyncio.wait_for(self._wanted.wait(), rest)

    async def round(self, seconds: float) -> None:
        """Write the records that are behind, within so many seconds; then let sessions leave memory."""
        async with self._one:
            await self._round(seconds)

    async def _round(self, seconds: float) -> None:
        self.old += self._journal.rotate()
        await self._journal.settled()
        slices = [
            (book, rows[first : first + _SLICE])
            for book in self._books.values()
            for rows in [book.dirty()]
            for first in range(0, len(rows), _SLICE)
        ]
        ends = self._clock.monotonic() + seconds
        for left, (book, rows) in zip(range(len(slices), 0, -1), slices, strict=True):
            await self._write(book, rows)
            if left > 1:
                await asyncio.sleep(max(0.0, ends - self._clock.monotonic()) / left)
        self.rounds += 1
        if slices or self.old or self._ended:
            await self._drop()
        await self._expire()
        await self.spill()

    async def look(self) -> None:
        """Write what no call writes: sessions that were touched, and that the system's clock was set.

        Ask for a round if more is in memory than may be.
        """
        while True:
            await asyncio.sleep(_LOOK)
            self.note_touched()
            if self._full():
                self._wanted.set()
            if self._clock.jumped():
                self._journal.note(b"", b"", bytes(8))

    def note_touched(self) -> None:
        """Write the sessions whose idle clocks were restarted without a call: a retry, say."""
        for book in self._books.values():
            if len(rows := book.touched(self.position)):
                numbers = book.engine.table.birth[rows].tobytes()
                self._journal.note(entries.change(entries.TOUCHED, len(rows)), numbers, book.model)

    async def blocking(self, act: Callable[..., object], *given: object) -> None:
        """Do something in the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, act, *given)

    def close(self) -> None:
        """Wait for the thread."""
        self._thread.shutdown()

    async def spill(self) -> None:
        """Let the sessions leave memory that were called least recently, until there is room."""
        most = self._resident - int(_ROOM * self._resident) if self._full() else self._resident
        for book in [*self._books.values()]:
            used = sum(one.used_bytes for one in self._books.values())
            rows = book.idle(-((most - used) // book.row_bytes)) if used > most else ()
            for first in range(0, len(rows), _SPILL):
                for row in rows[first : first + _SPILL]:
                    self._leave(book, int(row))
                await asyncio.sleep(0)
            if len(rows) >= _SPILL:
                await self._give_back(book.engine.table)

    @staticmethod
    async def _give_back(table: Table) -> None:
        count = max(1, _GIVEN // max(1, table.row_bytes))
        for first in range(0, table.capacity, count):
            table.give_back(first, count)
            await asyncio.sleep(0)

    def _full(self) -> bool:
        return sum(book.used_bytes for book in self._books.values()) > self._resident

    def _leave(self, book: Book, row: int) -> None:
        if not book.rests(row) or book.keys[row] in self._sessions.recovering:
            return  # called meanwhile, or about to go to another worker
        session = Session(book.keys[row], book.engine, row, book.engine.table.birth.item(row))
        rule = book.engine.rewinds.rule(row)
        book.forget(row)
        self._sessions.spill(session)
        self._cold.counts(book.encoded, 1, 1 + (rule.keep if rule else 0))

    async def _write(self, book: Book, rows: Index) -> None:
        rows = rows[book.changed[rows] > 0]  # others have ended since
        if len(rows):
            numbers, positions, epochs = book.engine.table.birth[rows], book.changed[rows], book.epoch[rows]
            records, fresh, snapshots = book.records(rows, self._clock.offset)
            await self.blocking(self._records.put, records, fresh)
            for one in snapshots:
                one.stored = True
            same = (book.engine.table.birth[rows] == numbers) & (book.epoch[rows] == epochs)  # else it came back since
            book.written[rows[same]] = positions[same]

    async def _drop(self) -> None:
        """Tell the records what has ended, then drop the files that nothing needs any more."""
        ended = list(self._ended.values())
        await self.blocking(self._records.end, ended, (self._clock.seconds(), self._clock.wall()))
        for one in ended:
            self._ended.pop(one.number, None)  # it may have come back
        if self.tailed:
            await self.blocking(self._records.drop_tails, self.tailed)
            self.tailed = set()
        while self.old and not self.coming:
            await self.blocking(self._remove, self.old[0])
            del self.old[0]

    async def _expire(self) -> None:
        """Look at the sessions whose time may be over, in memory or not; forget expired ids."""
        now, loop = self._clock.seconds(), asyncio.get_running_loop()
        while True:
            due = await loop.run_in_executor(self._thread, self._records.due, now, _DUE)
            again = [later for _, number, value in due if (later := self._later(number, value, now)) is not None]
            if due or self.rounds % _TIDY == 0:
                await self.blocking(self._records.tidy, now, [key for key, _, _ in due], again)
            if len(due) < _DUE:
                return

    def _later(self, number: int, value: bytes | None, now: float) -> tuple[float, int] | None:
        """When a session is to be looked at again; None: it is no more."""
        if value is None or number in self._ended:
            return None
        try:
            record = decode(number, memoryview(value))
        except ValueError:
            return None  # it is refused when it is asked for
        if not self._sessions.resident(record.id):
            if record.deadline <= now:
                self._cold.expire(record)
                return None
            return record.deadline, number
        session = self._sessions.find(record.id)  # it expires here, if its time is over
        if session is None or session.birth != number:
            return None
        return max(now + 1.0, session.deadline + self._clock.offset), number

    def _remove(self, path: Path) -> None:
        if path in self._damaged:
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink(missing_ok=True)
