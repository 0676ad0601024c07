"""Who is served: the table of sessions, the order of calls on each, and when they are forgotten.

It knows ids, steps and an injected clock; not models, sockets or asyncio.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.errors import Overloaded, SessionExists, SessionExpired, SessionNotFound, StateMismatch, StepConflict
from service.replay import Kept, Replays
from service.rows import Rows
from service.work import Turn, Work

if TYPE_CHECKING:
    from asyncio import Future

_REMEMBERED = 100_000  # expired ids
_AT_THE_DOOR = 1_000  # sessions looked at before an opening is refused: a look takes 0.3 µs, and everybody waits for it


class Session:
    """One live sequence. `step` counts the steps applied; `ahead` those applied once all accepted work is done.

    Invariant: `pending[0]` alone is scheduled or runs; what follows waits for it, in arrival order.
    """

    __slots__ = (
        *("id", "model", "version", "rows", "row", "ttl", "deadline"),
        *("step", "ahead", "pending", "kept", "opening", "ending"),
    )

    def __init__(self, id: str, model: str, version: str, rows: Rows, ttl: float) -> None:
        self.id, self.model, self.version = id, model, version
        self.rows, self.row = rows, rows.allocate()
        self.ttl, self.deadline = ttl, 0.0
        self.step = self.ahead = 0
        self.pending: list[Work | Turn] = []
        self.kept: list[Kept] = []
        self.opening = True  # its history, or the session it is forked from, is not done: nobody else sees it
        self.ending: Future[Any] | None = None  # a delete was accepted

    def __repr__(self) -> str:
        return f"<Session {self.id} of {self.model}/{self.version} at {self.step}, {len(self.pending)} pending>"

    def repeated(self, step: int | None, steps: int, digest: bytes) -> Work | Kept | None:
        """The waiting or kept call that a call at `step` with these inputs repeats; None if it is new and next.

        Raises:
            StepConflict: it is neither.

        """
        if step is None or step == self.ahead:
            return None
        for one in reversed([*self.kept, *self.pending]):
            if isinstance(one, Turn):
                if one.step_after is not None:
                    break  # what came before a replaced state is no call of this one
            elif (one.start, one.steps, one.digest) == (step, steps, digest):
                return one
        raise StepConflict(step, self.ahead)

    def belongs(self, model: str, version: str | None) -> None:
        """Raise StateMismatch unless it is of that model, and of that version if one is named."""
        if (model, version or self.version) != (self.model, self.version):
            raise StateMismatch(f"session {self.id!r} is of {self.model}/{self.version}")

    def push(self, item: Work | Turn) -> bool:
        """Accept an item behind all others; True if it is the head, to be started now."""
        self.pending.append(item)
        if isinstance(item, Work):
            item.start = self.ahead
            self.ahead += item.steps
        elif item.step_after is not None:
            self.ahead = item.step_after
        return len(self.pending) == 1

    def renumber(self) -> list[tuple[Work, int]]:
        """After a call ended unapplied: number what waits anew; the works that named another step, and the next one."""
        fallen: list[tuple[Work, int]] = []
        self.ahead = self.step
        for item in self.pending:
            if isinstance(item, Turn):
                self.ahead = self.ahead if item.step_after is None else item.step_after
            elif item.checked and item.start != self.ahead:
                fallen.append((item, self.ahead))
            else:
                item.start = self.ahead
                self.ahead += item.steps
        if fallen:
            gone = {work for work, _ in fallen}
            self.pending = [item for item in self.pending if item not in gone]
        return fallen


@dataclass(frozen=True)
class SessionStatistics:
    """Counts since the start, and how things stand."""

    live: int
    state_bytes: int
    kept_bytes: int
    opened: int
    deleted: int
    expired: int


class Sessions:
    """All sessions of all models by id: bounded in number and bytes, forgotten after their TTL."""

    def __init__(
        self, replays: Replays, *, most: int, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._most_bytes, self._clock = most, most_bytes, clock
        self.replays = replays
        self._live: dict[str, Session] = {}
        self._expired: OrderedDict[str, float] = OrderedDict()  # id → when even that is forgotten
        self._unswept: list[Session] = []
        self._bytes = self._opened = self._deleted = self._lapsed = 0

    def __repr__(self) -> str:
        return f"<Sessions {len(self._live)} live, {self._bytes} B of state>"

    def get(self, id: str) -> Session:
        """The live session of that id.

        Raises:
            SessionExpired: it was idle beyond its TTL.
            SessionNotFound: it never existed, was deleted, or is not open yet.

        """
        session = self.find(id)
        if session is not None and not session.opening and session.ending is None:
            return session
        if session is None and self._expired.get(id, 0.0) > self._clock():
            raise SessionExpired(f"session {id!r} was idle beyond its TTL")
        raise SessionNotFound(f"no session {id!r}")

    def find(self, id: str) -> Session | None:
        """Whatever holds the id now: an opening or ending session too."""
        session = self._live.get(id)
        if session is not None and self._idle(session):
            self._expire(session)
            return None
        return session

    def create(self, id: str | None, model: str, version: str, rows: Rows, ttl: float) -> Session:
        """A new session at step 0 with the zero state, not visible until `opened`.

        Raises:
            SessionExists: the id is taken.
            Overloaded: the table is full, in number or bytes.

        """
        if id is not None and self.find(id) is not None:
            raise SessionExists(f"session {id!r} exists")
        if not self.room(1, rows.row_bytes):
            raise Overloaded(f"the session table is full: {len(self._live)} sessions, {self._bytes} bytes")
        session = Session(id or secrets.token_urlsafe(16), model, version, rows, ttl)
        self._live[session.id] = session
        self._bytes += rows.row_bytes
        return session

    def room(self, count: int, row_bytes: int) -> bool:
        """Whether `count` more sessions fit; idle ones are looked for before the answer is no."""

        def fits() -> bool:
            return len(self._live) + count <= self._most and self._bytes + count * row_bytes <= self._most_bytes

        if not fits():
            self.sweep(_AT_THE_DOOR)
        return fits()

    def opened(self, session: Session) -> None:
        """Show a new session to everybody and start its idle clock."""
        session.opening = False
        self._expired.pop(session.id, None)
        self._opened += 1
        self.touch(session)

    def touch(self, session: Session) -> None:
        """Restart the idle clock."""
        session.deadline = self._clock() + session.ttl

    def seconds_left(self, session: Session) -> float:
        """How long the session lives if nobody calls."""
        return session.deadline - self._clock()

    def delete(self, session: Session) -> None:
        """Forget a session without a trace; its id is unknown from now on."""
        self._deleted += not session.opening
        self._drop(session)

    def sweep(self, most: int) -> None:
        """Expire idle sessions among the next `most`, going round; `get` is exact without it."""
        for _ in range(min(most, len(self._unswept) + len(self._live))):  # the rest of a round, and a whole one
            self._unswept = self._unswept or list(self._live.values())
            if not self._unswept:
                return
            session = self._unswept.pop()
            if self._live.get(session.id) is session and self._idle(session):
                self._expire(session)

    def statistics(self) -> SessionStatistics:
        """A frozen view."""
        return SessionStatistics(
            len(self._live), self._bytes, self.replays.bytes, self._opened, self._deleted, self._lapsed
        )

    def _idle(self, session: Session) -> bool:
        return not session.opening and not session.pending and session.deadline <= self._clock()

    def _expire(self, session: Session) -> None:
        self._lapsed += 1
        self._drop(session)
        self._expired[session.id] = session.deadline + session.ttl
        while len(self._expired) > _REMEMBERED:
            self._expired.popitem(last=False)

    def _drop(self, session: Session) -> None:
        del self._live[session.id]
        self._bytes -= session.rows.row_bytes
        self.replays.forget(session)
        session.rows.free(session.row)
