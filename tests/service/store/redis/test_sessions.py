"""Sessions of several processes over one store: they come where they are called, as they stood."""

import asyncio
from typing import cast

import numpy as np
import pytest
import redis

from service.engine.engine import Engine
from service.errors import (
    SessionExists,
    SessionExpired,
    SessionNotFound,
    StepConflict,
    StoreUnavailable,
    VersionNotFound,
)
from service.sessions import anywhere
from service.sessions.snapshots import Rule
from service.store.redis.records import key_of
from tests.fakes import FakeClock, column
from tests.service.engine.serving import summed
from tests.service.store.redis.serving import Begin


async def test_a_session_outlives_a_process_that_was_killed(begin: Begin) -> None:
    one = await begin()
    session = await one.opened("s")
    await one.step(session, 1, step=0)
    await one.step(session, 2, 3, step=1)
    await one.crash()
    other = await begin()
    session = await other.get("s")
    assert await other.state(session) == (3, 6.0)
    assert (await other.step(session, 2, 3, step=1)).sums == [3.0, 6.0]
    assert (await other.step(session, 4, step=3)).sums == [10.0]


async def test_a_clean_end_gives_all_sessions_up_at_once(begin: Begin, client: "redis.Redis") -> None:
    one = await begin()
    for id in "abc":
        await one.step(await one.opened(id), 1)
    await one.end()
    assert client.hlen(one.owner().owners) == 0
    other = await begin()
    assert [await other.state(await other.get(id)) for id in "abc"] == [(1, 1.0)] * 3


async def test_two_processes_that_want_one_session_in_turn_make_progress(begin: Begin) -> None:
    one, other = await begin(), await begin()
    await one.opened("s")
    for step in range(12):
        process = (one, other)[step % 2]
        answer = await process.step(await process.get("s"), 1, step=step)
        assert answer.sums == [step + 1]


async def test_a_session_is_given_up_after_what_it_accepted(begin: Begin) -> None:
    one, other = await begin(), await begin()
    session = await one.opened("s")
    one.model.hold()
    steps = [one.step(session, 1, step=0), one.step(session, 2, step=1)]
    coming = asyncio.ensure_future(other.get("s"))
    await asyncio.sleep(0)
    one.model.release()
    assert [(await step).sums for step in steps] == [[1.0], [3.0]]
    assert await other.state(await coming) == (2, 3.0)
    with pytest.raises(SessionNotFound):
        one.sessions.get("s")


async def test_a_retry_elsewhere_gets_the_same_answer(begin: Begin) -> None:
    one, other = await begin(), await begin()
    session = await one.opened("s")
    await one.step(session, 5, step=0)
    assert (await other.step(await other.get("s"), 5, step=0)).sums == [5.0]


async def test_calls_of_one_tick_are_stored_each_as_its_own(begin: Begin) -> None:
    one = await begin()
    sessions = [await one.opened(f"s{index}") for index in range(24)]
    one.model.hold()
    calls = [one.step(session, index, step=0) for index, session in enumerate(sessions)]  # run while one is held
    calls += [one.step(session, 100, step=1) for session in sessions[::2]]  # some behind the first of them
    calls += [one.step(session, 1, 2, 3, step=1) for session in sessions[1::2]]
    one.model.release()
    await asyncio.gather(*calls)
    await one.crash()
    other = await begin()
    for index in range(24):
        session = await other.get(f"s{index}")
        assert await other.state(session) == ((4, index + 6.0) if index % 2 else (2, index + 100.0))
        assert (await other.step(session, index, step=0)).sums == [index]
        assert (await other.step(session, *((1, 2, 3) if index % 2 else (100,)), step=1)).sums[0] == index + (
            1 if index % 2 else 100
        )


async def test_a_process_without_a_lease_tells_nothing(begin: Begin) -> None:
    one = await begin()
    session = await one.opened("s")
    one.clock.advance(10)
    with pytest.raises(StoreUnavailable):
        one.sessions.get("s")
    with pytest.raises(StoreUnavailable):
        one.step(session, 1)
    with pytest.raises(StoreUnavailable):
        one.lifecycle.open_warm("warm", 60.0, column(1.0))
    assert one.sessions.find("warm") is None


async def test_an_owner_whose_lease_was_over_is_fenced_and_writes_no_more(begin: Begin, client: "redis.Redis") -> None:
    one, other = await begin(), await begin()
    session = await one.opened("s")
    await one.step(session, 1, step=0)
    one.store._tasks[0].cancel()  # it renews no more, as if it was stopped
    client.delete(one.owner().lease + one.owner().name)
    assert (await other.step(await other.get("s"), 2, step=1)).sums == [3.0]
    with pytest.raises(StepConflict):
        await one.step(session, 100, step=1)
    assert await other.state(await other.get("s")) == (2, 3.0)


