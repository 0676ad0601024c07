"""The lock of a store: one process has it. A successor waits for one that drains; any other is refused."""

import fcntl
import os
import time
from pathlib import Path

from service.store.store import StoreRefusedError

_DRAINS, _SERVES = b"drains", b"serves"
_LOOK = 0.02  # seconds between attempts


class Lock:
    """Taken until the process ends, however it ends, or until `release`."""

    def __init__(self, path: Path, patience: float) -> None:
        """Take the lock. `patience` is how many seconds a process that drains may take to release it."""
        self._number = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + patience
        while not self._taken():
            if not os.pread(self._number, 99, 0).startswith(_DRAINS) or time.monotonic() > until:
                os.close(self._number)
                raise StoreRefusedError(
                    f"another service uses {path.parent}: give this one a CAROUSEL_STORE_PATH of its own"
                )
            time.sleep(_LOOK)
        self._tell(_SERVES)

    def drains(self) -> None:
        """Tell a successor to wait."""
        self._tell(_DRAINS)

    def release(self) -> None:
        """Let the next one have it."""
        os.close(self._number)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _tell(self, what: bytes) -> None:
        os.ftruncate(self._number, 0)
        os.pwrite(self._number, b"%s, process %d" % (what, os.getpid()), 0)
