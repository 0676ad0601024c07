"""The journal: entries are appended to it before anything is answered, and its files are dropped when records have all.

It knows when what is written, and by which thread; not sessions or records.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

from service.errors import CarouselError, StoreUnavailable
from service.store.embedded import entries
from service.store.embedded.journal_files import File, new

if TYPE_CHECKING:
    from service.store.clock import Clock
    from service.store.store import Conflicts

_INLINE = 2**20  # bytes; a write of so many takes 0.3 ms, and two threads that take turns cost more than it
_TAKEN = 2**16  # bytes that may wait `behind`: to keep and join more takes as long as to write them
_NONE: Conflicts = {}

_log = logging.getLogger("carousel.store")


class Journal:
    """Appends in order. Invariant: a file holds whole entries up to `_end`; what failed is cut off.

    What is small is written on the loop, into the page cache. With `sync`, or behind something large, a thread writes
    all that has come since, and makes it durable once. What may be written `behind` waits for so many seconds; while
    something waits for longer, nothing is taken before it is written.
    """

    def __init__(
        self, folder: Path, store: bytes, position: int, clock: Clock, *, sync: bool, behind: float = 0.0
    ) -> None:
        self._folder, self._store, self._sync, self._behind = folder, store, sync, behind
        self._clock, self._key = clock, entries.key_of(store)
        self._late: list[tuple[float, bytes]] = []  # taken and not written, and when they were taken
        self._taken, self._timed = 0, False  # bytes of them; a timer is set
        self._position = self._opened = position  # of the last entry; number of the last file
        self._failing = self._closed = False
        self._paths: list[Path] = []  # of the files since the last `rotate`
        self._file: File | None = None
        self._waiting: deque[tuple[bytes, asyncio.Future[Conflicts]]] = deque()
        self._writing: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "journal")

    def next(self) -> int:
        """The position of the next entry."""
        self._position += 1
        return self._position

    def append(
        self, body: bytes, numbers: bytes, position: int, model: bytes, *, behind: bool = False
    ) -> asyncio.Future[Conflicts] | None:
        """Write an entry, or with `behind` at leisure; None: it is written, or taken. `model` is that of `Stamp`.

        Raises, or the future raises:
            StoreUnavailable: it is not written.
            CommitUnknown: it may be written or not.

        """
        stamp = entries.Stamp(position, self._clock.seconds(), self._clock.wall(), model)
        entry = entries.entry(body, numbers, stamp, self._key)
        few = self._sync or self._taken + len(entry) <= _TAKEN
        if behind and self._behind and few and self._in_time():
            self._take(entry)
            return None
        if self._writing is None and not self._sync and len(entry) <= _INLINE:
            self._put(entry)
            return None
        answer: asyncio.Future[Conflicts] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, answer))
        self._go_on()
        return answer

    def note(self, body: bytes, numbers: bytes, model: bytes) -> None:
        """Write an entry that no call waits for. If it is lost, the deadline of the session still tells."""
        try:
            pending = self.append(body, numbers, self.next(), model)
        except CarouselError:
            return
        if pending is not None:
            pending.add_done_callback(lambda done: done.exception())

    def note_expired(self, number: int, until: float, model: bytes) -> None:
        """Note that a session was idle beyond its TTL, and until when its id is told as expired."""
        self.note(entries.change(entries.EXPIRED, 1, rest=orjson.dumps(until)), np.array([number]).tobytes(), model)

    def _in_time(self) -> bool:
        """Whether nothing waits for longer than it may; else what comes waits until it is written."""
        if not self._late or time.monotonic() - self._late[0][0] <= self._behind:
            return True
        if self._writing is None:  # the loop was late
            self._put(b"")
        return self._writing is None

    def _take(self, entry: bytes) -> None:
        """Take an entry that is written later."""
        self._late.append((time.monotonic(), entry))
        self._taken += len(entry)
        self._flush_later()

    def _flush_later(self) -> None:
        if not self._timed and not self._closed:
            self._timed = True
            asyncio.get_running_loop().call_later(self._behind / 2, self._flush)

    def _flush(self) -> None:
        """Write what was taken."""
        self._timed = False
        if not self._late or self._writing is not None or self._closed:
            return
        if self._sync:
            self._go_on(late=True)
            return
        try:
            self._put(b"")
        except CarouselError:
            self._flush_later()

    def _put(self, entry: bytes) -> None:
        try:
            self._open().write(b"".join([late for _, late in self._late]) + entry if self._late else entry)
            self._late.clear()
            self._taken = 0
        except CarouselError as error:
            self._failed(error)
            raise
        self._failed(None)

    def rotate(self) -> list[Path]:
        """Let entries from now on go to another file → those that have the ones since the last time."""
        self._file, paths, self._paths = None, self._paths, []
        return paths

    async def settled(self) -> None:
        """Return when what went to files before is told, or failed."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await asyncio.sleep(0)  # what is written is told in the next turn of the loop

    async def close(self) -> None:
        """Write what waits."""
        await self.flushed()
        self._closed = True
        self._thread.shutdown()
        self._file = None

    async def flushed(self) -> None:
        """Return when what was taken or waits is written, or was tried."""
        self._go_on(late=True)
        while self._writing is not None:
            await asyncio.wait([self._writing])
        await asyncio.sleep(0)  # what is written is told in the next turn of the loop

    def _open(self) -> File:
        if self._file is None or self._file.broken:
            self._opened += 1
            self._file = new(self._folder, self._store, self._opened)
            self._paths.append(self._file.path)
        return self._file

    def _go_on(self, *, late: bool = False) -> None:
        if self._writing is not None or not (self._waiting or (late and self._late)):
            return
        batch, count = list(self._waiting), len(self._late)
        self._waiting.clear()
        content = b"".join([*(entry for _, entry in self._late), *(entry for entry, _ in batch)])
        answers = [answer for _, answer in batch]
        loop = asyncio.get_running_loop()
        try:
            file = self._open()  # here, so that the thread shares nothing with the loop
        except StoreUnavailable as error:
            loop.call_soon(self._written, answers, 0, error)
            return
        self._writing = loop.run_in_executor(self._thread, partial(file.write, content, sync=self._sync))
        self._writing.add_done_callback(lambda done: self._written(answers, count, done.exception()))

    def _failed(self, error: BaseException | None) -> None:
        """Log the first of many failures, and that they are over."""
        if error is not None and not self._failing:
            _log.error("%s", error)
        if error is None and self._failing:
            _log.warning("the session store can be written again")
        self._failing = error is not None

    def _written(self, answers: list[asyncio.Future[Conflicts]], count: int, error: BaseException | None) -> None:
        self._writing = None
        self._failed(error)
        if error is None:
            self._taken -= sum(len(entry) for _, entry in self._late[:count])
            del self._late[:count]
        if self._late:
            self._flush_later()
        for answer in answers:
            if error is None:
                answer.set_result(_NONE)
            else:
                answer.set_exception(error)
        self._go_on()