async def test_a_fenced_process_goes_on_under_another_name(begin: Begin, client: "redis.Redis") -> None:
    one = await begin()
    session, name = await one.opened("s"), one.owner().name
    await one.step(session, 1)
    client.hdel(one.owner().owners, name)
    while one.owner().name == name:  # noqa: ASYNC110  # it renews five times in a lease
        await asyncio.sleep(0.01)
    assert (await one.step(await one.get("s"), 2, step=1)).sums == [3.0]


async def test_calls_that_conflict_run_once_more_on_the_session_as_it_is_then(
    begin: Begin, client: "redis.Redis"
) -> None:
    one, other = await begin(), await begin()
    session = await one.opened("s")
    await one.step(session, 10, step=0)
    for step in range(1, 19, 6):
        session = await one.get("s")
        fence = client.hget(key_of("s"), "fence")
        client.hset(key_of("s"), "fence", bytes(16) + fence[16:])  # type: ignore[operator]  # as if it had left
        applied = (await other.step(await other.get("s"), 1, step=step)).sums
        calls = [one.step(session, 1, step=step), one.step(session, 2), one.step(session, 3, step=step + 2)]
        ended = [answer.sums for answer in await asyncio.gather(*calls, one.step(session, 1, step=step))]
        assert ended == [applied, [applied[0] + 2], [applied[0] + 5], applied]
        assert (await other.step(await other.get("s"), 1, 1, 1, step=step + 3)).sums[-1] == applied[0] + 8


async def test_a_session_that_is_lost_while_it_is_given_up_comes_back(begin: Begin, client: "redis.Redis") -> None:
    one, other = await begin(), await begin()
    session = await one.opened("s")
    fence = client.hget(key_of("s"), "fence")
    client.hset(key_of("s"), "fence", bytes(16) + fence[16:])  # type: ignore[operator]  # as if it had left
    await other.get("s")
    step, leaving = one.step(session, 1, step=0), asyncio.ensure_future(one.store.give_up(session))
    assert (await step).sums == [1]
    await leaving
    assert (await other.step(await other.get("s"), 1, step=1)).sums == [2]
    assert (await one.step(await one.get("s"), 1, step=2)).sums == [3]


async def test_a_fenced_process_applies_what_it_had_accepted_under_its_new_name(
    begin: Begin, client: "redis.Redis"
) -> None:
    one = await begin()
    session = await one.opened("s", rule=Rule(1, 3))
    await one.step(session, 1)
    client.hdel(one.owner().owners, one.owner().name)
    opened = one.opened("new")
    warm = one.lifecycle.open_warm("warm", 60.0, column(1.0, 2.0))
    calls = [one.step(session, 2, step=1), one.lifecycle.fork(session, "copy"), one.lifecycle.rewind(session, 1)]
    ended = await asyncio.gather(opened, warm, *calls)
    assert [await one.state(one.sessions.get(id)) for id in ("new", "warm", "copy", "s")] == [
        *((0, 0.0), (2, 3.0), (2, 3.0), (1, 1.0)),
    ]
    assert ended[2].sums == [3.0]
    await one.crash()
    again = await begin()
    assert [await again.state(await again.get(id)) for id in ("new", "warm", "copy", "s")] == [
        *((0, 0.0), (2, 3.0), (2, 3.0), (1, 1.0)),
    ]


async def test_a_delete_elsewhere_ends_a_call_unapplied(begin: Begin, client: "redis.Redis") -> None:
    one = await begin()
    session = await one.opened("s")
    client.delete(key_of("s"))
    with pytest.raises(SessionNotFound):
        await one.step(session, 1)
    with pytest.raises(SessionNotFound):
        await one.get("s")


async def test_an_id_is_taken_everywhere(begin: Begin) -> None:
    one, other = await begin(), await begin()
    await one.opened("s")
    with pytest.raises(SessionExists):
        await other.opened("s")
    await one.lifecycle.delete(one.sessions.get("s"))
    await other.opened("s")


