"""The channels of one socket: numbers for sessions, as arrays, so that a frame of many is looked up at once."""

from dataclasses import dataclass

import numpy as np

from service.api.frames import Blame
from service.engine import Engine
from service.errors import ChannelNotFound, SessionNotFound, StateMismatch, TooManyChannels
from service.model import OnnxModel
from service.rows import ZERO, Index
from service.sessions import Session, Sessions

_MOST = 65_536  # open at once on one socket
_FOUND = 64  # lists of channels whose rows are remembered


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A version of a model, as channels lead to it."""

    engine: Engine
    file: OnnxModel


class Channels:
    """Invariant: a channel is a session that was opened on this socket, and its number is never reused."""

    def __init__(self, sessions: Sessions) -> None:
        self._all = sessions
        self._numbers: dict[Session, int] = {}
        self._sessions: dict[int, Session] = {}
        self._served: list[Served] = []
        self._row = np.full(64, ZERO, np.int64)  # of each channel; ZERO: not open
        self._generation = np.zeros(64, np.int64)  # of the row, when it was looked up
        self._model = np.zeros(64, np.int64)  # index in served
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
        if session not in self._numbers:
            self.room()
            self._last += 1
            if self._last == len(self._row):
                self._row, self._generation, self._model = (
                    np.concatenate([column, np.zeros_like(column)])
                    for column in (self._row, self._generation, self._model)
                )
            self._numbers[session], self._sessions[self._last] = self._last, session
            self._row[self._last] = session.row
            self._generation[self._last] = engine.rows.generation[session.row]
            self._model[self._last] = self._index(engine, file)
        return self._numbers[session]

    def close(self, channel: int) -> None:
        """Forget a channel."""
        self._found.clear()
        del self._numbers[self._sessions.pop(channel)]
        self._row[channel] = ZERO

    def peek(self, channel: int) -> Session:
        """The session of a channel, live or not.

        Raises:
            ChannelNotFound: it is not open here.

        """
        if channel not in self._sessions:
            raise ChannelNotFound(f"no channel {channel} on this socket")
        return self._sessions[channel]

    def session(self, channel: int) -> tuple[Session, Served]:
        """The live session of a channel."""
        session = self.peek(channel)
        if self._all.get(session.id) is not session:
            raise SessionNotFound(f"session {session.id!r} of channel {channel} is gone; another has its id now")
        return session, self._served[int(self._model[channel])]

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
        rows, served = self._looked_up(channels, blame)
        if len(self._found) == _FOUND:
            self._found.clear()
        self._found[key] = rows, served, served.engine.rows.losses
        return rows, served

    def _looked_up(self, channels: Index, blame: Blame) -> tuple[Index, Served]:
        known = (channels > 0) & (channels <= self._last)
        known &= self._row[np.where(known, channels, 0)] != ZERO
        if not known.all():
            blame(int(channels[~known][0]))
            self.peek(int(channels[~known][0]))
        models = self._model[channels]
        served = self._served[int(models[0])]
        if (models != models[0]).any():
            blame(int(channels[models != models[0]][0]))
            raise StateMismatch("the channels of a frame belong to one version of one model")
        rows = self._row[channels]
        live = self._all.live(served.engine, rows, self._generation[channels])
        for channel in () if live.all() else channels[~live].tolist():
            blame(channel)
            session, _ = self.session(channel)
            self._generation[channel] = served.engine.rows.generation[session.row]
        return rows, served

    def _index(self, engine: Engine, file: OnnxModel) -> int:
        for index, served in enumerate(self._served):
            if served.engine is engine:
                return index
        self._served.append(Served(engine, file))
        return len(self._served) - 1
