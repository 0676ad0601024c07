"""All sessions by id: in memory, in a store, or in another process; bounded in number and bytes.

It knows ids and an injected clock; not models, calls or sockets.
"""

from __future__ import annotations

import time
from asyncio import Future
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from service.errors import Overloaded, SessionExists, SessionExpired, SessionNotFound
from service.sessions.live import LiveSessions
from service.sessions.session import Cold, Elsewhere, Home, Session, SessionStatistics, Standing

if TYPE_CHECKING:
    from service.sessions.budget import Budget
    from service.sessions.snapshots import Rule

_AT_ONCE = 1_000  # sessions looked at before an opening is refused, at 0.3 µs each


class Sessions(LiveSessions):
    """What is told of an id, wherever its session is; and how many there may be."""

    def __init__(
        self, budget: Budget, *, most: int, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(clock)
        self._most, self._most_bytes, self.budget = most, most_bytes, budget
        self.promises = {"replay": budget.each}  # what clients are told of every session
        self.cold: Cold | None = None  # sessions that are not in memory
        self.elsewhere: Elsewhere | None = None  # sessions that other processes may have

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

    def ids(self, after: str, prefix: str, most: int) -> list[str]:
        """The next ids in order, behind one, that begin so; `pages.sort` was awaited. Some may be opening or ending."""
        if self.recovering and self.elsewhere is None:  # else they move between workers
            raise Overloaded(f"{len(self.recovering)} sessions are being recovered")
        ids = self.pages.after(after, prefix, most)
        return ids if self.cold is None else sorted({*ids, *self.cold.ids(after, prefix, most)})[:most]

    def missing(self, id: str) -> Future[None] | None:
        """What to wait for until it is known whether a session is elsewhere; then ask again. None: it is known.

        Raises:
            StoreUnavailable: it cannot be known now.

        """
        if self.elsewhere is None:
            return None
        if id in self._live and id not in self.recovering and id not in self._opening:
            return None
        return self.elsewhere.fetch(id)

    def owned(self) -> None:
        """Raise StoreUnavailable while others may have the sessions that are here."""
        if self.elsewhere is not None:
            self.elsewhere.owned()

    def find(self, id: str) -> Session | None:
        """The session that holds an id now, an opening or ending one too."""
        if id not in self._live:
            return None if self.cold is None or id in self.recovering else self.cold.load(id)
        return self.in_memory(id)

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


def _recovering(id: str) -> Overloaded:
    return Overloaded(f"session {id!r} is being recovered")
