"""What a store does while it serves: it writes records at leisure, and drops the journal that they make needless.

Everything is called on the loop's thread; what blocks goes to a thread, which alone writes to LMDB.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.models.model import Index
    from service.store.embedded.book import Book
    from service.store.embedded.clock import Clock
    from service.store.embedded.journal import Journal
    from service.store.embedded.records import Ended, Records

_SLICE = 512  # sessions whose states are copied in one turn of the loop: 1 ms
_TIDY = 100  # rounds between looks for ids that may be forgotten

_log = logging.getLogger("carousel.store")


class Upkeep:
    """Rounds of writing. Invariant: a file of the journal is dropped when all that it changed is in records."""

    def __init__(self, journal: Journal, records: Records, clock: Clock) -> None:
        self._journal, self._records, self._clock = journal, records, clock
        self._thread = ThreadPoolExecutor(1, "records")
        self.books: list[Book] = []
        self.ended: list[Ended] = []  # not in the records yet
        self.old: list[Path] = []  # files of the journal that are still needed
        self.damaged: set[Path] = set()  # of them: to be kept under another name
        self.position = 0  # of the newest entry that is written, of this process or one before
        self.rounds = 0

    async def run(self, replay_seconds: float) -> None:
        """Write again and again, so that no entry of the journal is needed for longer than so many seconds."""
        while True:
            begin = self._clock.monotonic()
            try:
                await self.round(replay_seconds / 4)
            except Exception as error:
                _log.error("records cannot be written, the journal grows: %s", error)
            await asyncio.sleep(max(0.0, replay_seconds / 2 - (self._clock.monotonic() - begin)))

    async def round(self, seconds: float) -> None:
        """Write the records that are behind, within so many seconds. One at a time."""
        self.old += self._journal.rotate()
        await self._journal.settled()
        slices = [
            (book, rows[first : first + _SLICE])
            for book in self.books
            for rows in [book.dirty()]
            for first in range(0, len(rows), _SLICE)
        ]
        ends = self._clock.monotonic() + seconds
        for left, (book, rows) in zip(range(len(slices), 0, -1), slices, strict=True):
            await self._write(book, rows)
            if left > 1:
                await asyncio.sleep(max(0.0, ends - self._clock.monotonic()) / left)
        self.rounds += 1
        if slices or self.old or self.ended:
            await self._drop()

    async def blocking(self, act: Callable[..., object], *given: object) -> None:
        """Do something in the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, act, *given)

    def close(self) -> None:
        """Wait for the thread."""
        self._thread.shutdown()

    async def _write(self, book: Book, rows: Index) -> None:
        rows = rows[book.numbers[rows] > 0]  # others have ended since
        if len(rows):
            numbers, position = book.numbers[rows], self.position
            records, fresh, snapshots = book.records(rows, position, self._clock.offset)
            await self.blocking(self._records.put, records, fresh)
            for one in snapshots:
                one.stored = True
            book.written[rows[book.numbers[rows] == numbers]] = position

    async def _drop(self) -> None:
        """Tell the records what has ended, then drop the files that nothing needs any more."""
        ended = self.ended.copy()
        await self.blocking(self._records.end, ended, (self._clock.seconds(), self._clock.wall()))
        del self.ended[: len(ended)]
        if self.rounds % _TIDY == 0:
            await self.blocking(self._records.tidy, self._clock.seconds())
        while self.old:
            await self.blocking(self._remove, self.old[0])
            del self.old[0]

    def _remove(self, path: Path) -> None:
        if path in self.damaged:
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink(missing_ok=True)
