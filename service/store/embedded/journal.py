"""The journal: files of entries, appended to before anything is answered, and dropped when records are behind them.

It knows files and their faults; not what entries say.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xxhash import xxh3_64_digest

from service.errors import CarouselError, CommitUnknown, StoreUnavailable

if TYPE_CHECKING:
    from service.store.store import Conflicts

_HEAD = struct.Struct("<8sI16sQ")  # mark, format, store, number in the order of all files
_MARK, _FORMAT = b"CRSLJRNL", 1
HEAD = _HEAD.size + 8  # with its checksum
_INLINE = 2**18  # bytes; a write of so many takes 0.1 ms, the hop to the thread 0.06 to 0.2
_NONE: Conflicts = {}

_log = logging.getLogger("carousel.store")


class Journal:
    """Appends in order. Invariant: a file holds whole entries up to `_end`; what failed is cut off.

    What is small is written on the loop, into the page cache. With `sync`, or behind something large, a thread writes
    all that has come since, and makes it durable once. What may be written `behind` waits for so many seconds; while
    something waits for longer, nothing is taken before it is written.
    """

    def __init__(self, folder: Path, store: bytes, position: int, *, sync: bool, behind: float = 0.0) -> None:
        self._folder, self._store, self._sync, self._behind = folder, store, sync, behind
        self._late: list[tuple[float, bytes]] = []  # taken and not written, and when they were taken
        self._position = self._opened = position  # of the last entry; number of the last file
        self._failing = self._closed = False
        self._paths: list[Path] = []  # of the files since the last `rotate`
        self._file: _File | None = None
        self._waiting: deque[tuple[bytes, asyncio.Future[Conflicts]]] = deque()
        self._writing: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "journal")

    def next(self) -> int:
        """The position of the next entry."""
        self._position += 1
        return self._position

    def append(self, entry: bytes, *, behind: bool = False) -> asyncio.Future[Conflicts] | None:
        """Write an entry, or with `behind` at leisure; None: it is written, or taken.

        Raises, or the future raises:
            StoreUnavailable: it is not written.
            CommitUnknown: nobody knows.

        """
        if behind and self._behind and self._in_time():
            self._take(entry)
            return None
        if self._writing is None and not self._sync and len(entry) <= _INLINE:
            self._put(entry)
            return None
        answer: asyncio.Future[Conflicts] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, answer))
        self._go_on()
        return answer

    def _in_time(self) -> bool:
        """Whether nothing waits for longer than it may; else what comes waits until it is written."""
        if not self._late or time.monotonic() - self._late[0][0] <= self._behind:
            return True
        if self._writing is None:  # the loop was late
            self._put(b"")
        return self._writing is None

    def _take(self, entry: bytes) -> None:
        """Take an entry that is written later."""
        if not self._late:
            asyncio.get_running_loop().call_later(self._behind / 2, self._flush)
        self._late.append((time.monotonic(), entry))

    def _flush(self) -> None:
        """Write what was taken."""
        if self._late and self._writing is None and not self._closed:
            self._go_on(late=True)

    def _put(self, entry: bytes) -> None:
        try:
            self._open().write(b"".join([late for _, late in self._late]) + entry if self._late else entry)
            self._late.clear()
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

    def _open(self) -> _File:
        if self._file is None or self._file.broken:
            self._opened += 1
            self._file = _new(self._folder, self._store, self._opened)
            self._paths.append(self._file.path)
        return self._file

    def _go_on(self, *, late: bool = False) -> None:
        if self._writing is not None or not (self._waiting or (late and self._late)):
            return
        batch, count = list(self._waiting), len(self._late)
        self._waiting.clear()
        entries = b"".join([*(entry for _, entry in self._late), *(entry for entry, _ in batch)])
        answers = [answer for _, answer in batch]
        loop = asyncio.get_running_loop()
        try:
            file = self._open()  # here, so that the thread shares nothing with the loop
        except StoreUnavailable as error:
            loop.call_soon(self._written, answers, 0, error)
            return
        self._writing = loop.run_in_executor(self._thread, partial(file.write, entries, sync=self._sync))
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
            del self._late[:count]
        if self._late and not self._closed:
            asyncio.get_running_loop().call_later(self._behind / 2, self._flush)
        for answer in answers:
            if error is None:
                answer.set_result(_NONE)
            else:
                answer.set_exception(error)
        self._go_on()


class _File:
    """One file of the journal. Invariant: what lies before `_end` is whole entries; a broken one is not written."""

    def __init__(self, path: Path, head: bytes) -> None:
        self.broken, self._end, self._named = False, 0, False
        self.path = path
        try:
            self._number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unavailable(error) from error
        try:
            self.write(head)
        except StoreUnavailable:
            path.unlink()
            raise

    def __del__(self) -> None:
        if hasattr(self, "_number"):
            os.close(self._number)

    def write(self, content: bytes, *, sync: bool = False) -> None:
        """Append all of it, or nothing."""
        try:
            written = os.write(self._number, content)
            while written < len(content):
                written += os.write(self._number, memoryview(content)[written:])
            if sync:
                self.broken = True  # after a failed sync nobody knows what of the file is on the disk
                self._sync()
                self.broken = False
        except OSError as error:
            self._cut(error)
            raise _unavailable(error) from error
        self._end += len(content)

    def _sync(self) -> None:
        """Make durable what is written, and the name of the file."""
        os.fdatasync(self._number)
        if not self._named:
            self._named = True
            folder = os.open(self.path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def _cut(self, cause: OSError) -> None:
        """Cut off what was written in part."""
        try:
            os.ftruncate(self._number, self._end)
        except OSError as error:
            self.broken = True
            raise CommitUnknown(f"{self.path.name}: {cause.strerror}; it cannot be cut: {error.strerror}") from error


def _new(folder: Path, store: bytes, number: int) -> _File:
    head = _HEAD.pack(_MARK, _FORMAT, store, number)
    return _File(folder / f"{number:016x}.journal", head + xxh3_64_digest(head))


def add(folder: Path, store: bytes, number: int, entry: bytes) -> None:
    """Write a file with one entry behind those of a process that has ended."""
    _new(folder, store, number).write(entry, sync=True)


def files(folder: Path) -> list[Path]:
    """The files of a journal in order."""
    return sorted(folder.glob("*.journal"))


def foreign(content: bytes | memoryview, store: bytes) -> str | None:
    """Why the content of a file is no journal of this store; None: it is one."""
    if len(content) < HEAD or bytes(content[: len(_MARK)]) != _MARK:
        return "it is no journal"
    _, told, owner, _ = _HEAD.unpack_from(content)
    if xxh3_64_digest(content[: _HEAD.size]) != content[_HEAD.size : HEAD]:
        return "its head is damaged"
    if told != _FORMAT:
        return f"it has format {told}, not {_FORMAT}"
    return None if owner == store else "it is of another store"


def _unavailable(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the session store cannot be written: {error.strerror}")
