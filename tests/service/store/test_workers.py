"""Workers over one embedded store: sessions go to and fro, and each worker knows of all of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from service.errors import Overloaded, SessionExists, SessionExpired, SessionNotFound
from service.sessions.anywhere import look, page
from service.sessions.reach import reach
from service.sessions.session import Session
from service.store.embedded.settling import folder_of, settle
from tests.fakes import FakeClock
from tests.service.engine.serving import TTL
from tests.service.store.workers import opened, stands, start, still


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


async def test_a_session_goes_to_and_fro_with_all_it_has(path: Path, wall: FakeClock) -> None:
    workers = await start(path, wall)
    await opened(workers[0], "a")
    birth, total, told = workers[0].sessions.get("a").birth, 0.0, []
    for step in range(8):
        one = workers[step % 2]
        await reach(one.sessions, "a")
        session = one.sessions.get("a")
        assert session.birth == birth
        if told:
            assert await one.step(session, step - 1.0, step=step - 1) == told[-1]  # a retry that lands elsewhere
        told.append(await one.step(session, float(step), step=step))
        total += step
        assert await stands(one, "a") == (step + 1, total)
        if step == 4:
            await one.round()
    for one in workers:
        await one.end()


async def test_a_session_is_found_where_the_supervisor_does_not_expect_it(path: Path, wall: FakeClock) -> None:
    workers = await start(path, wall, 3)
    await opened(workers[0], "a")
    workers[0].exchange._note("a", workers[1])
    assert await stands(workers[2], "a") == (0, 0.0)
    await workers[1].die()
    workers[0].exchange._note("a", workers[1])
    assert await stands(workers[0], "a") == (0, 0.0)
    for one in (workers[0], workers[2]):
        await one.end()


@pytest.mark.parametrize("idle", ["spilled", "expired"])
async def test_a_session_that_goes_leaves_memory_when_that_is_written(path: Path, wall: FakeClock, idle: str) -> None:
    """Its row would be another's, which would be deleted in its place."""
    first, second = workers = await start(path, wall, sync=True)
    await opened(first, "a")
    await first.step(first.sessions.get("a"), 1.0)
    await first.round()
    forget = first.answers["forget"]

    async def slowly(id: str, number: int) -> None:
        written = asyncio.ensure_future(forget(id, number))
        await asyncio.sleep(0)
        if idle == "expired":
            first.clock.now += TTL + 1
            first.sessions.sweep(9)
        else:
            first.store._upkeep._resident = 0
            await first.store._upkeep.spill()
        opening = first.lifecycle.open("b", TTL)
        await written
        await opening

    first.answers["forget"] = slowly
    assert await stands(second, "a") == (1, 1.0)
    await still(workers)
    for one in workers:
        await one.round()
    await first.end()
    await second.end()
    workers = await start(path, wall)
    assert [[one.sessions.find(id) is not None for one in workers] for id in "ab"] == [[False, True], [True, False]]
    for one in workers:
        await one.end()


async def test_the_newest_is_told_everywhere_while_the_old_owner_has_not_forgotten(path: Path, wall: FakeClock) -> None:
    old, new, third = workers = await start(path, wall, 3)
    await opened(old, "a")
    old.holds = "forget"
    assert await stands(new, "a") == (0, 0.0)
    await new.step(new.sessions.get("a"), 5.0)
    reaching = asyncio.ensure_future(reach(third.sessions, "a"))
    for one in workers:
        assert (await look(one.sessions, "a")).step == 1
        found, last = await page(one.sessions, "", "", 9)
        assert ([stands.step for stands in found], last) == ([1], "a")
    await new.lifecycle.delete(new.sessions.get("a"))
    for one in workers:
        with pytest.raises(SessionNotFound):
            await look(one.sessions, "a")
        assert await page(one.sessions, "", "", 9) == ([], "a")
    opening = new.lifecycle.open("a", TTL)
    assert not (opening.done() or reaching.done())
    old.goes_on.set()
    await reaching
    await opening
    assert [(await look(one.sessions, "a")).step for one in workers] == [0] * len(workers)
    for one in workers:
        await one.end()


