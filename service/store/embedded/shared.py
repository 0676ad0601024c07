"""The embedded store of one worker of several: it has its own folder, and asks the others before it opens an id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from service.errors import CarouselError, SessionExists, StoreUnavailable
from service.sessions.session import Session
from service.store.embedded import entries
from service.store.embedded.handover import Handover
from service.store.embedded.placing import place_one
from service.store.embedded.record import Kept, Lent
from service.store.embedded.settling import kinds_of
from service.store.embedded.store import EmbeddedStore
from service.store.kind import decode, flat
from service.store.store import Advanced, Copied, Opened
from service.workers.channel import FailedError, LostError

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.sessions.sessions import Sessions
    from service.store.embedded.book import Book
    from service.store.store import Change, Conflicts
    from service.workers.worker import Worker


class SharedStore(EmbeddedStore):
    """Invariant: a session is in one folder, or in two while it moves: the one with the higher epoch has it."""

    def __init__(self, sessions: Sessions, others: Worker, lease: float, **how: Any) -> None:
        super().__init__(sessions=sessions, **how)
        self._others, self._lease = others, lease
        self.serves = False  # its sessions are recovered, and it does not end yet

    def start(self) -> None:
        """See Keeper."""
        super().start()
        self.book_of, self.coming = self._cold.books, self._upkeep.coming
        self._sessions.elsewhere = Handover(self, self._sessions, self._others, 2 * self._lease)

    async def recovered(self, absent: Callable[[str, str], Engine]) -> None:
        """See Keeper."""
        await super().recovered(absent)
        self.serves = True

    def stored(self) -> set[tuple[str, str]]:
        """See Keeper: sessions of all workers may come here."""
        assert self._share is not None
        first = self._path if self._share.place == 0 else self._path.parent
        folders = {first, *first.glob("worker-*")} - {self._path}
        return super().stored() | {decode(kind).served_as for folder in folders for kind in kinds_of(folder)}

    def holds(self, home: object) -> bool:
        """See Keeper: others may have some, and bring them here."""
        return True

    async def close(self) -> None:
        """See Keeper."""
        self.serves = False
        await super().close()

    def commit(self, home: object, changes: Sequence[Change]) -> asyncio.Future[Conflicts] | None:
        """See Store."""
        opening = [one for one in changes if isinstance(one, Opened | Copied)]
        if not opening:
            return super().commit(home, changes)
        return asyncio.ensure_future(self._open(cast("Engine", home), changes, opening))

    async def _open(self, home: Engine, changes: Sequence[Change], opening: Sequence[Opened | Copied]) -> Conflicts:
        """Commit, except sessions whose ids other workers have, and those that exceed the bounds of all workers."""
        ids, conflicts = [id for one in opening for id in _ids(one)], dict[int, CarouselError]()
        try:
            taken, count, size = await self._others.ask("claim", ids)
        except (LostError, FailedError) as error:
            conflicts = {row: StoreUnavailable(str(error)) for one in opening for row in _rows(one)}
        else:
            for one in reversed(opening):
                if not self._sessions.fits(count, size):
                    conflicts |= dict.fromkeys(_rows(one), self._sessions.full(count, size))
                    count -= len(_rows(one))
                    size -= sum(Session(id, home, row, 0).size for id, row in zip(_ids(one), _rows(one), strict=True))
                for id in taken.intersection(_ids(one)):
                    conflicts |= dict.fromkeys(_rows(one), SessionExists(f"session {id!r} exists"))
        changes = [one for one in changes if conflicts.keys().isdisjoint(_rows(one))]
        try:
            pending = super().commit(home, changes) if changes else None
            return conflicts if pending is None else {**conflicts, **await pending}
        finally:
            asyncio.get_running_loop().call_soon(self._others.tell, "release", ids)  # the commit is applied by then

    # Sessions that move.

    def lent(self, session: Session) -> Lent:
        """A session as it stands, with all that another worker needs."""
        book = self._books[session.home]
        (record,), _, _ = book.records(np.array([session.row]), self._clock.offset)
        kept = [Kept(one.step, flat(one.state, 1).tobytes(), False) for one in book.engine.rewinds.of(session.row)]
        record = record._replace(snapshots=kept, epoch=record.epoch + 1)
        return Lent(record, record.deadline - self._clock.seconds())

    async def bring(self, book: Book, lent: Lent) -> Session:
        """Write a session that comes from another worker, and put it into memory.

        Raises:
            StoreUnavailable: it is not written.
            CommitUnknown: it is unknown whether it is written.

        """
        position, deadline = self._journal.next(), self._clock.seconds() + lent.left
        record, kept = lent.record._replace(position=position, deadline=deadline), lent.record.snapshots or ()
        changes = [entries.change(entries.IMPORTED, 1, rest=record.encode())]
        for one in kept:
            state = np.frombuffer(one.state, np.float32)[None]
            changes.append(entries.change(entries.SNAPPED, 1, starts=np.array([one.step]), state=state))
        self.coming.add(record.id)
        try:
            numbers = np.full(len(changes), record.number).tobytes()
            pending = self._journal.append(b"".join(changes), numbers, position, book.model)
            if pending is not None:
                await pending
        except CarouselError:
            self.coming.remove(record.id)
            raise
        self._cold.ended.pop(record.number, None)  # it was here before
        self._upkeep.position = max(self._upkeep.position, position)
        return place_one(record, book, self._sessions, self._clock.seconds(), stored=False)


def _ids(one: Opened | Copied) -> Sequence[str]:
    return [one.id] if isinstance(one, Opened) else one.ids


def _rows(one: Change) -> list[int]:
    return one.rows.tolist() if isinstance(one, Advanced | Copied) else [one.row]
