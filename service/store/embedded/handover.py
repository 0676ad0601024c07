"""Moves sessions from one worker to another: a worker's part. `Exchange` has the order in which it is asked."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from service.engine.call import Operation
from service.errors import CarouselError, Overloaded, SessionExpired, SessionNotFound, StoreUnavailable
from service.sessions.session import Standing
from service.store.embedded.record import STAYS
from service.store.lookups import Lookups
from service.store.store import Deleted
from service.workers.channel import FailedError, LostError

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.sessions.sessions import Sessions
    from service.store.embedded.record import Lent
    from service.store.embedded.shared import SharedStore
    from service.workers.worker import Worker

_HERE, _GONE, _LENT, _EXPIRED = range(4)  # what a worker may know of an id, the surest first

_log = logging.getLogger("carousel.store")


class Handover:
    """The `Elsewhere` of workers.

    Invariant: what is in `hidden` is lent to another worker, or about to come: no call reaches it.
    """

    count = bytes = 0  # sessions that are not in memory are counted by the records, or by other workers

    def __init__(self, store: SharedStore, sessions: Sessions, others: Worker, patience: float) -> None:
        self._store, self._sessions, self._others = store, sessions, others
        self.hidden = sessions.recovering
        self._lookups = Lookups(sessions, self._look, patience)
        parts = (self.lend, self.put, self.keep, self.forget, self.have, self.has)
        others.answers |= {part.__name__: part for part in parts}
        others.answers |= {"standing": self._standing, "ids": self._ids}

    # Sessions that come: see `Elsewhere`.

    def owned(self) -> None:
        """See `Elsewhere`: a worker that stands still past its lease is killed before another one gets its sessions."""

    def fetch(self, id: str) -> asyncio.Future[None] | None:
        """See Elsewhere. Raises StoreUnavailable: it cannot be looked up."""
        if not self._store.serves:
            raise StoreUnavailable("sessions are being recovered")
        if id in self.hidden:
            self._lookups.forget(id)
        elif self._lookups.here(id):
            return None
        return self._lookups.fetch(id)

    async def _look(self, id: str) -> None:
        try:
            told = await self._others.ask("take", id)
        except (LostError, FailedError) as failure:
            raise StoreUnavailable(str(failure)) from failure
        if told is False:
            raise StoreUnavailable(f"session {id!r} cannot come here now")
        if isinstance(told, CarouselError):
            raise told
        if isinstance(told, float):
            self._sessions.expired.remember(id, self._sessions.now() + told)

    async def put(self, lent: Lent) -> int:
        """Write a session that comes, and serve it → its bytes; STAYS: it stays where it is."""
        store, id = self._store, lent.record.id
        book = store.book_of.get(lent.record.kind)
        if book is None or book.engine.refusal is not None or not store.serves:
            return STAYS
        if self._sessions.resident(id) or self._lookups.here(id):
            return STAYS
        self.hidden.add(id)
        try:
            session = await store.bring(book, lent)
        except StoreUnavailable:
            return STAYS
        except BaseException:
            _log.exception("it is unknown whether session %r was written: this worker ends", id)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            self.hidden.remove(id)
        self._lookups.end(id)
        return session.size

    async def have(self, id: str) -> None:
        """The worker that had a session has written that it is gone there."""
        self._store.coming.remove(id)

    # Sessions that go.

    async def lend(self, id: str) -> Lent | float | CarouselError | None:
        """Finish what a session has accepted, and hide it → the session; or the seconds for which its id is told as
        expired; or why it cannot be had; or None: it is not here.
        """
        self._check()
        while id in self._sessions.ending:
            await asyncio.wait([self._sessions.ending[id]])
        try:
            session = self._sessions.find(id)
        except CarouselError as error:
            return error
        if session is None or self._sessions.opening(session):
            return self._sessions.seconds_expired(id)
        if session.home.refusal is not None:
            return session.home.refusal
        engine, row = cast("Engine", session.home), session.row
        self.hidden.add(id)
        engine.table.generation += 1
        lent: Lent | None = None
        try:
            if engine.table.last.item(row):
                accepted = asyncio.get_running_loop().create_future()
                engine.operate(Operation(np.array([row]), lambda: None, accepted))
                await accepted
            if self._sessions.find(id) == session:  # else it has ended
                lent = self._store.lent(session)
        finally:
            if lent is None:
                self.hidden.discard(id)
        return lent

    async def keep(self, id: str) -> None:
        """The session stays here."""
        self.hidden.discard(id)

    async def forget(self, id: str, number: int) -> None:
        """Another worker has the session: write that it is gone."""
        self._check()
        self.hidden.discard(id)
        session = self._sessions.find(id)  # it may have left memory, or expired
        if session is None or session.birth != number:
            return
        self.hidden.add(id)
        pending = self._store.commit(session.home, [Deleted(session.row)])
        if pending is not None:
            await pending
        if self._sessions.resident(id):
            self._sessions.spill(session)
        self.hidden.discard(id)

    def _check(self) -> None:
        if not self._store.serves:
            raise Overloaded("this worker begins, or ends")

    # What others want to know.

    async def has(self, ids: list[str]) -> tuple[list[str], int, int]:
        """Those of some ids that are taken here, and count and bytes of all sessions here."""
        self._check()
        return [id for id in ids if id in self.hidden or self._lookups.here(id)], *self._sessions.totals()

    async def standing(self, id: str) -> Standing | None:
        """See Elsewhere."""
        told = [one for one in [await self._standing(id), *await self._all("standing", id)] if one is not None]
        kind, found = min(told, key=itemgetter(0), default=(_EXPIRED, None))
        if kind == _GONE:  # it ended where it came to, and here it is not written yet that it went
            raise SessionNotFound(f"no session {id!r}")
        if kind == _EXPIRED and found is not None:
            self._sessions.expired.remember(id, self._sessions.now() + cast("float", found))
        return found if isinstance(found, Standing) else None

    async def _standing(self, id: str) -> tuple[int, Standing | float | None] | None:
        """What is known here of an id: the lowest kind at all workers counts. `_EXPIRED`: for how many seconds."""
        self._check()
        try:
            return _HERE, self._sessions.look(id)
        except Overloaded:
            session = self._sessions.find(id)
            return None if session is None else (_LENT, self._sessions.stands(session))
        except (SessionNotFound, SessionExpired):
            if id in self._store.coming:
                return _GONE, None
            seconds = self._sessions.seconds_expired(id)
            return None if seconds is None else (_EXPIRED, seconds)

    async def ids(self, after: str, prefix: str, most: int) -> list[str]:
        """See Elsewhere. Those here are looked at twice: a session may move while the others answer."""
        told = [await self._ids(after, prefix, most), *await self._all("ids", after, prefix, most)]
        told.append(await self._ids(after, prefix, most))
        return sorted({id for some in told for id in some})[:most]

    async def _ids(self, after: str, prefix: str, most: int) -> list[str]:
        self._check()
        await self._sessions.pages.sort()
        return self._sessions.ids(after, prefix, most)

    async def _all(self, what: str, *given: Any) -> list[Any]:
        told = await self._others.ask_others(what, *given)
        if len(told) < self._others.count:
            raise StoreUnavailable("a worker is being started, which may have some of the sessions")
        return told
