"""Workers over one embedded store die while a session moves: it is with one of them, as it was answered."""

import asyncio
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

from service.errors import SessionNotFound, StoreUnavailable
from service.sessions.reach import reach
from tests.fakes import FakeClock, until
from tests.service.store.workers import Worker, opened, replaced, stands, start, still

_POINTS = [*product(("lend", "put", "forget", "have"), ("before", "after"))]
_EARLY = [("lend", "before"), ("lend", "after"), ("put", "before")]  # the new owner has not answered by then
_CALLS = [("step", False), ("step", True), ("delete", True)]  # what the new owner is asked; whether records are written


@pytest.mark.parametrize("at", _POINTS)
@pytest.mark.parametrize("ends", ["one", "both", "supervisor"])
@pytest.mark.parametrize("call", _CALLS)
async def test_a_session_is_with_one_worker_whenever_one_dies(
    tmp_path: Path, wall: FakeClock, at: tuple[str, str], ends: str, call: tuple[str, bool]
) -> None:
    workers = await _moved_before(tmp_path, wall, recorded=call[1])
    calling = asyncio.ensure_future(_call(workers[1], call[0]))
    await _killed(workers, at, calling, ends)
    if at in _EARLY and (ends == "supervisor" or at[0] == "put"):
        calling.cancel()  # its worker is dead
    with suppress(StoreUnavailable, asyncio.CancelledError):
        await calling
    answered = not calling.cancelled() and calling.exception() is None
    assert answered or at in _EARLY
    if ends == "one":
        workers = [await replaced(one, tmp_path, wall) if one.dead else one for one in workers]
    else:
        workers = await _restarted(workers, tmp_path, wall)
    if answered and call[0] == "delete":
        assert [one.sessions.find("a") for one in workers] == [None, None]
    else:
        assert [one.sessions.find("a") is not None for one in workers].count(True) == 1
        assert await stands(workers[1], "a") == ((4, 10.0) if answered else (3, 6.0))
        await _goes_on(workers)
    await still(workers)
    workers = await _restarted(workers, tmp_path, wall)
    for one in workers:
        with pytest.raises(SessionNotFound):
            await stands(one, "a")
    for one in workers:
        await one.end()


async def _moved_before(path: Path, wall: FakeClock, *, recorded: bool) -> list[Worker]:
    """Two workers; the first has a session that was at both, so that there are traces of it everywhere."""
    workers = await start(path, wall)
    await opened(workers[0], "a")
    await workers[0].step(workers[0].sessions.get("a"), 1.0, 2.0)
    assert await stands(workers[1], "a") == (2, 3.0)
    await workers[1].step(workers[1].sessions.get("a"), 3.0)
    assert await stands(workers[0], "a") == (3, 6.0)
    await still(workers)
    if recorded:
        for one in workers:
            await one.round()
    return workers


async def _call(worker: Worker, what: str) -> None:
    """Call the session where it has to come first."""
    await reach(worker.sessions, "a")
    session = worker.sessions.get("a")
    await (worker.step(session, 4.0, step=3) if what == "step" else worker.lifecycle.delete(session))


async def _killed(workers: list[Worker], at: tuple[str, str], calling: asyncio.Future[None], ends: str) -> None:
    """Let the worker that is asked for it die at a point of the move: by itself, or with the supervisor and all."""
    dies = workers[1] if at[0] in ("put", "have") else workers[0]
    dies.at, dies.all_die = at, ends == "supervisor"
    if at not in _EARLY:
        dies.first = calling.done
    if ends == "supervisor":
        await until(lambda: all(one.dead for one in workers))
        return
    await until(lambda: dies.dead)
    await still(workers)


async def _restarted(workers: list[Worker], path: Path, wall: FakeClock) -> list[Worker]:
    """All die, if they are not dead, and others begin."""
    for one in workers:
        for task in one.busy:
            task.cancel()
        if not one.dead:
            await one.die()
    return await start(path, wall)


async def _goes_on(workers: list[Worker]) -> None:
    """Both serve the session in turn; a call that was answered is answered the same again. Then it is deleted."""
    for one in workers:
        one.at = "", ""
    for step in (3, 4):
        one = workers[step % 2]
        await reach(one.sessions, "a")
        await one.step(one.sessions.get("a"), 4.0, step=step)
    assert await stands(workers[0], "a") == (5, 14.0)
    await reach(workers[1].sessions, "a")
    await workers[1].lifecycle.delete(workers[1].sessions.get("a"))
