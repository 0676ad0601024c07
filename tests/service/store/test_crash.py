"""What was answered is there after a crash: state, step, kept answers, and what became of sessions."""

from pathlib import Path

import pytest

from service.errors import SessionExists, SessionExpired, SessionNotFound, StepConflict, VersionNotFound
from service.store.embedded.journal_files import files
from service.store.store import StoreRefusedError
from tests.fakes import FakeClock
from tests.service.engine.serving import TTL, summed
from tests.service.store.serving import INEXACT, OTHER, Begin


@pytest.mark.parametrize("fitness", [None, INEXACT])
@pytest.mark.parametrize("recorded", [False, True])
async def test_sessions_stand_where_they_stood(begin: Begin, fitness: object, recorded: bool) -> None:
    one = await begin(fitness=fitness)
    a, b = one.open("a"), one.open("b")
    await one.step(a, 1, 2, 3)
    await one.step(b, 10)
    if recorded:
        await one.round()
    await one.frame((a, [4], 3), (b, [20, 30], 1))
    await one.crash()
    two = await begin(fitness=fitness)
    a, b = two.sessions.get("a"), two.sessions.get("b")
    assert (a.step, a.ahead, b.step, b.ahead) == (4, 4, 3, 3)
    assert await two.state(a) == (4, 10.0)
    assert await two.state(b) == (3, 60.0)


@pytest.mark.parametrize("fitness", [None, INEXACT])
@pytest.mark.parametrize("recorded", [False, True])
async def test_kept_answers_replay_after_a_crash(begin: Begin, fitness: object, recorded: bool) -> None:
    one = await begin(fitness=fitness)
    a = one.open("a")
    first, second = await one.step(a, 1, 2, 3), await one.step(a, 4)
    if recorded:
        await one.round()
    third = await one.step(a, 5)
    await one.crash()
    two = await begin(fitness=fitness)
    a = two.sessions.get("a")
    assert await two.step(a, 1, 2, 3, step=0) == first
    assert await two.step(a, 4, step=3) == second
    assert await two.step(a, 5, step=4) == third
    assert await two.state(a) == (5, 15.0)
    with pytest.raises(StepConflict):
        await two.step(a, 6, step=4)


async def test_only_as_many_answers_are_kept_as_before(begin: Begin) -> None:
    one = await begin()
    a = one.open("a")
    for value in range(6):
        await one.step(a, value)
    await one.crash()
    two = await begin()
    a = two.sessions.get("a")
    assert [two.kept(a, step, step) for step in range(6)] == [False, False, True, True, True, True]


async def test_steps_that_ride_behind_others_are_there(begin: Begin) -> None:
    for fitness in (None, INEXACT):
        one = await begin(fitness=fitness)
        a = one.open(f"rider-{fitness is None}")
        answers = [one.step(a, value) for value in (1, 2, 3)]
        told = [await answer for answer in answers]
        await one.crash()
        two = await begin(fitness=fitness)
        a = two.sessions.get(a.id)
        assert await two.state(a) == (3, 6.0)
        assert await two.step(a, 2, step=1) == told[1]
        await two.crash()


async def test_a_history_a_fork_and_a_replaced_state_are_there(begin: Begin) -> None:
    one = await begin()
    a = await one.lifecycle.open_warm("a", TTL, summed(1.0)["sum"].repeat(5, axis=0))
    await one.step(a, 7)
    fork = await one.lifecycle.fork(a, "fork")
    await one.step(fork, 100)
    await one.lifecycle.replace(a, 40, summed(400.0))
    await one.step(a, 1)
    await one.crash()
    two = await begin()
    assert await two.state(two.sessions.get("a")) == (41, 401.0)
    assert await two.state(two.sessions.get("fork")) == (7, 112.0)
    assert not two.kept(two.sessions.get("a"), 5, 7)


@pytest.mark.parametrize("recorded", [False, True])
async def test_a_deleted_session_stays_deleted_and_its_id_is_free(begin: Begin, recorded: bool) -> None:
    one = await begin()
    await one.step(one.open("a"), 5)
    if recorded:
        await one.round()
    await one.lifecycle.delete(one.sessions.get("a"))
    await one.crash()
    two = await begin()
    with pytest.raises(SessionNotFound):
        two.sessions.get("a")
    await two.step(two.open("a"), 1)
    await two.crash()
    three = await begin()
    assert await three.state(three.sessions.get("a")) == (1, 1.0)


async def test_an_id_is_taken_after_a_crash(begin: Begin) -> None:
    one = await begin()
    one.open("a")
    await one.crash()
    two = await begin()
    with pytest.raises(SessionExists):
        two.open("a")


