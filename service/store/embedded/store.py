"""The embedded store: what is committed goes to a journal before it is answered, and to records at leisure.

Everything but `start` is called on the loop's thread. It wires journal, records, books and recovery.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import orjson

from service.engine.engine import Engine
from service.errors import CarouselError
from service.models.model import Index
from service.sessions.sessions import Session, Sessions
from service.store.embedded import entries, journal
from service.store.embedded.book import IN_RECORD, Book, Kind
from service.store.embedded.entries import Stamp
from service.store.embedded.journal import Journal
from service.store.embedded.lock import Lock
from service.store.embedded.placing import place
from service.store.embedded.records import Ended, Record, Records
from service.store.embedded.recovery import Recovery
from service.store.embedded.rerun import Calls
from service.store.store import Change, Conflicts

_LOOK = 0.5  # seconds between looks for touched sessions and jumps of the clock
_SLICE = 512  # sessions whose states are copied in one turn of the loop: 1 ms
_EPOCH = 44  # bits that count sessions and entries of one process
_JUMP = 1.0  # seconds by which the system's clock has moved against the monotonic one
_TIDY = 100  # rounds between looks for ids that may be forgotten

_log = logging.getLogger("carousel.store")


class EmbeddedStore:
    """Invariant: what was answered is in a record, or in an entry behind it in the journal.

    `seconds` is the store's own clock: monotonic while a process lives; between two, the system's clock is believed.
    """

    def __init__(
        self,
        path: Path,
        sessions: Sessions,
        *,
        sync: bool = False,
        replay_seconds: float = 10.0,
        patience: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._sessions, self._sync, self._replay_seconds = path, sessions, sync, replay_seconds
        self._patience, self._clock, self._wall = patience, clock, wall
        self._books: dict[object, Book] = {}
        self._ended: list[Ended] = []  # not in the records yet
        self._done = self._rounds = 0  # position of the newest entry that is written
        self._tasks: list[asyncio.Task[None]] = []
        self._background = ThreadPoolExecutor(1, "records")
        self.recovering: dict[str, int] = {}

    # Commits.

    def commit(self, home: object, changes: Sequence[Change]) -> "asyncio.Future[Conflicts] | None":
        """See Store."""
        book = self._books[home]
        body, numbers = book.entry(changes)
        position = self._journal.next()
        try:
            pending = self._append(body, numbers, position, book.model)
        except CarouselError:
            book.refused(changes)
            raise
        if pending is None:
            self._committed(book, changes, position)
            return None

        def done(written: "asyncio.Future[Conflicts]") -> None:
            if written.exception() is None:
                self._committed(book, changes, position)
            else:
                book.refused(changes)

        pending.add_done_callback(done)
        return pending

    def expired(self, session: Session, until: float) -> None:
        """A session was idle beyond its TTL; its id is told as expired until then."""
        book, row = self._books[session.home], session.row
        if book.numbers.item(row):
            until += self._offset
            body = entries.change(entries.EXPIRED, 1, rest=orjson.dumps(until))
            self._note(body, book.numbers[[row]].tobytes(), book.model)
            self._ended.append(book.forget(row, until))

    def _committed(self, book: Book, changes: Sequence[Change], position: int) -> None:
        self._done = position
        self._ended += book.committed(changes, position)

    def _append(self, body: bytes, numbers: bytes, position: int, model: bytes) -> "asyncio.Future[Conflicts] | None":
        stamp = Stamp(position, self._seconds(), self._wall(), model)
        return self._journal.append(entries.entry(body, numbers, stamp, self._key))

    def _note(self, body: bytes, numbers: bytes, model: bytes) -> None:
        """Write an entry that no call waits for. If it is lost, the deadline of the session still tells."""
        try:
            pending = self._append(body, numbers, self._journal.next(), model)
        except CarouselError:
            return
        if pending is not None:
            pending.add_done_callback(lambda done: done.exception())

    def _seconds(self) -> float:
        return self._clock() + self._offset

    # The beginning.

    def start(self) -> None:
        """See Keeper."""
        self._path.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self._path / "lock", self._patience)
        self._records = Records(self._path)
        self._key = int.from_bytes(self._records.store[:8], "little")
        self._number = first = self._records.epoch << _EPOCH
        self._old = journal.files(self._path)
        self._recovery = Recovery(self._records, self._path)
        self._journal = Journal(self._path, self._records.store, first, sync=self._sync)
        seconds, wall = self._recovery.alive or (self._wall(), self._wall())
        self._offset = seconds + max(0.0, self._wall() - wall) - self._clock()
        self._apart = self._wall() - self._seconds()
        self._recovery.expire(self._seconds())
        self._kinds = self._recovery.kinds()
        self._ended += self._recovery.ended
        ended = {one.id: one.until for one in self._ended} | self._recovery.remembered
        for id, until in ended.items():
            if (left := until - self._seconds()) > 0:
                self._sessions.remember(id, left)
        self.recovering = {record.id: number for number, record in self._recovery.records.items()}
        self._sessions.recovering, self._sessions.lapsed = self.recovering, self.expired
        if self.recovering:
            _log.info("%d sessions are stored in %s", len(self.recovering), self._path)

    async def recover(self, home: object) -> None:
        """See Keeper."""
        engine = cast("Engine", home)
        book = self._books[engine] = Book(engine, self._new_number)
        records = self._kinds.pop(book.kind.encode(), [])
        if not records:
            return
        begin, refused = time.perf_counter(), len(self._recovery.ended)
        each, replay = self._sessions.budget.each, self._recovery.replay
        found = await asyncio.to_thread(replay, records, book.model, engine.model, engine.fitness, each=each)
        self._ended += self._recovery.ended[refused:]
        await place(found, book, self._sessions, self._seconds)
        for record in records:
            self.recovering.pop(record.id, None)
        told = len(found.records), engine.name, engine.version, time.perf_counter() - begin, found.replayed
        _log.info("%d sessions of %s/%s are back in %.1f s; %d steps were run again", *told)

    async def recovered(self, absent: Callable[[str, str], Engine]) -> None:
        """See Keeper. `absent` makes an engine that refuses the calls of a model version and says why."""
        for encoded, records in self._kinds.items():
            kind = Kind(**orjson.loads(encoded))
            engine = absent(kind.model, kind.version)
            book = self._books[engine] = Book(engine, self._new_number)
            model = bytes.fromhex(kind.digest)[:8].ljust(8, b"\0")
            await self._keep(records, model)
            steps = Calls(self._recovery.calls.get(model, []), records).steps.tolist()
            for record, more in zip(records, steps, strict=True):
                left = self._recovery.deadline(record) - self._seconds()
                row = self._sessions.restore(record.id, engine, record.ttl, left).row
                engine.table.step[row] = engine.table.ahead[row] = record.step + more
                book.adopt(np.array([row]), [record], np.array([IN_RECORD]), np.array([IN_RECORD]))
                self.recovering.pop(record.id)
            self._sessions.restored([record.id for record in records])
            _log.warning("%d sessions wait for %s/%s: %s", len(records), kind.model, kind.version, engine.refusal)
        self._kinds, damaged = {}, self._recovery.damaged
        self._recovery.close()
        for path in damaged:
            path.rename(path.with_suffix(".damaged"))
        self._old = [path for path in self._old if path not in damaged]
        self._tasks = [asyncio.create_task(self._look()), asyncio.create_task(self._write_at_leisure())]

    async def _keep(self, records: Sequence[Record], model: bytes) -> None:
        """Keep what is behind the records of sessions whose model is not there."""
        tails = list(self._recovery.tails(records, model))
        fresh = [(one.id, one.number) for one in tails if one.number not in self._recovery.stored]
        if tails:
            await self._in_background(self._records.put, tails, fresh)

    def _new_number(self) -> int:
        self._number += 1
        return self._number

    # In the background, and the end.

    async def _look(self) -> None:
        """Write what no call writes: sessions that were touched, and that the system's clock was set."""
        flushed = 0
        while True:
            await asyncio.sleep(_LOOK)
            self._note_touched()
            if abs(self._wall() - self._seconds() - self._apart) > _JUMP:
                self._apart = self._wall() - self._seconds()
                self._note(b"", b"", bytes(8))
            if not self._sync and self._done != flushed:
                flushed = self._done
                try:
                    await self._in_background(self._journal.flush)
                except OSError as error:
                    _log.error("the journal cannot be synced: %s", error)

    def _note_touched(self) -> None:
        for book in self._books.values():
            if len(rows := book.touched(self._done)):
                self._note(entries.change(entries.TOUCHED, len(rows)), book.numbers[rows].tobytes(), book.model)

    async def _write_at_leisure(self) -> None:
        """Write records, so that no entry of the journal is needed for longer than `replay_seconds`."""
        while True:
            begin = self._clock()
            try:
                await self._round(self._replay_seconds / 4)
            except Exception as error:
                _log.error("records cannot be written, the journal grows: %s", error)
            await asyncio.sleep(max(0.0, self._replay_seconds / 2 - (self._clock() - begin)))

    async def _round(self, seconds: float) -> None:
        """Write the records that are behind, within so many seconds, and drop the journal that they make needless.

        One at a time.
        """
        self._old += self._journal.rotate()
        await self._journal.settled()
        slices = [
            (book, rows[first : first + _SLICE])
            for book in self._books.values()
            for rows in [book.dirty()]
            for first in range(0, len(rows), _SLICE)
        ]
        begin = self._clock()
        for left, (book, rows) in zip(range(len(slices), 0, -1), slices, strict=True):
            await self._write(book, rows)
            if left > 1:
                await asyncio.sleep(max(0.0, seconds - (self._clock() - begin)) / left)
        self._rounds += 1
        if not (slices or self._old or self._ended):
            return
        ended = self._ended.copy()
        await self._in_background(self._records.end, ended, (self._seconds(), self._wall()))
        del self._ended[: len(ended)]
        if self._rounds % _TIDY == 0:
            await self._in_background(self._records.tidy, self._seconds())
        while self._old:
            self._old.pop(0).unlink(missing_ok=True)

    async def _write(self, book: Book, rows: Index) -> None:
        rows = rows[book.numbers[rows] > 0]  # others have ended since
        if not len(rows):
            return
        numbers, position = book.numbers[rows], self._done
        records, fresh = book.records(rows, position, self._offset)
        await self._in_background(self._records.put, records, fresh)
        same = rows[book.numbers[rows] == numbers]
        book.written[same] = position

    async def _in_background(self, act: Callable[..., object], *given: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._background, act, *given)

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
                await self._round(0.0)
        except Exception as error:
            _log.error("records cannot be written, the journal has the rest: %s", error)
        await self._journal.close()
        self._background.shutdown()
        self._records.close()
        self._lock.release()
