"""The lock of a store: one process has it. A successor waits for one that drains; any other is refused."""

import fcntl
import os
import time
from pathlib import Path
from typing import NamedTuple, Self

from service.store.store import StoreRefusedError

_DRAINS, _SERVES = b"drains", b"serves"
_LOOK = 0.02  # seconds between attempts


class Share(NamedTuple):
    """The share of one of several processes in a store, under a lock of all."""

    place: int  # from 0
    lock: int  # its descriptor


class Lock:
    """Taken until the process ends, however it ends, or until `release`."""

    def __init__(self, path: Path, patience: float) -> None:
        """Take the lock. `patience` is how many seconds a process that drains may take to release it."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._number = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreRefusedError(f"CAROUSEL_STORE_PATH cannot be used: {error}") from error
        until = time.monotonic() + patience
        while not self._taken():
            if not self._ends() or time.monotonic() > until:
                os.close(self._number)
                raise StoreRefusedError(
                    f"another service uses {path.parent}: give this one a CAROUSEL_STORE_PATH of its own"
                )
            time.sleep(_LOOK)
        self._tell(_SERVES)

    @classmethod
    def inherited(cls, descriptor: int) -> Self:
        """The lock that a parent has taken for this process too: it is held until all of them have released it."""
        lock = cls.__new__(cls)
        lock._number = descriptor
        return lock

    @property
    def descriptor(self) -> int:
        """What a child may inherit."""
        return self._number

    def drains(self) -> None:
        """Tell a successor to wait."""
        self._tell(_DRAINS)

    def release(self) -> None:
        """Let the next one have it."""
        os.close(self._number)

    def _ends(self) -> bool:
        """Whether the one that has the lock drains, or is dead, and its workers are about to be."""
        what, _, holder = os.pread(self._number, 99, 0).partition(b", process ")
        try:
            os.kill(int(holder), 0)
        except (ValueError, ProcessLookupError):
            return True
        except PermissionError:
            pass
        return what == _DRAINS

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _tell(self, what: bytes) -> None:
        os.ftruncate(self._number, 0)
        os.pwrite(self._number, b"%s, process %d" % (what, os.getpid()), 0)
