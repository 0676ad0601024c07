"""One session, and where sessions live: how it stands is in the columns of its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from service.errors import StateMismatch

if TYPE_CHECKING:
    from asyncio import Future

    from service.errors import CarouselError
    from service.sessions.replay import Answers
    from service.sessions.snapshots import Rewinds
    from service.sessions.table import Table


class Home(Protocol):
    """Where sessions live: the engine of their model's version."""

    name: str
    version: str
    table: Table
    answers: Answers
    rewinds: Rewinds
    refusal: CarouselError | None  # why its sessions cannot be called: its model is not there


class Session(NamedTuple):
    """One live sequence. It is made when it is asked for: an object of each would weigh more than its columns."""

    id: str
    home: Home
    row: int
    birth: int  # tells sessions of one id and row apart

    def __repr__(self) -> str:
        return f"<Session {self.id} of {self.model}/{self.version} at {self.step}>"

    @property
    def model(self) -> str:
        """Name of its model."""
        return self.home.name

    @property
    def version(self) -> str:
        """Version of its model."""
        return self.home.version

    @property
    def step(self) -> int:
        """Time steps applied."""
        return self.home.table.step.item(self.row)

    @property
    def ahead(self) -> int:
        """Time steps applied once all accepted calls are done."""
        return self.home.table.ahead.item(self.row)

    @property
    def waiting(self) -> int:
        """Calls and operations accepted and not told."""
        return self.home.table.waiting.item(self.row)

    @property
    def ttl(self) -> float:
        """Seconds that it lives without a call."""
        return self.home.table.ttl.item(self.row)

    @property
    def deadline(self) -> float:
        """When it expires without a call, on the clock."""
        return self.home.table.deadline.item(self.row)

    @property
    def size(self) -> int:
        """Bytes of its state and of the snapshots that it may keep."""
        rule = self.home.rewinds.rule(self.row)
        return self.home.table.row_bytes * (1 + (rule.keep if rule else 0))

    def stands(self, now: float) -> Standing:
        """What is told of it at a time on the clock of deadlines."""
        kept, rewinds = None, self.home.rewinds
        if rewinds.rule(self.row):
            kept = [one.step for one in rewinds.of(self.row)]
        told = self.id, self.model, self.version, self.step, self.ttl, self.deadline - now
        return Standing(*told, resident=True, snapshots=kept)

    def belongs(self, model: str, version: str | None) -> None:
        """Raise StateMismatch unless it is of that model, and of that version if one is named."""
        if (model, version or self.version) != (self.model, self.version):
            raise StateMismatch(f"session {self.id!r} is of {self.model}/{self.version}")


class Elsewhere(Protocol):
    """Sessions in a store that several processes share."""

    count: int  # of those that are not in memory here, a moment ago
    bytes: int  # of their states and snapshots

    def owned(self) -> None:
        """Raise StoreUnavailable while others may have the sessions that are here."""

    def fetch(self, id: str) -> Future[None] | None:
        """What to wait for until it is known whether a session can be had; then ask again. None: it is known."""

    async def ids(self, after: str, prefix: str, most: int) -> list[str]:
        """The next ids of all sessions in order, behind one, that begin so."""

    async def standing(self, id: str) -> Standing | None:
        """How a session stands, wherever it is; it stays there. None, or SessionNotFound: it is nowhere."""


class Cold(Protocol):
    """Sessions that only a store has."""

    count: int
    bytes: int  # of their states and snapshots

    def load(self, id: str) -> Session | None:
        """Bring a session into memory. Raises Overloaded: it is being recovered."""

    def look(self, id: str) -> Standing | None:
        """How a session stands. Raises as `load`."""

    def expired(self, id: str) -> bool:
        """Whether an id is told as expired."""

    def ids(self, after: str, prefix: str, most: int) -> list[str]:
        """The next ids in order, behind one, that begin so; some may have ended."""


class Standing(NamedTuple):
    """What a client is told of a session, in memory or not."""

    id: str
    model: str
    version: str
    step: int
    ttl: float  # seconds
    left: float  # seconds that it lives without a call
    resident: bool  # it is in memory
    snapshots: list[int] | None  # steps of those that are kept; None: it takes none


@dataclass(frozen=True)
class SessionStatistics:
    """Counts since the start, and sessions and bytes now."""

    live: int
    by_state: dict[str, int]  # opening, ending (a delete waits), open, spilled or elsewhere
    state_bytes: int
    kept_bytes: int
    opened: int
    deleted: int
    expired: int