async def test_records_make_the_journal_needless(begin: Begin, tmp_path: Path) -> None:
    one = await begin()
    await one.step(one.open("a"), 5)
    assert len(files(tmp_path / "store")) == 1
    await one.round()
    assert files(tmp_path / "store") == []
    await one.end()
    assert files(tmp_path / "store") == []
    two = await begin()
    assert await two.state(two.sessions.get("a")) == (1, 5.0)


async def test_many_crashes_one_after_the_other_lose_nothing(begin: Begin) -> None:
    one = await begin()
    one.open("a")
    for count in range(1, 8):
        await one.step(one.sessions.get("a"), 1)
        if count % 3 == 0:
            await one.round()
        await one.crash()
        one = await begin()
        assert await one.state(one.sessions.get("a")) == (count, float(count))


@pytest.mark.parametrize("recorded", [False, True])
async def test_sessions_wait_for_their_model(begin: Begin, recorded: bool) -> None:
    one = await begin()
    await one.step(one.open("a"), 1, 2)
    if recorded:
        await one.round()
    await one.step(one.sessions.get("a"), 3)
    one.open("unwanted")
    await one.crash()
    for _ in range(2):
        other = await begin(digest=OTHER)
        with pytest.raises(VersionNotFound):
            other.sessions.get("a")
        assert other.sessions.known("a").step == 3
        with pytest.raises(SessionExists):
            other.open("a")
        if _ == 1:
            await other.sessions.known("unwanted").home.lifecycle.delete(other.sessions.known("unwanted"))  # type: ignore[attr-defined]
        await other.round()
        await other.crash()
    two = await begin()
    assert await two.state(two.sessions.get("a")) == (3, 6.0)
    assert two.kept(two.sessions.get("a"), 2, 3)
    with pytest.raises(SessionNotFound):
        two.sessions.get("unwanted")


async def test_a_second_process_is_refused(begin: Begin) -> None:
    one = await begin()
    with pytest.raises(StoreRefusedError, match="another service"):
        await begin()
    await one.end()
    await begin()


async def test_idle_time_is_counted_across_a_restart(begin: Begin, wall: FakeClock) -> None:
    one = await begin()
    one.open("a")
    one.clock.advance(TTL / 2)
    wall.advance(TTL / 2)
    one.open("b")
    await one.crash()
    wall.advance(TTL * 0.6)
    two = await begin()
    with pytest.raises(SessionExpired):
        two.sessions.get("a")
    assert two.sessions.stands(two.sessions.get("b")).left == pytest.approx(TTL * 0.4, abs=1)


async def test_an_expired_session_is_told_as_expired_for_one_ttl_across_restarts(begin: Begin, wall: FakeClock) -> None:
    one = await begin()
    one.open("a")
    one.clock.advance(TTL)
    wall.advance(TTL)
    with pytest.raises(SessionExpired):
        one.sessions.get("a")
    for _ in range(2):
        await one.round()
        await one.crash()
        one = await begin()
        with pytest.raises(SessionExpired):
            one.sessions.get("a")
    await one.crash()
    wall.advance(TTL)
    two = await begin()
    with pytest.raises(SessionNotFound):
        two.sessions.get("a")


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_a_jump_of_the_systems_clock_ends_nobody(begin: Begin, wall: FakeClock, jump: float) -> None:
    one = await begin()
    a = one.open("a")
    await one.round()
    wall.advance(jump)
    await one.step(a, 1)
    await one.crash()
    two = await begin()
    assert two.sessions.stands(two.sessions.get("a")).left == pytest.approx(TTL, abs=1)


async def test_a_clock_that_was_set_back_while_no_process_lived_counts_as_no_time(
    begin: Begin, wall: FakeClock
) -> None:
    one = await begin()
    one.open("a")
    await one.crash()
    wall.advance(-1e6)
    two = await begin()
    assert two.sessions.stands(two.sessions.get("a")).left == pytest.approx(TTL, abs=1)


async def test_a_touch_without_a_step_is_there(begin: Begin, wall: FakeClock) -> None:
    one = await begin()
    a = one.open("a")
    told = await one.step(a, 1)
    one.store._upkeep.note_touched()
    for clock in (one.clock, wall):
        clock.advance(TTL / 2)
    assert await one.step(a, 1, step=0) == told  # a replay
    one.store._upkeep.note_touched()
    await one.crash()
    two = await begin()
    assert two.sessions.stands(two.sessions.get("a")).left == pytest.approx(TTL, abs=1)
