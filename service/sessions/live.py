"""The sessions in memory: the rows that they have, when they become visible, and when they are forgotten.

Its step, TTL and deadline are columns of its row. It knows ids and an injected clock; not bounds, stores or calls.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from service.sessions.expired_ids import ExpiredIds
from service.sessions.ids import random_ids
from service.sessions.pages import Pages
from service.sessions.places import Places
from service.sessions.session import Home, Session, Standing

if TYPE_CHECKING:
    from service.models.model import Index
    from service.sessions.snapshots import Rule


class LiveSessions:
    """Invariant: `_bytes` is the state of the sessions in memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._live = Places()
        self._opening: set[str] = set()  # not visible yet
        self.ending: dict[str, Future[None]] = {}  # their delete was accepted: not visible any more
        self.recovering = set[str]()  # being loaded or moved away: not visible, and their rows stay
        self.expired = ExpiredIds()
        self._unswept: list[str] = []
        self.pages, self._ids = Pages(self._live), random_ids()
        self.lapsed: Callable[[Session, float], None] = _ignore  # gets one that expires, and when to forget it
        self.born = 0  # the number of the newest session; none is used twice
        self._bytes = self._opened = self._deleted = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._live)} live, {self._bytes} B of state>"

    def resident(self, id: str) -> bool:
        """Whether the session of an id is in memory."""
        return id in self._live

    def in_memory(self, id: str) -> Session | None:
        """The session of an id in memory, an opening or ending one too; it expires here if its time is over."""
        place = self._live.get(id)
        if place is None:
            return None
        home, row = place
        session = Session(id, home, row, home.table.birth.item(row))
        if not self._idle(session):
            return session
        self._expire(session)
        return None

    def stands(self, session: Session) -> Standing:
        """How a session stands."""
        return session.stands(self._clock())

    def now(self) -> float:
        """The time on the clock of deadlines."""
        return self._clock()

    def awake_until(self, home: Home, rows: Index) -> float:
        """The time before which none of the sessions of these rows can expire."""
        return float(home.table.deadline[rows].min())

    def _create(self, id: str | None, home: Home, ttl: float, rule: Rule | None, birth: int) -> Session:
        session = self._seat(id or next(self._ids), home, ttl, rule, birth)
        self._live.put(session)
        self.pages.add(session.id)
        self._opening.add(session.id)
        self._bytes += session.size
        return session

    def _seat(self, id: str, home: Home, ttl: float, rule: Rule | None, birth: int) -> Session:
        """A row of a home for a session."""
        session = Session(id, home, home.table.allocate(), birth)
        home.table.birth[session.row], home.table.ttl[session.row] = birth, ttl
        home.rewinds.follow(session.row, rule)
        return session

    def seat(self, session: Session, home: Home) -> Session:
        """Reserve a row in another home, for a session that goes there with `moved`."""
        rule = session.home.rewinds.rule(session.row)
        return self._seat(session.id, home, session.ttl, rule, session.birth)

    def unseat(self, new: Session) -> None:
        """Undo `seat`: the session does not move."""
        new.home.rewinds.rows.pop(new.row, None)
        new.home.table.free(new.row)

    def moved(self, session: Session, new: Session) -> None:
        """A session goes on in its seat, without its snapshots; its old row is to be freed when nothing waits there."""
        self._live.put(new)
        self._bytes += new.size - session.size
        session.home.answers.forget(session.row)
        session.home.rewinds.rows.pop(session.row, None)
        session.home.table.birth[session.row] = 0  # it is not there any more
        session.home.table.generation += 1
        self.touch(new)

    def release(self, home: Home) -> None:
        """Forget a home in which no session lives."""
        self._live.release(home)

    def restore(self, stands: Standing, home: Home, rule: Rule | None, birth: int) -> Session:
        """A session that a store has, whatever the bounds; not visible until `restored`."""
        (row,) = self.restore_all(
            *(home, [stands.id]),
            rules=[rule],
            births=[birth],
            ttls=[stands.ttl],
            steps=[stands.step],
            deadlines=[self._clock() + stands.left],
        ).tolist()
        return Session(stands.id, home, row, birth)

    def restore_all(
        self,
        home: Home,
        ids: Sequence[str],
        *,
        rules: Sequence[Rule | None],
        births: Sequence[int],
        ttls: Sequence[float],
        steps: Sequence[int],
        deadlines: Sequence[float],
    ) -> Index:
        """The rows [N] of N sessions that a store has: see `restore`."""
        table = home.table
        rows = np.array([table.allocate() for _ in ids])
        table.birth[rows], table.ttl[rows], table.deadline[rows] = births, ttls, deadlines
        table.step[rows] = table.ahead[rows] = steps
        kept = 0
        for row, rule in zip(rows.tolist(), rules, strict=True):
            if rule is not None:
                home.rewinds.follow(row, rule)
                kept += rule.keep
        self._live.put_all(home, ids, rows.tolist())
        for id in ids:
            self.pages.add(id)
        self._opening.update(ids)
        self._bytes += table.row_bytes * (len(ids) + kept)
        return rows

    def restored(self, ids: Iterable[str]) -> None:
        """Make sessions visible."""
        self._opening.difference_update(ids)

    def opening(self, session: Session) -> bool:
        """Whether it was created and is not visible yet."""
        return session.id in self._opening

    def opened(self, *sessions: Session) -> None:
        """Make new sessions visible, and start their idle clocks."""
        for session in sessions:
            self._opening.discard(session.id)
            self.expired.forget(session.id)
            self.touch(session)
        self._opened += len(sessions)

    def touch(self, session: Session) -> None:
        """Restart the idle clock."""
        table = session.home.table
        table.deadline[session.row] = self._clock() + table.ttl[session.row]

    def spill(self, session: Session) -> None:
        """Take a session that nothing waits on out of memory: a store has it as it stands."""
        self._drop(session)

    def delete(self, session: Session) -> None:
        """Forget a session: its id is unknown from now on."""
        self._deleted += session.id not in self._opening
        self.ending.pop(session.id, None)
        self._drop(session)

    def sweep(self, most: int) -> None:
        """Expire idle sessions among the next `most` in turn; `Sessions.get` is exact without it."""
        for _ in range(min(most, len(self._unswept) + len(self._live))):
            self._unswept = self._unswept or list(self._live)
            if not self._unswept:
                return
            if (id := self._unswept.pop()) in self._live:  # else it has left memory meanwhile
                self.in_memory(id)

    def _idle(self, session: Session) -> bool:
        """Whether its TTL has passed, and nothing that was accepted holds its idle clock."""
        table, row = session.home.table, session.row
        if table.deadline.item(row) > self._clock() or table.last.item(row):
            return False
        return session.id not in self._opening and session.id not in self.recovering

    def _expire(self, session: Session) -> None:
        forgotten = session.deadline + session.ttl
        self.lapsed(session, forgotten)
        self.ending.pop(session.id, None)
        self._drop(session)
        self.expired.lapse(session.id, forgotten)

    def _drop(self, session: Session) -> None:
        self._live.drop(session.id)
        self.pages.discard(session.id)
        self._opening.discard(session.id)
        self._bytes -= session.size
        session.home.rewinds.rows.pop(session.row, None)
        session.home.answers.forget(session.row)
        session.home.table.free(session.row)


def _ignore(session: Session, until: float) -> None:
    """Tell nothing."""