async def test_a_session_that_expired_here_is_told_where_it_was_opened_anew(path: Path, wall: FakeClock) -> None:
    workers = await start(path, wall)
    await opened(workers[0], "a")
    for one in workers:
        one.clock.now += TTL + 1
        wall.now += TTL + 1
    with pytest.raises(SessionExpired):
        await look(workers[0].sessions, "a")
    with pytest.raises(SessionExpired):
        await look(workers[1].sessions, "a")
    await opened(workers[1], "a")
    assert [(await look(one.sessions, "a")).step for one in workers] == [0] * len(workers)
    for one in workers:
        await one.end()


async def test_bounds_count_the_sessions_of_all_workers(path: Path, wall: FakeClock) -> None:
    workers = await start(path, wall, most=10, most_bytes=7 * 4)  # a state has 4 bytes
    told: list[Any] = []
    for index in range(8):  # at both at once, and one moves meanwhile
        opening = [one.lifecycle.open(f"{index}-{one.number}", TTL) for one in workers]
        told += await asyncio.gather(*opening, return_exceptions=True)
        await asyncio.gather(*(reach(one.sessions, "0-1", "0-2") for one in workers))
        assert len((await page(workers[0].sessions, "", "", 99))[0]) <= 7
        await still(workers)
        assert sum(one.sessions.totals()[0] for one in workers) <= 7
    assert {type(one) for one in told} == {Session, Overloaded}
    found, _ = await page(workers[0].sessions, "", "", 99)
    assert len(found) in (6, 7)  # two that come at once may both be refused the last place
    if len(found) == 6:
        await opened(workers[0], "last")
    with pytest.raises(Overloaded, match="8 sessions, 32 bytes"):
        await opened(workers[1], "one too many")
    await reach(workers[0].sessions, "0-1")
    with pytest.raises(Overloaded):
        await workers[0].lifecycle.fork_many(workers[0].sessions.get("0-1"), ["x", "y"])
    for one in workers:
        await one.end()


async def test_an_id_is_opened_by_one_of_two(path: Path, wall: FakeClock) -> None:
    workers = await start(path, wall)
    told = await asyncio.gather(*(one.lifecycle.open("a", TTL) for one in workers), return_exceptions=True)
    assert sorted(isinstance(one, SessionExists) for one in told) == [False, True]
    for one in workers:
        await one.end()


@pytest.mark.parametrize("clean", [False, True])
async def test_sessions_of_a_worker_that_is_no_more_go_to_the_first(path: Path, wall: FakeClock, clean: bool) -> None:
    workers = await start(path, wall)
    for id in "abcd":
        await opened(workers[1], id)
        await workers[1].step(workers[1].sessions.get(id), 1.0)
    await workers[1].round()
    await workers[1].step(workers[1].sessions.get("b"), 2.0)
    assert await stands(workers[0], "c") == (1, 1.0)
    await workers[0].step(workers[0].sessions.get("c"), 4.0)
    assert await stands(workers[1], "c") == (2, 5.0)
    await workers[1].lifecycle.delete(workers[1].sessions.get("d"))
    await still(workers)  # else the exchange would have the folder open that is settled
    for one in workers:
        await (one.end() if clean else one.die())
    settle(path, 1)
    assert [one.exists() for one in (folder_of(path, 1), folder_of(path, 2))] == [True, False]  # a test
    (one, other) = workers = await start(path, wall)
    numbers = {one.sessions.get(id).birth for id in "abc"}
    for id in "efgh":
        await opened(other, id)
        numbers.add(other.sessions.get(id).birth)
    assert len(numbers) == 7  # none is used twice
    assert [one.sessions.find(id) is not None for id in "abcd"] == [True, True, True, False]
    assert [await stands(other, id) for id in "abc"] == [(1, 1.0), (2, 3.0), (2, 5.0)]
    for worker in workers:
        await worker.end()
