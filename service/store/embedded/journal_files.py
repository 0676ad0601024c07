"""Files of a journal: a head and whole entries, appended and cut. Knows faults of the disk; not what entries say."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from xxhash import xxh3_64_digest

from service.errors import CommitUnknown, StoreUnavailable

_HEAD = struct.Struct("<8sI16sQ")  # mark, format, store, number in the order of all files
_MARK, _FORMAT = b"CRSLJRNL", 1
HEAD = _HEAD.size + 8  # with its checksum


class File:
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
                self.broken = True  # after a failed sync it is not known what of the file is on the disk
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


def new(folder: Path, store: bytes, number: int) -> File:
    """Begin a file."""
    head = _HEAD.pack(_MARK, _FORMAT, store, number)
    return File(folder / f"{number:016x}.journal", head + xxh3_64_digest(head))


def add(folder: Path, store: bytes, number: int, entry: bytes) -> None:
    """Write a file with one entry behind those of a process that has ended."""
    new(folder, store, number).write(entry, sync=True)


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
