"""Who is served: the table of sessions, and when they are forgotten. How one stands is in the columns of its row.

It knows ids and an injected clock; not models, calls, sockets or asyncio.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from service.errors import Overloaded, SessionExists, SessionExpired, SessionNotFound, StateMismatch
from service.models.model import Index
from service.replay import Answers, Budget
from service.rows import Rows

if TYPE_CHECKING:
    from asyncio import Future

_ROWS = 2**32  # more than a home has
_BIRTHS = 2**31 - 1  # counted, then from 1 again: they tell sessions of one id apart
_REMEMBERED = 100_000  # expired ids
_AT_THE_DOOR = 1_000  # sessions looked at before an opening is refused: a look takes 0.3 µs, and everybody waits for it


class Home(Protocol):
    """Where a session lives: the engine of its model's version."""

    name: str
    version: str
    rows: Rows
    answers: Answers

    def settle(self) -> None:
        """Decide on what has arrived."""


class Session(NamedTuple):
    """One live sequence. `step` counts the steps applied; `ahead` those applied once all accepted work is done.

    Made whenever somebody asks: an object of each would weigh more than all that is written down of it here.
    """

    id: str
    home: Home
    row: int
    birth: int  # the how-manieth of all: a later one of the same id and row is another

    def __repr__(self) -> str:
        return f"<Session {self.id} of {self.model}/{self.version} at {self.step}, {self.waiting} waiting>"

    @property
    def model(self) -> str:
        """Its name."""
        return self.home.name

    @property
    def version(self) -> str:
        """Of the model."""
        return self.home.version

    @property
    def step(self) -> int:
        """Time steps applied."""
        return int(self.home.rows.step[self.row])

    @property
    def ahead(self) -> int:
        """Time steps applied once all that has arrived is done."""
        self.home.settle()
        return int(self.home.rows.ahead[self.row])

    @property
    def waiting(self) -> int:
        """Calls, forks and the like that are accepted and not done."""
        return int(self.home.rows.waiting[self.row])

    @property
    def ttl(self) -> float:
        """Seconds that it lives if nobody calls."""
        return float(self.home.rows.ttl[self.row])

    @property
    def deadline(self) -> float:
        """When it ends if nobody calls, on the clock."""
        return float(self.home.rows.deadline[self.row])

    def belongs(self, model: str, version: str | None) -> None:
        """Raise StateMismatch unless it is of that model, and of that version if one is named."""
        if (model, version or self.version) != (self.model, self.version):
            raise StateMismatch(f"session {self.id!r} is of {self.model}/{self.version}")


@dataclass(frozen=True)
class SessionStatistics:
    """Counts since the start, and how things stand."""

    live: int
    by_state: dict[str, int]  # opening: its history runs; ending: its delete waits; open: the others
    state_bytes: int
    kept_bytes: int
    opened: int
    deleted: int
    expired: int


