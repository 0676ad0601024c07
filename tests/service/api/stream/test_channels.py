"""The channels of one socket, over an engine that need not run."""

import struct
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from service.api.stream.channels import Channels
from service.errors import ChannelNotFound, InvalidRequest, SessionExpired, SessionNotFound
from service.models.model import Index
from service.sessions.session import Session, Standing
from tests.service.engine.serving import TTL, Serve, Serving


def _no_blame(channel: int) -> None:
    raise AssertionError(f"channel {channel} is blamed")


def row(channels: Channels, channel: int) -> int:
    """The row of the session of one channel."""
    return found(channels, [channel], lambda channel: None).item()


def found(channels: Channels, numbers: Sequence[int], blame: Callable[[int], None] = _no_blame) -> Index:
    """The rows of the sessions of channels, of which few have moved."""
    rows = channels.rows(struct.pack(f"<{len(numbers)}I", *numbers), blame, channels.now())
    assert rows is not None
    return rows[0]


async def test_rows_are_remembered_of_so_many_channels_only_however_long_the_frames(serve: Serve) -> None:
    it = serve(started=False, most=3_000)
    channels = Channels(it.sessions)
    sessions = [it.open(str(index)) for index in range(3_000)]
    numbers = np.array([channels.open(one, created=True) for one in sessions], "<u4")
    for shift in range(60):
        rolled = np.roll(numbers, shift)
        rows = found(channels, rolled.tolist())
        assert rows.tolist() == [sessions[number - 1].row for number in rolled.tolist()]
    assert sum(len(found.rows) for found in channels._found.values()) <= 65_536 + 3_000


async def test_a_session_has_one_channel_and_a_new_number_once_that_is_closed(serve: Serve) -> None:
    it = serve(started=False)
    channels = Channels(it.sessions)
    first, other = it.open("a"), it.open("b")
    assert [channels.open(one) for one in (first, other, first)] == [1, 2, 1]
    channels.close(1)
    assert [channels.open(one) for one in (first, other)] == [3, 2]


async def test_a_session_that_was_made_here_keeps_its_channel_when_it_is_opened_again(serve: Serve) -> None:
    it = serve(started=False)
    channels = Channels(it.sessions)
    first, other = it.open("a"), it.open("b")
    assert [channels.open(one, created=True) for one in (first, other)] == [1, 2]
    assert [channels.open(one) for one in (other, first)] == [2, 1]
    channels.close(1)
    assert [channels.open(one) for one in (other, first, first)] == [2, 3, 3]
    channels.close(2)
    assert channels.find(3) == first
    assert len(channels) == 1
    for gone in (-1, 0, 1, 2, 4, 2**40):
        with pytest.raises(ChannelNotFound):
            channels.find(gone)


async def test_channels_that_were_found_once_are_found_until_one_may_be_idle_for_too_long(serve: Serve) -> None:
    it = serve(started=False)
    channels = Channels(it.sessions)
    idle, busy = it.open("a"), it.open("b")
    both = [channels.open(one) for one in (idle, busy)]
    for _ in range(3):
        assert found(channels, both).tolist() == [idle.row, busy.row]
        it.clock.advance(0.6 * TTL)
        it.sessions.touch(idle)
        it.sessions.touch(busy)
    it.clock.advance(0.6 * TTL)
    it.sessions.touch(busy)
    it.clock.advance(0.6 * TTL)
    blamed: list[int] = []
    with pytest.raises(SessionExpired):
        found(channels, both, blamed.append)
    assert blamed == [1]


async def test_a_channel_that_is_named_twice_is_blamed(serve: Serve) -> None:
    it = serve(started=False)
    channels = Channels(it.sessions)
    channels.open(it.open("a"))
    blamed: list[int] = []
    with pytest.raises(InvalidRequest, match="channel 1 occurs twice"):
        found(channels, [9, 1, 1], blamed.append)
    assert blamed == [1]


async def test_a_session_that_takes_over_the_row_of_another_takes_over_no_channel(serve: Serve) -> None:
    it = serve(started=False)
    channels = Channels(it.sessions)
    gone = it.open("a")
    assert channels.open(gone) == 1
    await it.lifecycle.delete(gone)
    heir = it.open("a")
    assert heir.row == gone.row
    assert channels.open(heir) == 2
    with pytest.raises(SessionNotFound):
        channels.session(1)
    assert channels.session(2) == heir
    channels.close(2)
    channels.close(1)
    assert channels.open(heir) == 3


async def test_a_lone_channel_is_known_until_its_session_is_idle_for_too_long_lost_or_closed(serve: Serve) -> None:
    it = serve(started=False, most=100)
    channels = Channels(it.sessions)
    sessions = [it.open(str(index)) for index in range(70)]
    for session in sessions:
        channels.open(session)
    for _ in range(2):
        assert [row(channels, number) for number in range(1, 71)] == [session.row for session in sessions]
        it.clock.advance(0.6 * TTL)
        for session in sessions[:69]:
            it.sessions.touch(session)
    with pytest.raises(SessionExpired):
        row(channels, 70)
    it.sessions.delete(sessions[68])
    with pytest.raises(SessionNotFound):
        row(channels, 69)
    channels.close(68)
    with pytest.raises(ChannelNotFound):
        row(channels, 68)
    assert row(channels, 67) == sessions[66].row


class Away:
    """Sessions that only a store has; it gives back what is asked for, in a row of the table."""

    count = bytes = 0

    def __init__(self, it: Serving) -> None:
        self._it, self.births = it, dict[str, int]()

    def spill(self, session: Session) -> None:
        """Take a session out of memory."""
        self.births[session.id] = session.birth
        self._it.sessions.spill(session)

    def load(self, id: str) -> Session | None:
        if (birth := self.births.pop(id, None)) is None:
            return None
        engine = self._it.engine
        stands = Standing(id, engine.name, engine.version, 0, TTL, TTL, resident=False, snapshots=None)
        session = self._it.sessions.restore(stands, engine, None, birth)
        self._it.sessions.restored([id])
        return session

    def look(self, id: str) -> Standing | None:
        return None

    def expired(self, id: str) -> bool:
        return False

    def ids(self, after: str, prefix: str, most: int) -> list[str]:
        return []


async def test_sessions_that_have_left_memory_are_brought_back_over_several_turns_each_to_its_channel(
    serve: Serve,
) -> None:
    it = serve(started=False, most=1_000)
    channels = Channels(it.sessions)
    sessions = [it.open(str(index)) for index in range(700)]
    numbers = [channels.open(one, created=True) for one in sessions]
    it.sessions.cold = away = Away(it)
    for session in reversed(sessions[::2]):
        away.spill(session)
    for index in range(50):  # their rows are given to others first
        it.open(f"other {index}")
    frame = struct.pack(f"<{len(numbers)}I", *numbers)
    turns = 1
    while (rows := channels.rows(frame, _no_blame, channels.now())) is None:
        turns += 1
    assert turns > 1
    assert rows[0].tolist() == [it.sessions.get(session.id).row for session in sessions]
    assert len(set(rows[0].tolist())) == 700


async def test_a_session_that_is_being_deleted_is_not_found_among_many(serve: Serve) -> None:
    it = serve(started=False)
    channels = Channels(it.sessions)
    sessions = [it.open(str(index)) for index in range(5)]
    numbers = [channels.open(one, created=True) for one in sessions]
    it.step(sessions[3], 1.0)
    gone = it.lifecycle.delete(sessions[3])
    blamed: list[int] = []
    with pytest.raises(SessionNotFound):
        found(channels, numbers, blamed.append)
    assert blamed == [4]
    it.start()
    await gone
