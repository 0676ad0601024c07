"""uvicorn's HTTP protocol under the guard: the clock of a connection, and the bytes that it holds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import CarouselError, Overloaded, TooSlow

if TYPE_CHECKING:
    from service.api.guard import Guard

WINDOW = 10.0  # seconds in which a body has to go on


class GuardedHttp(HttpToolsProtocol, ABC):
    """See `guard.Guarded`."""

    def __init__(self, guard: Guard, **how: Any) -> None:
        super().__init__(**how)
        self.guard = guard
        self.due = math.inf
        self._received = self._mark = 0  # bytes; at the beginning of the WINDOW
        self._held = 0  # of them, as the guard has it
        self._parses = self._served = False  # the parser has a part of a message; the application has it too

    def connection_made(self, transport: Any) -> None:
        """As asyncio has it."""
        super().connection_made(transport)
        self.due = self.loop.time() + self.guard.head_seconds
        if not self.guard.enter(self):
            self._refuse(Overloaded(f"{self.guard.most} connections are open"))

    def overdue(self, now: float) -> None:
        """See Guarded."""
        if not self._parses:
            self.transport.close()  # it rests, or never asked anything
        elif not self._served:
            self._refuse(TooSlow(f"a head takes over {self.guard.head_seconds:g} s"))
        elif not self._goes_on(now):
            self._refuse(self._too_slow())

    def _goes_on(self, now: float) -> bool:
        """Whether enough of a body came in the last WINDOW; then it gets another one."""
        enough = self.flow.read_paused or self._received - self._mark >= WINDOW * self.guard.body_rate
        self._mark, self.due = self._received, now + WINDOW
        return enough

    def _too_slow(self) -> TooSlow:
        return TooSlow(f"under {self.guard.body_rate} bytes/s of a body came in {WINDOW:g} s")

    def unread(self) -> int:
        """See Guarded."""
        return self.transport.get_write_buffer_size()

    def abort(self) -> None:
        """See Guarded."""
        self.transport.abort()

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn's clock; see `due`."""

    def _hold(self, size: int) -> None:
        self.guard.hold(size)
        self._held += size

    def _release(self) -> None:
        self.guard.release(self._held)
        self._held = 0

    def _leave(self) -> None:
        self._release()
        self.guard.leave(self)

    @abstractmethod
    def _refuse(self, error: CarouselError) -> None:
        """Answer with an error, and close."""
