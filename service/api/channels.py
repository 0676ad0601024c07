"""The channels of one socket: numbers for sessions. Knows sessions and engines; no bytes."""

from dataclasses import dataclass

import numpy as np

from service.api.frames import Blame
from service.engine import Engine
from service.errors import CarouselError, ChannelNotFound, SessionNotFound, StateMismatch, TooManyChannels
from service.model import OnnxModel
from service.rows import Index
from service.sessions import Home, Session, Sessions

_MOST = 65_536  # open at once on one socket
_FOUND, _FOUND_BYTES = 64, 8 * _MOST  # lists of channels whose rows are remembered, and as much as they may be


@dataclass(slots=True, eq=False)
class Served:
    """A version of a model, as the channels of one socket lead to it."""

    engine: Engine
    file: OnnxModel


class Channels:
    """Invariant: a channel is a session that was opened on this socket, and its number is never reused."""

    def __init__(self, sessions: Sessions) -> None:
        self._all = sessions
        self._sessions: dict[int, Session] = {}
        self._numbers: dict[Session, int] = {}  # the other way round
        self._served: dict[Home, Served] = {}
        self._last = 0
        self._found: dict[bytes, tuple[Index, Served, int]] = {}  # channels → their rows, while none of them is lost

    def __len__(self) -> int:
        return len(self._sessions)

    def room(self) -> None:
        """Raise TooManyChannels if there is none."""
        if len(self) >= _MOST:
            raise TooManyChannels(f"{_MOST} channels are open on this socket; close some, or open another socket")

    def open(self, session: Session, engine: Engine, file: OnnxModel) -> int:
        """The session's channel on this socket; a new one if it has none."""
        self._served.setdefault(engine, Served(engine, file))
        if session not in self._numbers:
            self.room()
            self._last += 1
            self._sessions[self._last], self._numbers[session] = session, self._last
        return self._numbers[session]

    def close(self, channel: int) -> None:
        """Forget a channel."""
        self._found.clear()
        del self._numbers[self._sessions.pop(channel)]

    def peek(self, channel: int) -> Session:
        """The session of a channel, live or not.

        Raises:
            ChannelNotFound: it is not open here.

        """
        session = self._sessions.get(channel)
        if session is None:
            raise ChannelNotFound(f"no channel {channel} on this socket")
        return session

    def session(self, channel: int) -> tuple[Session, Served]:
        """The live session of a channel."""
        session = self.peek(channel)
        if self._all.get(session.id) is not session:
            raise SessionNotFound(f"session {session.id!r} of channel {channel} is gone; another has its id now")
        return session, self._served[session.home]

    def rows(self, channels: Index, blame: Blame) -> tuple[Index, Served]:
        """The rows of live sessions, [N], of one version of a model.

        Raises:
            ChannelNotFound, SessionNotFound, SessionExpired, StateMismatch: it is not such a channel.

        """
        key = channels.tobytes()  # most frames are of the same channels as one before
        if (found := self._found.get(key)) is not None:
            rows, served, losses = found
            if losses == served.engine.rows.losses and self._all.awake(served.engine, rows):
                return rows, served
        rows, served = self._looked_up(channels.tolist(), blame)
        if len(self._found) == _FOUND or sum(map(len, self._found)) > _FOUND_BYTES:
            self._found.clear()
        self._found[key] = rows, served, served.engine.rows.losses
        return rows, served

    def _looked_up(self, channels: list[int], blame: Blame) -> tuple[Index, Served]:
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
