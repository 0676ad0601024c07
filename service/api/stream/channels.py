"""The channels of one socket: numbers that stand for sessions. Knows sessions and their engines; no bytes."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from service.api.stream.frames import U4, Blame
from service.errors import (
    CarouselError,
    ChannelNotFound,
    InvalidRequest,
    SessionNotFound,
    StateMismatch,
    TooManyChannels,
)
from service.sessions.table import ZERO

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import Index
    from service.sessions.session import Session
    from service.sessions.sessions import Sessions

MOST = 65_536  # open at once on one socket
_LISTS = 4096  # lists of channels whose rows are remembered, of MOST channels together
_AT_ONCE = 200  # sessions that are looked up by their ids before others are served: 10 ms if a store has to be read


class _Found(NamedTuple):
    """Rows of live sessions of one engine. They hold while no session of it ends, and none of them may have expired."""

    rows: Index  # [N]
    engine: Engine
    generation: int  # of the engine's table
    until: float  # on the clock of the sessions
    place: tuple[Engine, int]  # the first row


class Channels:
    """Invariant: a channel is a session that was opened on this socket, and its number is never reused."""

    def __init__(self, sessions: Sessions) -> None:
        self._all = sessions
        self._numbers = array("I")  # ascending, as they are given
        self._ids = list[str]()  # of the session of each number
        self._births = array("q")
        self._rows, self._engine_of = array("q"), array("q")  # where it was when it was last looked up
        self._engines: list[Engine] = []  # by the numbers in `_engine_of`
        self._known: dict[str, int] | None = None  # id → its newest number, once a session is opened that may have one
        self._last = 0
        self._found: dict[bytes, _Found] = {}  # by channels as they stand in a frame
        self._size = 0  # bytes of these

    def __len__(self) -> int:
        return len(self._numbers)

    def now(self) -> float:
        """The time on the clock of the sessions."""
        return self._all.now()

    def check_room(self) -> None:
        """Raise TooManyChannels if there is room for no more."""
        if len(self) >= MOST:
            raise TooManyChannels(f"{MOST} channels are open on this socket; close some, or open another socket")

    def open(self, session: Session, *, created: bool = False) -> int:
        """The session's channel on this socket; a new one if it has none, as one that was just `created`."""
        if not created:
            if self._known is None:
                self._known = dict(zip(self._ids, self._numbers, strict=True))
            known = self._known.get(session.id)
            if known is not None and self._births[self._at(known)] == session.birth:
                return known
        self.check_room()
        self._last += 1
        self._numbers.append(self._last)
        self._ids.append(session.id)
        self._births.append(session.birth)
        self._rows.append(session.row)
        self._engine_of.append(self._engine(session))
        if self._known is not None:
            self._known[session.id] = self._last
        return self._last

    def close(self, channel: int) -> None:
        """Forget a channel."""
        self._forget()
        at = self._at(channel)
        id = self._ids.pop(at)
        del self._numbers[at], self._births[at], self._rows[at], self._engine_of[at]
        if self._known is not None and self._known.get(id) == channel:
            del self._known[id]

    def find(self, channel: int) -> Session | None:
        """The session of a channel, an ending one too; None if it is gone.

        Raises:
            ChannelNotFound: it is not open here.

        """
        at = self._at(channel)
        session = self._all.find(self._ids[at])
        return session if session is not None and session.birth == self._births[at] else None

    def session(self, channel: int) -> Session:
        """The live session of a channel.

        Raises:
            ChannelNotFound, SessionNotFound, SessionExpired: there is none.

        """
        at = self._at(channel)
        session = self._all.get(self._ids[at])
        if session.birth != self._births[at]:
            raise SessionNotFound(f"session {session.id!r} of channel {channel} is gone; another has its id now")
        return session

    def waits(self, channels: Iterable[int]) -> Callable[[], Awaitable[object]] | None:
        """What has to be waited for until it is known whether sessions of channels are elsewhere."""
        if self._all.elsewhere is None:
            return None
        open_here = [at for one in channels if (at := self._place(one)) is not None]
        looking = [one for at in open_here if (one := self._all.missing(self._ids[at])) is not None]
        return (lambda: asyncio.wait(looking)) if looking else None

    def rows(self, channels: bytes, blame: Blame, now: float) -> tuple[Index, Engine] | None:
        """Rows [N] and the engine of the live sessions of channels, as they stand in a frame.

        None: some were looked up, and others wait for the next turn of the loop; then ask again.

        Raises:
            InvalidRequest: a channel is named twice.
            ChannelNotFound, SessionNotFound, SessionExpired, StateMismatch: it is not a channel of that engine.

        """
        found = self._found.get(channels)  # most frames are of the same channels as one before
        if found is None or found.generation != found.engine.table.generation or now >= found.until:
            found = self._look_up(np.frombuffer(channels, U4), blame, now)
            if found is None:
                return None
            self._remember(channels, found)
        return found.rows, found.engine

    def place(self, channel: bytes, now: float) -> tuple[Engine, int] | None:
        """The engine and the row of the live session of one channel. None: ask `rows`, which tells why."""
        found = self._found.get(channel)
        if found is None or found.generation != found.engine.table.generation or now >= found.until:
            try:
                self.rows(channel, _ignore, now)
            except CarouselError:
                return None
            found = self._found[channel]
        return found.place

    def _remember(self, channels: bytes, found: _Found) -> None:
        self._size += len(channels)
        if len(self._found) >= _LISTS or self._size > 4 * MOST:
            self._forget()
            self._size = len(channels)
        self._found[channels] = found

    def _forget(self) -> None:
        self._found.clear()
        self._size = 0

    def _at(self, channel: int) -> int:
        """Where a channel stands."""
        at = self._place(channel)
        if at is None:
            raise ChannelNotFound(f"no channel {channel} on this socket")
        return at

    def _place(self, channel: int) -> int | None:
        at = bisect_left(self._numbers, channel)
        return at if at < len(self._numbers) and self._numbers[at] == channel else None

    def _look_up(self, channels: NDArray[np.uint32], blame: Blame, now: float) -> _Found | None:
        """Find channels [N] where their sessions were before, all at once; by their ids those that are not there."""
        if len(channels) == 1:
            engine, row = self._find(channels.item(), blame)
            return self._found_at(engine, np.array([row]))
        ordered = np.sort(channels)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            blame(twice.item(0))
            raise InvalidRequest(f"frame: channel {twice.item(0)} occurs twice")
        engine, _ = self._find(channels.item(0), blame)
        table = engine.table
        at = np.searchsorted(self._column(self._numbers), channels)
        at[at == len(self)] = 0
        rows = self._column(self._rows)[at]
        rows[self._column(self._engine_of)[at] != self._engines.index(engine)] = ZERO
        there = (self._column(self._numbers)[at] == channels) & (table.birth[rows] == self._column(self._births)[at])
        there &= table.deadline[rows] > now
        for index in self._hidden(at):
            there[index] = False
        for count, index in enumerate(np.flatnonzero(~there).tolist()):
            if count == _AT_ONCE:
                return None
            home, rows[index] = self._find(channels.item(index), blame)
            if home is not engine:
                blame(channels.item(index))
                raise StateMismatch("the channels of a frame belong to one version of one model")
        return self._found_at(engine, rows)

    def _found_at(self, engine: Engine, rows: Index) -> _Found:
        until = self._all.awake_until(engine, rows)
        return _Found(rows, engine, engine.table.generation, until, (engine, rows.item(0)))

    def _find(self, channel: int, blame: Blame) -> tuple[Engine, int]:
        """The engine and the row of the live session of a channel, which are known from now on."""
        try:
            session = self.session(channel)
        except CarouselError:
            blame(channel)
            raise
        at = self._at(channel)
        self._rows[at], self._engine_of[at] = session.row, self._engine(session)
        return cast("Engine", session.home), session.row

    def _hidden(self, at: Index) -> list[int]:
        """Which of these channels have sessions that have their rows and are not to be found."""
        ending, recovering = self._all.ending, self._all.recovering
        if not (ending or recovering):
            return []
        ids = [self._ids[one] for one in at.tolist()]
        return [index for index, id in enumerate(ids) if id in ending or id in recovering]

    def _engine(self, session: Session) -> int:
        """The number of the engine of a session."""
        engine = cast("Engine", session.home)
        if engine not in self._engines:
            self._engines.append(engine)
        return self._engines.index(engine)

    @staticmethod
    def _column(numbers: array[int]) -> NDArray[Any]:
        """An array as NumPy sees it, not to be kept: it cannot grow meanwhile."""
        return np.frombuffer(numbers, numbers.typecode)


def _ignore(channel: int) -> None:
    """Blame nothing."""