class Sessions:
    """All sessions of all models by id: bounded in number and bytes, forgotten after their TTL."""

    def __init__(
        self, budget: Budget, *, most: int, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._most_bytes, self._clock = most, most_bytes, clock
        self.budget = budget
        self._live: dict[str, int] = {}  # id → which of `_homes`, times _ROWS, and the row
        self._homes: list[Home] = []
        self._opening: set[str] = set()  # their history, or the session they are forked from, is not done
        self.ending: dict[str, Future[None]] = {}  # their delete was accepted: nobody finds them any more
        self._expired: OrderedDict[str, float] = OrderedDict()  # id → when even that is forgotten
        self._unswept: list[str] = []
        self._bytes = self._born = self._opened = self._deleted = self._lapsed = 0

    def __repr__(self) -> str:
        return f"<Sessions {len(self._live)} live, {self._bytes} B of state>"

    def get(self, id: str) -> Session:
        """The live session of that id.

        Raises:
            SessionExpired: it was idle beyond its TTL.
            SessionNotFound: it never existed, was deleted, or is not open yet.

        """
        session = self.find(id)
        if session is not None and id not in self._opening and id not in self.ending:
            return session
        if session is None and self._expired.get(id, 0.0) > self._clock():
            raise SessionExpired(f"session {id!r} was idle beyond its TTL")
        raise SessionNotFound(f"no session {id!r}")

    def find(self, id: str) -> Session | None:
        """Whatever holds the id now: an opening or ending session too."""
        place = self._live.get(id)
        if place is None:
            return None
        if self._idle(id, place):
            self._expire(self._made(id, place))
            return None
        return self._made(id, place)

    def now(self) -> float:
        """On the clock."""
        return self._clock()

    def awake(self, home: Home, rows: Index) -> float:
        """Until when the idle clock of none of these sessions can run out."""
        return float(home.rows.deadline[rows].min())

    def create(self, id: str | None, home: Home, ttl: float) -> Session:
        """A new session at step 0 with the zero state, not visible until `opened`.

        Raises:
            SessionExists: the id is taken.
            Overloaded: the table is full, in number or bytes.

        """
        if id is not None and self.find(id) is not None:
            raise SessionExists(f"session {id!r} exists")
        if not self.room(1, home.rows.row_bytes):
            raise Overloaded(f"the session table is full: {len(self._live)} sessions, {self._bytes} bytes")
        if home not in self._homes:
            self._homes.append(home)
        self._born = self._born % _BIRTHS + 1
        session = Session(id or secrets.token_urlsafe(16), home, home.rows.allocate(), self._born)
        home.rows.birth[session.row], home.rows.ttl[session.row] = session.birth, ttl
        self._live[session.id] = self._homes.index(home) * _ROWS + session.row
        self._opening.add(session.id)
        self._bytes += home.rows.row_bytes
        return session

    def opening(self, session: Session) -> bool:
        """Whether it was created and is not opened."""
        return session.id in self._opening

    def room(self, count: int, row_bytes: int) -> bool:
        """Whether `count` more sessions fit; idle ones are looked for before the answer is no."""

        def fits() -> bool:
            return len(self._live) + count <= self._most and self._bytes + count * row_bytes <= self._most_bytes

        if not fits():
            self.sweep(_AT_THE_DOOR)
        return fits()

    def opened(self, session: Session) -> None:
        """Show a new session to everybody and start its idle clock."""
        self._opening.discard(session.id)
        self._expired.pop(session.id, None)
        self._opened += 1
        self.touch(session)

    def touch(self, session: Session) -> None:
        """Restart the idle clock."""
        rows = session.home.rows
        rows.deadline[session.row] = self._clock() + rows.ttl[session.row]

    def seconds_left(self, session: Session) -> float:
        """How long the session lives if nobody calls."""
        return session.deadline - self._clock()

    def delete(self, session: Session) -> None:
        """Forget a session without a trace; its id is unknown from now on."""
        self._deleted += session.id not in self._opening
        self._drop(session)

    def sweep(self, most: int) -> None:
        """Expire idle sessions among the next `most`, going round; `get` is exact without it."""
        for _ in range(min(most, len(self._unswept) + len(self._live))):  # the rest of a round, and a whole one
            self._unswept = self._unswept or list(self._live)
            if not self._unswept:
                return
            id = self._unswept.pop()
            if (place := self._live.get(id)) is not None and self._idle(id, place):
                self._expire(self._made(id, place))

    def statistics(self) -> SessionStatistics:
        """A frozen view."""
        states = {"opening": len(self._opening), "ending": len(self.ending)}
        states["open"] = len(self._live) - sum(states.values())
        return SessionStatistics(
            len(self._live), states, self._bytes, self.budget.bytes, self._opened, self._deleted, self._lapsed
        )

    def _made(self, id: str, place: int) -> Session:
        home, row = self._homes[place // _ROWS], place % _ROWS
        return Session(id, home, row, home.rows.birth.item(row))

    def _idle(self, id: str, place: int) -> bool:
        rows, row = self._homes[place // _ROWS].rows, place % _ROWS
        return rows.deadline.item(row) <= self._clock() and not rows.waiting[row] and id not in self._opening

    def _expire(self, session: Session) -> None:
        self._lapsed += 1
        forgotten = session.deadline + session.ttl
        self._drop(session)
        self._expired[session.id] = forgotten
        while len(self._expired) > _REMEMBERED:
            self._expired.popitem(last=False)

    def _drop(self, session: Session) -> None:
        del self._live[session.id]
        self._opening.discard(session.id)
        self.ending.pop(session.id, None)
        self._bytes -= session.home.rows.row_bytes
        session.home.answers.forget(session.row)
        session.home.rows.losses += 1
        session.home.rows.free(session.row)
