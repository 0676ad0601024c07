"""What connections may hold and how long they may take, over all of them: see docs/operations.md.

It knows clocks, bytes and counts; not what a connection speaks.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from service.errors import Overloaded

if TYPE_CHECKING:
    from service.settings import Settings

_SPARE = 64  # descriptors for everything else: files, sockets that listen, the worker process
_GRPC = 1024  # of them, and at most half of all, for connections over gRPC
_EVERY = 1.0  # seconds between looks at the clocks
_AT_ONCE = 1000  # connections that are looked at before others are served: 1 ms

_log = logging.getLogger("carousel.guard")


class Guarded(Protocol):
    """A connection, as the guard sees it."""

    due: float  # on the loop's clock: until then its client has to do something; inf: it waits for us

    def overdue(self, now: float) -> None:
        """Its client has not: close, or set a new time."""

    def unread(self) -> int:
        """Bytes written that its client has not taken."""

    def abort(self) -> None:
        """Close at once, whatever is lost."""


@dataclass(frozen=True)
class GuardStatistics:
    """Counts since the start, and what is held now."""

    connections: int
    most_connections: int
    unfinished_bytes: int
    unread_bytes: int
    refused: int  # connections
    cut: int  # connections that were aborted for what they did not read


class Guard:
    """Invariants: no more connections than `most`; `held` is the sum of what was held and not released."""

    def __init__(self, settings: Settings) -> None:
        self.most = settings.max_connections or _most(_descriptors(), grpc=settings.grpc_port is not None)
        self.head_seconds, self.body_rate = settings.head_seconds, settings.body_bytes_per_second
        self._most_held, self._most_unread = settings.max_unfinished_bytes, settings.max_unread_bytes
        self._connections: dict[Guarded, None] = {}
        self._held = self._unread = self._refused = self._cut = 0
        _log.info("at most %d connections", self.most)

    def __repr__(self) -> str:
        return f"<Guard {len(self._connections)} of {self.most} connections, {self._held} B unfinished>"

    def enter(self, connection: Guarded) -> bool:
        """Count a new connection → whether there is room for it; else it is to be closed, and not counted."""
        if len(self._connections) >= self.most:
            self._refused += 1
            return False
        self._connections[connection] = None
        return True

    def leave(self, connection: Guarded) -> None:
        """A connection that was counted is closed, or another one has taken its place."""
        self._connections.pop(connection, None)

    def hold(self, size: int) -> None:
        """Count bytes of a message that is not whole.

        Raises:
            Overloaded: there is no room for them; they are not counted.

        """
        if self._held + size > self._most_held:
            raise Overloaded(f"{self._held} bytes of unfinished messages are held already")
        self._held += size

    def release(self, size: int) -> None:
        """These bytes are held no more: the message is whole, or lost."""
        self._held -= size

    async def watch(self) -> None:
        """Look at all connections again and again: at their clocks, and at what their clients do not read."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_EVERY)
            unread: list[tuple[int, Guarded]] = []
            for some in _slices([*self._connections]):
                now = loop.time()
                for connection in some:
                    if connection in self._connections and (size := _look(connection, now)):
                        unread.append((size, connection))
                await asyncio.sleep(0)
            self._cut_largest(unread)

    def statistics(self) -> GuardStatistics:
        """A frozen view."""
        return GuardStatistics(len(self._connections), self.most, self._held, self._unread, self._refused, self._cut)

    def _cut_largest(self, unread: list[tuple[int, Guarded]]) -> None:
        """Abort the connections that read the least until what is left may be held."""
        self._unread = sum(size for size, _ in unread)
        unread.sort(key=lambda one: one[0])
        while self._unread > self._most_unread:
            size, connection = unread.pop()
            _log.warning("a client that did not read %d bytes was cut", size)
            connection.abort()
            self._unread -= size
            self._cut += 1


def _look(connection: Guarded, now: float) -> int:
    """Look at its clock → bytes that are not read."""
    try:
        if connection.due <= now:
            connection.overdue(now)
        return connection.unread()
    except Exception:
        _log.exception("a connection is cut")
        connection.abort()
        return 0


def _slices(connections: list[Guarded]) -> Iterator[list[Guarded]]:
    for begin in range(0, len(connections), _AT_ONCE):
        yield connections[begin : begin + _AT_ONCE]


def _most(descriptors: int, *, grpc: bool) -> int:
    return max(1, descriptors - _SPARE - (min(_GRPC, descriptors // 2) if grpc else 0))


def _descriptors() -> int:
    """How many descriptors the process may have: as many as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2**20 if hard == resource.RLIM_INFINITY else min(hard, 2**20)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
