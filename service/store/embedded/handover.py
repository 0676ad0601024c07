"""How sessions go from one worker to another: a worker's part. See `Exchange` for the order in which it is asked."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np

from service.engine.call import Operation
from service.errors import CarouselError, Overloaded, SessionExpired, SessionNotFound, StoreUnavailable
from service.store.store import Deleted
from service.workers.channel import FailedError, LostError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from service.engine.engine import Engine
    from service.sessions.session import Session, Standing
    from service.sessions.sessions import Sessions
    from service.store.embedded.record import Lent
    from service.store.embedded.shared import SharedStore

_LONGEST = 128  # characters of an id
_HEARD = 0.1  # seconds for whoever asked to hear what came of it
_REMEMBERED = 10_000  # ids of which somebody who asked has not heard

_T = TypeVar("_T")
_log = logging.getLogger("carousel.store")


class Others(Protocol):
    """The other workers, through their supervisor."""

    answers: dict[str, Callable[..., Coroutine[Any, Any, Any]]]  # what they and it may ask this one
    count: int  # of them

    def ask(self, what: str, *given: Any) -> Awaitable[Any]:
        """Ask the supervisor."""

    def tell(self, what: str, *given: Any) -> None:
        """Tell the supervisor."""

    async def ask_others(self, what: str, *given: Any) -> list[Any]:
        """What those answer that are there."""


class Handover:
    """See Elsewhere. Invariant: what is in `hidden` is on its way, and no call reaches it."""

    count = bytes = 0  # bounds are of each worker: what others have does not count here

    def __init__(self, store: SharedStore, sessions: Sessions, others: Others, patience: float) -> None:
        self._store, self._sessions, self._others, self._patience = store, sessions, others, patience
        self.hidden = store.recovering
        self._looking: dict[str, asyncio.Future[None]] = {}
        self._told: dict[str, CarouselError | None] = {}  # what came of an id, for the one that asks next
        parts = (self.lend, self.put, self.keep, self.forget, self.have, self.has)
        others.answers |= {part.__name__: part for part in parts}
        others.answers |= {"standing": self._standing, "ids": self._ids}

    # Sessions that come: see Elsewhere.

    def owned(self) -> None:
        """See Elsewhere: a worker that stood still for too long is dead before another has its sessions."""

    def fetch(self, id: str) -> asyncio.Future[None] | None:
        """See Elsewhere. Raises StoreUnavailable: it cannot be looked up."""
        if len(id) > _LONGEST:
            return None
        if id in self._told:
            error = self._told.pop(id)
            if error is not None:
                raise error
            return None
        if not self._store.serves:
            raise StoreUnavailable("sessions are being recovered")
        if id not in self.hidden and self._here(id):
            return None
        if id not in self._looking:
            looking = self._looking[id] = asyncio.ensure_future(self._look(id))
            looking.add_done_callback(lambda _: self._looking.pop(id))
        return self._looking[id]

    def _here(self, id: str) -> bool:
        """Whether a session is here, in memory or not, or why it cannot be had is known here."""
        try:
            return self._sessions.find(id) is not None
        except CarouselError:
            return True

    async def _look(self, id: str) -> None:
        error: CarouselError | None = None
        try:
            async with asyncio.timeout(self._patience):
                told = await self._others.ask("take", id)
        except TimeoutError:
            error = StoreUnavailable(f"session {id!r} is held by another worker")
        except (LostError, FailedError) as failure:
            error = StoreUnavailable(str(failure))
        else:
            if told is True:
                return
            if told is False:
                error = StoreUnavailable(f"session {id!r} cannot come here now")
            elif isinstance(told, CarouselError):
                error = told
            elif isinstance(told, float):
                self._sessions.expired.remember(id, self._sessions.now() + told)
        if len(self._told) >= _REMEMBERED:
            self._told.clear()  # who asked has left
        if error is not None or not self._here(id):
            self._told[id] = error
            asyncio.get_running_loop().call_later(_HEARD, self._told.pop, id, None)

    async def put(self, lent: Lent) -> bool:
        """Write a session that comes, and hide it until nobody else has it → False: it stays where it is."""
        store, id = self._store, lent.record.id
        book = store.book_of(lent.record.kind)
        if book is None or book.engine.refusal is not None or not store.serves or self._here(id):
            return False
        self.hidden[id] = lent.record.number
        try:
            await store.bring(book, lent)
        except StoreUnavailable:
            del self.hidden[id]
            return False
        except BaseException:
            _log.exception("nobody knows whether session %r was written: this worker ends", id)
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    async def have(self, id: str) -> None:
        """The session is nobody else's now."""
        self.hidden.pop(id, None)
        self._store.came()

    # Sessions that go.

    async def lend(self, id: str) -> Lent | float | CarouselError | None:
        """Finish what a session has accepted, and hide it → the session; for how long its id is told as expired; why it
        cannot be had; None: it is not here.
        """
        self._check()
        while id in self._sessions.ending:
            await asyncio.wait([self._sessions.ending[id]])
        try:
            session = self._sessions.find(id)
        except CarouselError as error:
            return error
        if session is None or self._sessions.opening(session):
            return self._seconds_expired(id)
        if session.home.refusal is not None:
            return session.home.refusal
        engine, answer = cast("Engine", session.home), asyncio.get_running_loop().create_future()
        self.hidden[id] = session.birth
        engine.table.generation += 1
        lent: Lent | None = None
        try:
            engine.operate(Operation(np.array([session.row]), lambda: self._lent(session), answer))
            lent = await answer
        finally:
            if lent is None:
                self.hidden.pop(id, None)
        return lent

    def _lent(self, session: Session) -> Lent | None:
        if self._sessions.find(session.id) != session:
            return None  # it has ended
        return self._store.lent(session)

    async def keep(self, id: str) -> None:
        """The session stays here."""
        self.hidden.pop(id, None)

    async def forget(self, id: str, number: int) -> None:
        """Another worker has the session: write that it is no more."""
        self._check()
        self.hidden.pop(id, None)
        session = self._sessions.find(id)  # it may have left memory, or expired
        if session is None or session.birth != number:
            return
        self.hidden[id] = number
        pending = self._store.commit(session.home, [Deleted(session.row)])
        if pending is not None:
            await pending
        if self._sessions.resident(id):
            self._sessions.spill(session)
        self.hidden.pop(id, None)

    def _check(self) -> None:
        if not self._store.serves:
            raise Overloaded("this worker begins, or ends")

    # What others want to know.

    async def has(self, ids: list[str]) -> list[str]:
        """Those of some ids that are taken here."""
        self._check()
        return [id for id in ids if id in self.hidden or self._taken(id)]

    def _taken(self, id: str) -> bool:
        try:
            session = self._sessions.find(id)
        except CarouselError:
            return True
        return session is not None and not self._sessions.opening(session)

    def _seconds_expired(self, id: str) -> float | None:
        return self._sessions.seconds_expired(id)

    async def standing(self, id: str) -> Standing | None:
        """See Elsewhere."""
        for told in await self._all("standing", id):
            if isinstance(told, float):
                self._sessions.expired.remember(id, self._sessions.now() + told)
            elif told is not None:
                standing: Standing = told
                return standing
        return None

    async def _standing(self, id: str) -> Standing | float | None:
        self._check()
        try:
            return self._sessions.look(id)
        except Overloaded:  # on its way
            session = self._sessions.find(id)
            return None if session is None else self._sessions.stands(session)
        except (SessionNotFound, SessionExpired):
            return self._seconds_expired(id)

    async def ids(self, after: str, prefix: str, most: int) -> list[str]:
        """See Elsewhere."""
        told = [await self._ids(after, prefix, most), *await self._all("ids", after, prefix, most)]
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