async def test_an_expired_session_is_told_as_such_everywhere(begin: Begin) -> None:
    one = await begin()
    await one.opened("s")
    one.clock.advance(61)
    one.hold_leases(9)
    with pytest.raises(SessionExpired):
        one.sessions.get("s")
    other = await begin()
    with pytest.raises(SessionExpired):
        await other.get("s")
    await other.lifecycle.delete(await other.opened("s"))
    for process in (one, other):
        with pytest.raises(SessionNotFound):
            await process.get("s")


async def test_idle_time_goes_on_without_a_process(begin: Begin, wall: FakeClock) -> None:
    one = await begin()
    await one.opened("s")
    await one.end()
    wall.advance(61)
    with pytest.raises(SessionExpired):
        await (await begin()).get("s")


async def test_a_clock_that_is_set_back_counts_as_no_time(begin: Begin, wall: FakeClock) -> None:
    one = await begin()
    await one.opened("s")
    await one.end()
    wall.advance(-86_400)
    assert (await (await begin()).get("s")).ttl == 60.0


async def test_copies_are_made_all_or_none(begin: Begin) -> None:
    one, other = await begin(), await begin()
    session = await one.opened("s")
    await one.step(session, 7)
    await other.opened("b")
    with pytest.raises(SessionExists):
        await one.lifecycle.fork_many(session, ["a", "b", "c"])
    for id in "ac":
        with pytest.raises(SessionNotFound):
            await other.get(id)
    await one.lifecycle.fork_many(session, ["x", "y"])
    assert [await other.state(await other.get(id)) for id in "xy"] == [(1, 7.0)] * 2


async def test_snapshots_and_a_replaced_state_go_along(begin: Begin) -> None:
    one, other = await begin(), await begin()
    session = await one.opened("s", rule=Rule(2, 2))
    for value in range(1, 8):
        await one.step(session, value)
    session = await other.get("s")
    assert [kept.step for kept in other.engine.rewinds.of(session.row)] == [4, 6]
    await other.lifecycle.rewind(session, 4)
    session = await one.get("s")
    assert await one.state(session) == (4, 10.0)
    assert [kept.step for kept in one.engine.rewinds.of(session.row)] == [4]
    await one.lifecycle.replace(session, 9, summed(1.0))
    assert await other.state(await other.get("s")) == (9, 1.0)


@pytest.mark.parametrize("sent", [True, False])
async def test_a_replaced_state_on_its_way_when_the_connection_is_lost_is_written_or_not(
    begin: Begin, sent: bool
) -> None:
    one = await begin(lease=20.0)
    session = await one.opened("s")
    await one.lifecycle.replace(session, 5, summed(1.0))
    done = await one.cut(lambda: one.lifecycle.replace(session, 5, summed(2.0)), sent=sent)
    stands = (5, 2.0 if done else 1.0)
    assert await one.state(await one.get("s")) == stands
    await one.end()
    other = await begin()
    assert await other.state(await other.get("s")) == stands


async def test_a_session_waits_for_its_file_and_can_be_deleted(begin: Begin) -> None:
    one = await begin()
    for id in "st":
        await one.step(await one.opened(id), 3)
    await one.end()
    without = await begin(served=False)
    with pytest.raises(VersionNotFound):
        await without.get("s")
    gone = without.sessions.known("s")
    assert gone.step == 1
    await cast("Engine", gone.home).lifecycle.delete(gone)
    await without.end()
    again = await begin()
    with pytest.raises(SessionNotFound):
        await again.get("s")
    assert await again.state(await again.get("t")) == (1, 3.0)


async def test_ids_come_in_order_from_all_processes(begin: Begin) -> None:
    one, other = await begin(), await begin()
    ids = [f"s{number:02}" for number in range(20)]
    for index, id in enumerate(np.random.default_rng(3).permutation(ids).tolist()):
        await (one, other)[index % 2].opened(id)
    found, last = await anywhere.page(one.sessions, "s04", "s", 5)
    assert [standing.id for standing in found] == ids[5:10]
    assert last == ids[9]
    assert [standing.id for standing in (await anywhere.page(one.sessions, "", "s1", 99))[0]] == ids[10:]


async def test_an_idle_clock_that_a_retry_restarted_is_written(begin: Begin) -> None:
    one = await begin()
    session = await one.opened("s")
    await one.step(session, 1, step=0)
    one.clock.advance(0.8)  # within the lease
    for _ in range(12):
        one.clock.advance(0.5)
        await one.renew()
    await one.step(session, 1, step=0)  # a repeat commits nothing
    await one.store._upkeep.note_touched()
    standing = await one.store._handover.standing("s")
    assert standing is not None
    assert standing.left == 60.0
    assert (await one.step(session, 1, step=1)).sums == [2.0]
