"""Workers that want the same ids at once, one of which stands still, begins or cannot write: nobody waits for ever."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from service.errors import SessionExists, SessionNotFound, StoreUnavailable
from service.sessions.anywhere import look
from service.sessions.reach import unused
from service.store.embedded.settling import folder_of
from tests.fakes import FakeClock, until
from tests.service.engine.serving import TTL
from tests.service.store.workers import Worker, opened, replaced, stands, start, still


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def _end(workers: list[Worker]) -> None:
    for one in workers:
        await one.end()


async def test_forks_into_each_other_end_while_their_sessions_are_asked_for(tmp_path: Path, wall: FakeClock) -> None:
    first, second = workers = await start(tmp_path, wall)
    await opened(first, "x")
    await opened(second, "y")
    first.holds = second.holds = "lend"
    coming = [asyncio.ensure_future(stands(second, "x")), asyncio.ensure_future(stands(first, "y"))]
    await _turns()
    forks = [
        first.lifecycle.fork(first.sessions.get("x"), "y"),
        second.lifecycle.fork(second.sessions.get("y"), "x"),
    ]
    await _turns()
    for one in workers:
        one.goes_on.set()
    told = await asyncio.wait_for(asyncio.gather(*forks, return_exceptions=True), 60)
    assert [type(one) for one in told] == [SessionExists, SessionExists]
    assert await asyncio.gather(*coming) == [(0, 0.0), (0, 0.0)]
    await _end(workers)


async def test_a_session_is_found_elsewhere_while_it_is_refused_to_be_opened_here(
    tmp_path: Path, wall: FakeClock
) -> None:
    first, second = workers = await start(tmp_path, wall)
    await opened(first, "a")
    first.holds = "has"
    opening = second.lifecycle.open("a", TTL)
    calling = asyncio.ensure_future(stands(second, "a"))
    await _turns()
    first.goes_on.set()
    assert await calling == (0, 0.0)
    with pytest.raises(SessionExists):
        await opening
    await _end(workers)


async def test_a_call_waits_for_the_opening_that_came_before_it_elsewhere(tmp_path: Path, wall: FakeClock) -> None:
    first, second = workers = await start(tmp_path, wall)
    second.holds = "has"
    opening = first.lifecycle.open("a", TTL)
    await _turns()
    calls = [asyncio.ensure_future(stands(one, "a")) for one in workers]
    await _turns()
    second.goes_on.set()
    assert await asyncio.gather(*calls) == [(0, 0.0), (0, 0.0)]
    await opening
    await _end(workers)


async def test_an_id_that_another_worker_has_exists_also_where_there_is_no_room(
    tmp_path: Path, wall: FakeClock
) -> None:
    workers = await start(tmp_path, wall, most=2)
    await opened(workers[0], "a")
    await opened(workers[1], "b")
    for one in workers:
        for id in "ab":
            with pytest.raises(SessionExists):
                await unused(one.sessions, id)
            with pytest.raises(SessionExists):
                await one.lifecycle.fork_many(one.sessions.get(id), [id, "c"])
    await _end(workers)


async def test_a_worker_that_begins_is_not_asked_what_it_cannot_answer_yet(tmp_path: Path, wall: FakeClock) -> None:
    first, second = workers = await start(tmp_path, wall)
    second.heard, second.holds = False, "has"  # it may stand still
    with pytest.raises(StoreUnavailable, match="being started"):
        await first.lifecycle.open("a", TTL)
    second.heard, second.holds = True, ""
    await opened(first, "a")
    await _end(workers)


async def test_a_session_stays_where_it_is_if_the_other_worker_cannot_take_it(tmp_path: Path, wall: FakeClock) -> None:
    first, second = workers = await start(tmp_path, wall)
    await opened(first, "a")
    put = second.answers["put"]

    async def fails(*_: Any) -> None:
        raise OSError("its disk cannot be read")

    second.answers["put"] = fails
    with pytest.raises(StoreUnavailable):
        await stands(second, "a")
    assert await stands(first, "a") == (0, 0.0)
    second.answers["put"] = put
    assert await stands(second, "a") == (0, 0.0)
    await _end(workers)


async def test_a_worker_whose_folder_cannot_be_written_is_not_replaced_before(tmp_path: Path, wall: FakeClock) -> None:
    first, second = workers = await start(tmp_path, wall)
    await opened(second, "a")
    second.at = "forget", "before"
    assert await stands(first, "a") == (0, 0.0)
    folder, away = folder_of(tmp_path, 2), tmp_path / "away"
    await until(lambda: second.dead)
    folder.rename(away)
    folder.write_text("no folder")
    await first.step(first.sessions.get("a"), 4.0)
    coming = asyncio.ensure_future(replaced(second, tmp_path, wall))
    await asyncio.sleep(0.1)  # it would have begun by then
    assert not coming.done()
    folder.unlink()
    away.rename(folder)
    workers[1] = await coming
    assert workers[1].sessions.find("a") is None
    assert await stands(workers[1], "a") == (1, 4.0)
    await _end(workers)


async def test_a_worker_is_replaced_while_others_wait_for_a_session(tmp_path: Path, wall: FakeClock) -> None:
    first, second, third = workers = await start(tmp_path, wall, 3)
    await opened(first, "a")
    first.holds = "lend"
    coming = asyncio.ensure_future(stands(second, "a"))
    await _turns()
    await third.die()
    workers[2] = await asyncio.wait_for(replaced(third, tmp_path, wall), 60)
    first.goes_on.set()
    assert await coming == (0, 0.0)
    await still(workers)
    await _end(workers)


async def test_a_session_that_was_deleted_elsewhere_is_gone_before_it_is_written_here_that_it_went(
    tmp_path: Path, wall: FakeClock
) -> None:
    first, second = workers = await start(tmp_path, wall)
    await opened(first, "a")
    first.holds = "forget"
    assert await stands(second, "a") == (0, 0.0)
    await second.lifecycle.delete(second.sessions.get("a"))
    with pytest.raises(SessionNotFound):
        await look(first.sessions, "a")
    first.goes_on.set()
    await still(workers)
    with pytest.raises(SessionNotFound):
        await look(first.sessions, "a")
    await _end(workers)


async def test_that_an_id_was_nowhere_says_nothing_of_a_session_that_came_and_goes(
    tmp_path: Path, wall: FakeClock
) -> None:
    first, second = workers = await start(tmp_path, wall)
    looking = second.sessions.missing("a")
    assert looking is not None
    await looking
    await opened(second, "a")
    first.holds = "put"
    coming = asyncio.ensure_future(stands(first, "a"))
    await until(lambda: "a" in second.sessions.recovering)
    assert second.sessions.missing("a") is not None, "else it could be deleted here while it goes"
    first.goes_on.set()
    assert await coming == (0, 0.0)
    await _end(workers)
