"""Looks sessions up that are not here, once an id at a time, and tells the calls that wait what came of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from service.errors import CarouselError, StoreUnavailable

if TYPE_CHECKING:
    from service.sessions.sessions import Sessions

_LONGEST = 128  # characters of an id
_REMEMBERED = 10_000  # results that no call has asked for
_KEPT = 0.1  # seconds that a result is kept: the calls that waited ask again at once

_log = logging.getLogger("carousel.store")


class Lookups:
    """Invariant: an id in `running` is being looked up; `_results` has what came of it, for the call that asks next."""

    def __init__(self, sessions: Sessions, look: Callable[[str], Awaitable[None]], patience: float) -> None:
        """`look` brings a session here if it can be had, and raises CarouselError if that cannot be known."""
        self._sessions, self._look, self._patience = sessions, look, patience
        self.running: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: dict[str, CarouselError | None] = {}

    def fetch(self, id: str) -> asyncio.Future[None] | None:
        """See Elsewhere."""
        if len(id) > _LONGEST:
            return None
        if id in self._results:
            error = self._results.pop(id)
            if error is not None:
                raise error
            return None
        if id not in self.running:
            running = self.running[id] = asyncio.get_running_loop().create_future()
            task = asyncio.ensure_future(self._run(id, running))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self.running[id]

    def forget(self, id: str) -> None:
        """Forget that a session was nowhere: it has come here since, and is about to go."""
        if self._results.get(id, CarouselError()) is None:
            del self._results[id]

    def here(self, id: str) -> bool:
        """Whether a session is here, in memory or not, or it is known here why it cannot be had.

        One that is being opened is not: another process may have the id.
        """
        try:
            session = self._sessions.find(id)
        except CarouselError:
            return True
        return session is not None and not self._sessions.opening(session)

    def end(self, id: str) -> None:
        """Let the calls that wait for a lookup ask again: its result is known."""
        running = self.running.pop(id, None)
        if running is not None:
            running.set_result(None)

    async def _run(self, id: str, running: asyncio.Future[None]) -> None:
        error: CarouselError | None = None
        try:
            async with asyncio.timeout(self._patience):
                await self._look(id)
        except TimeoutError:
            error = StoreUnavailable(f"session {id!r} is held by another process, or the store does not answer")
        except CarouselError as refusal:
            error = refusal
        except Exception:
            _log.exception("session %r cannot be looked up", id)
            error = CarouselError()
        if self.running.get(id) is not running:
            return  # the session came here, and may have ended or gone since
        if error is not None or not self.here(id):
            if len(self._results) >= _REMEMBERED:
                self._results.clear()
            self._results[id] = error
            asyncio.get_running_loop().call_later(_KEPT, self._results.pop, id, None)
        self.end(id)
