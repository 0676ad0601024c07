"""The channels of one socket: numbers for sessions. Knows sessions and engines; no bytes."""

from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

import numpy as np

from service.api.frames import Blame, numbers
from service.engine import Engine
from service.errors import (
    CarouselError,
    ChannelNotFound,
    InvalidRequest,
    SessionNotFound,
    StateMismatch,
    TooManyChannels,
)
from service.models.model import Index, OnnxModel
from service.sessions import Home, Session, Sessions

_MOST = 65_536  # open at once on one socket
_FOUND, _FOUND_BYTES = 64, 4 * _MOST  # lists of channels whose rows are remembered, and as much as they may be


@dataclass(slots=True, eq=False)
class Served:
    """A version of a model, as the channels of one socket lead to it."""

    engine: Engine
    file: OnnxModel


class Channels:
    """Invariant: a channel is a session that was opened on this socket, and its number is never reused."""

    def __init__(self, sessions: Sessions) -> None:
        self._all = sessions
        self._numbers = array("I")  # ascending, as they are given
        self._ids = list[str]()  # of the session of each number
        self._births = array("I")
        self._known: dict[str, int] | None = None  # id → its newest number, once a session is opened that may have one
        self._served: dict[Home, Served] = {}
        self._last = 0
        # channels → their rows, while none of them is lost, and when the first of them may be idle for too long
        self._found: dict[bytes, tuple[Index, Served, int, float]] = {}
        self._ones: dict[int, tuple[int, Served, int, float]] = {}  # a channel alone, likewise

    def __len__(self) -> int:
        return len(self._numbers)

    def room(self) -> None:
        """Raise TooManyChannels if there is none."""
        if len(self) >= _MOST:
            raise TooManyChannels(f"{_MOST} channels are open on this socket; close some, or open another socket")

    def open(self, session: Session, engine: Engine, file: OnnxModel, *, created: bool = False) -> int:
        """The session's channel on this socket; a new one if it has none, as one that was just `created`."""
        self._served.setdefault(engine, Served(engine, file))
        if not created:
            if self._known is None:
                self._known = dict(zip(self._ids, self._numbers, strict=True))
            known = self._known.get(session.id)
            if known is not None and self._births[self._at(known)] == session.birth:
                return known
        self.room()
        self._last += 1
        self._numbers.append(self._last)
        self._ids.append(session.id)
        self._births.append(session.birth)
        if self._known is not None:
            self._known[session.id] = self._last
        return self._last

    def close(self, channel: int) -> None:
        """Forget a channel."""
        self._found.clear()
        self._ones.clear()
        at = self._at(channel)
        id = self._ids.pop(at)
        del self._numbers[at], self._births[at]
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

    def session(self, channel: int) -> tuple[Session, Served]:
        """The live session of a channel."""
        at = self._at(channel)
        session = self._all.get(self._ids[at])
        if session.birth != self._births[at]:
            raise SessionNotFound(f"session {session.id!r} of channel {channel} is gone; another has its id now")
        return session, self._served[session.home]

    def row(self, channel: int) -> tuple[int, Served]:
        """The row of the live session of a channel."""
        if (found := self._ones.get(channel)) is not None:  # as below
            row, served, losses, awake = found
            if losses == served.engine.rows.losses and self._all.now() < awake:
                return row, served
        session, served = self.session(channel)
        if len(self._ones) == _FOUND:
            self._ones.clear()
        self._ones[channel] = session.row, served, served.engine.rows.losses, session.deadline
        return session.row, served

    def rows(self, channels: bytes, blame: Blame) -> tuple[Index, Served]:
        """The rows of live sessions, [N], of one version of a model.

        Raises:
            InvalidRequest: a channel is named twice.
            ChannelNotFound, SessionNotFound, SessionExpired, StateMismatch: it is not such a channel.

        """
        if (found := self._found.get(channels)) is not None:  # most frames are of the same channels as one before
            rows, served, losses, awake = found
            if losses == served.engine.rows.losses and self._all.now() < awake:
                return rows, served
        rows, served = self._looked_up(numbers(channels), blame)
        if len(self._found) == _FOUND or sum(map(len, self._found)) > _FOUND_BYTES:
            self._found.clear()
        self._found[channels] = rows, served, served.engine.rows.losses, self._all.awake(served.engine, rows)
        return rows, served

    def _at(self, channel: int) -> int:
        """Where a channel stands."""
        at = bisect_left(self._numbers, channel)
        if at == len(self._numbers) or self._numbers[at] != channel:
            raise ChannelNotFound(f"no channel {channel} on this socket")
        return at

    def _looked_up(self, channels: list[int], blame: Blame) -> tuple[Index, Served]:
        if len(set(channels)) < len(channels):
            twice = min(channel for channel, count in Counter(channels).items() if count > 1)
            blame(twice)
            raise InvalidRequest(f"frame: channel {twice} occurs twice")
        rows = np.empty(len(channels), np.int64)
        served: Served | None = None
        try:
            for index, channel in enumerate(channels):
                session, own = self.session(channel)
                served = served or own
                if own is not served:
                    raise StateMismatch("the channels of a frame belong to one version of one model")
                rows[index] = session.row
        except CarouselError:
            blame(channel)
            raise
        assert served is not None, "a frame has a channel"
        return rows, served
