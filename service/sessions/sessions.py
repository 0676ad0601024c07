"""All sessions by id: bounded in number and bytes, forgotten after their TTL.

How a session stands is in the columns of its row. It knows ids and an injected clock; not models, calls or sockets.
"""

from __future__ import annotations

import time
from asyncio import Future
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from service.errors import Overloaded, SessionExists, SessionExpired, SessionNotFound
from service.sessions.expired import Expired
from service.sessions.ids import random_ids
from service.sessions.pages import Pages
from service.sessions.places import Places
from service.sessions.session import Cold, Elsewhere, Home, Session, SessionStatistics, Standing

if TYPE_CHECKING:
    from service.models.model import Index
    from service.sessions.budget import Budget
    from service.sessions.snapshots import Rule

_AT_ONCE = 1_000  # sessions looked at before an opening is refused, at 0.3 µs each


class Sessions:
    """The index of sessions. Invariant: `_bytes` is the state of the live ones."""

    def __init__(
        self, budget: Budget, *, most: int, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._most_bytes, self._clock = most, most_bytes, clock
        self.budget = budget
        self.promises = {"replay": budget.each}  # what clients are told of every session
        self._live = Places()
        self._opening: set[str] = set()  # not visible yet
        self.ending: dict[str, Future[None]] = {}  # their delete was accepted: not visible any more
        self.expired = Expired()
        self._unswept: list[str] = []
        self.pages, self._ids = Pages(self._live), random_ids()
        self.recovering: Collection[str] = ()  # ids whose sessions a store has and the table has not yet
        self.lapsed: Callable[[Session, float], None] = lambda _, __: (
            None
        )  # is told of a session that expires, and until when
        self.cold: Cold | None = None  # sessions that are not in memory
        self.elsewhere: Elsewhere | None = None  # sessions that other processes may have
        self.born = 0  # the number of the newest session; none is used twice
        self._bytes = self._opened = self._deleted = 0

    def __repr__(self) -> str:
        return f"<Sessions {len(self._live)} live, {self._bytes} B of state>"

    def get(self, id: str) -> Session:
        """The live session of an id.

        Raises:
            SessionExpired: it was idle beyond its TTL.
            SessionNotFound: it never existed, was deleted, or is not open yet.
            Overloaded: it is being recovered.
            StoreUnavailable: it may be elsewhere.
            VersionNotFound, StateMismatch: its model is not there.

        """
        session = self.known(id)
        if session.home.refusal is not None:
            raise session.home.refusal
        return session

    def known(self, id: str) -> Session:
        """The live session of an id, also if its model is not there. Raises as `get` otherwise."""
        self.owned()
        if id in self.recovering:
            raise _recovering(id)
        session = self.find(id)
        if session is not None and id not in self._opening and id not in self.ending:
            return session
        expired = session is None and self.expired.until(id) > self._clock()
        if expired or (session is None and self.cold is not None and self.cold.expired(id)):
            raise SessionExpired(f"session {id!r} was idle beyond its TTL")
        raise SessionNotFound(f"no session {id!r}")

    def here(self, ids: Iterable[str]) -> list[tuple[Home, int] | None]:
        """Home and row of each live session in memory: what `get` finds, for many of them in a third of the time.

        None: ask `get`, which tells why. Raises StoreUnavailable: others may have them.
        """
        self.owned()
        hidden = self._opening or self.ending or self.recovering
        now, found, place_of = self._clock(), list[tuple[Home, int] | None](), self._live.get
        for id in ids:
            place = place_of(id)
            if place is not None:
                home, row = place
                gone = home.table.deadline.item(row) <= now or home.refusal is not None
                if gone or (hidden and (id in self._opening or id in self.ending or id in self.recovering)):
                    place = None
            found.append(place)
        return found

    def seconds_expired(self, id: str) -> float | None:
        """For how long an id is told as expired; None: it is not."""
        left = self.expired.until(id) - self._clock()
        if left <= 0 and self.cold is not None and self.cold.expired(id):
            left = 1.0  # or longer: it is asked for again
        return left if left > 0 else None

    def look(self, id: str) -> Standing:
        """How the live session of an id stands; it is not brought into memory. Raises as `known`."""
        cold = None if self.cold is None or id in self._live or id in self.recovering else self.cold.look(id)
        return cold or self.stands(self.known(id))

    def stands(self, session: Session) -> Standing:
        """How a session stands."""
        return session.stands(self._clock())

    def ids(self, after: str, prefix: str, most: int) -> list[str]:
        """The next ids in order, behind one, that begin so; `pages.sort` was awaited. Some may be opening or ending."""
        if self.recovering and self.elsewhere is None:  # else they move between workers
            raise Overloaded(f"{len(self.recovering)} sessions are being recovered")
        ids = self.pages.after(after, prefix, most)
        return ids if self.cold is None else sorted({*ids, *self.cold.ids(after, prefix, most)})[:most]

    def resident(self, id: str) -> bool:
        """Whether the session of an id is in memory."""
        return id in self._live

    def missing(self, id: str) -> Future[None] | None:
        """What to wait for until it is known whether a session is elsewhere; then ask again. None: it is known.

        Raises:
            StoreUnavailable: it cannot be known now.

        """
        if self.elsewhere is None or (id in self._live and id not in self.recovering):
            return None
        return self.elsewhere.fetch(id)

    def owned(self) -> None:
        """Raise StoreUnavailable while others may have the sessions that are here."""
        if self.elsewhere is not None:
            self.elsewhere.owned()

    def find(self, id: str) -> Session | None:
        """The session that holds an id now, an opening or ending one too."""
        place = self._live.get(id)
        if place is None:
            return None if self.cold is None or id in self.recovering else self.cold.load(id)
        home, row = place
        session = Session(id, home, row, home.table.birth.item(row))
        if not self._idle(session):
            return session
        self._expire(session)
        return None

    def now(self) -> float:
        """The time on the clock of deadlines."""
        return self._clock()

    def awake_until(self, home: Home, rows: Index) -> float:
        """The time before which none of the sessions of these rows can expire."""
        return float(home.table.deadline[rows].min())

    def create(self, id: str | None, home: Home, ttl: float, rule: Rule | None = None) -> Session:
        """A new session at step 0 with the zero state, not visible until `opened`.

        Raises:
            SessionExists: the id is taken.
            Overloaded: there is no room, in number or bytes; or it is being recovered.

        """
        self.owned()
        if id is not None and id in self.recovering:
            raise _recovering(id)
        if id is not None and self.find(id) is not None:
            raise SessionExists(f"session {id!r} exists")
        if not self.room(1, home.table.row_bytes * (1 + (rule.keep if rule else 0))):
            raise self.full(*self.totals())
        self.born += 1
        return self._create(id, home, ttl, rule, self.born)

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
        """The session as it will be in another home; it is not there before it has `moved`."""
        rule = session.home.rewinds.rule(session.row)
        return self._seat(session.id, home, session.ttl, rule, session.birth)

    def unseat(self, new: Session) -> None:
        """It has not moved."""
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
        session = self._create(stands.id, home, stands.ttl, rule, birth)
        home.table.step[session.row] = home.table.ahead[session.row] = stands.step
        home.table.deadline[session.row] = self._clock() + stands.left
        return session

    def restored(self, ids: Iterable[str]) -> None:
        """Make sessions visible."""
        self._opening.difference_update(ids)

    def opening(self, session: Session) -> bool:
        """Whether it was created and is not visible yet."""
        return session.id in self._opening

    def room(self, count: int, row_bytes: int) -> bool:
        """Whether `count` more sessions fit; before the answer is no, idle ones are looked for."""

        def there_is() -> bool:
            live, size = self.totals()
            return self.fits(live + count, size + count * row_bytes)

        if not there_is():
            self.sweep(_AT_ONCE)
        return there_is()

    def fits(self, count: int, size: int) -> bool:
        """Whether so many sessions of so many bytes are within the bounds."""
        return count <= self._most and size <= self._most_bytes

    @staticmethod
    def full(count: int, size: int) -> Overloaded:
        """What is told where there is no room."""
        return Overloaded(f"the session table is full: {count} sessions, {size} bytes")

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
        """Expire idle sessions among the next `most` in turn; `get` is exact without it."""
        for _ in range(min(most, len(self._unswept) + len(self._live))):
            self._unswept = self._unswept or list(self._live)
            if not self._unswept:
                return
            if (id := self._unswept.pop()) in self._live:  # not in memory, its due time is looked at
                self.find(id)

    def statistics(self) -> SessionStatistics:
        """A frozen view."""
        states = {"opening": len(self._opening), "ending": len(self.ending)}
        states["open"] = len(self._live) - sum(states.values())
        live, size = self.totals()
        states |= {} if self.cold is None else {"spilled": self.cold.count}
        states |= {} if self.elsewhere is None else {"elsewhere": self.elsewhere.count}
        return SessionStatistics(live, states, size, self.budget.bytes, self._opened, self._deleted, self.expired.count)

    def totals(self) -> tuple[int, int]:
        """Count and bytes of all sessions, in memory or not."""
        others = self.cold or self.elsewhere
        return len(self._live) + (others.count if others else 0), self._bytes + (others.bytes if others else 0)

    def others(self, count: int, size: int) -> tuple[int, int]:
        """Count and bytes of those that are not in memory, of so many in all."""
        return max(0, count - len(self._live)), max(0, size - self._bytes)

    def _idle(self, session: Session) -> bool:
        """Whether its TTL has passed, and nothing that was accepted holds its idle clock."""
        table, row = session.home.table, session.row
        return (
            table.deadline.item(row) <= self._clock() and not table.last.item(row) and session.id not in self._opening
        )

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


def _recovering(id: str) -> Overloaded:
    return Overloaded(f"session {id!r} is being recovered")
