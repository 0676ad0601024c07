"""Two workers over one embedded store, with the supervisor's real exchange: sessions go to and fro, and workers die."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from service.errors import SessionExists, SessionNotFound, StoreUnavailable
from service.sessions.reach import reach
from service.store.embedded.exchange import Exchange
from service.store.embedded.lock import Share
from service.store.embedded.settling import folder_of, settle
from service.store.embedded.shared import SharedStore
from service.workers.channel import FailedError, LostError
from tests.fakes import FakeClock, until
from tests.service.engine.serving import TTL
from tests.service.store.serving import Durable


class Worker(Durable):
    """A worker, and its place as the exchange sees it. It dies `at` what it is asked, before or after it did that."""

    def __init__(self, number: int, path: Path, wall: FakeClock) -> None:
        super().__init__()
        self.number, self._path, self._wall = number, path, wall
        self.answers: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {}
        self.busy: set[asyncio.Task[Any]] = set()
        self.count, self.heard, self.at = 1, True, ("", "")
        self.channel: Any = self
        self.exchange: Exchange

    async def up(self, exchange: Exchange) -> "Worker":
        """Begin to serve."""
        self.exchange = exchange
        share = Share(self.number - 1, os.open(self._path, os.O_RDONLY))

        def store(path: Path, sessions: Any, **how: Any) -> SharedStore:
            return SharedStore(sessions, self, 0.5, path=path, share=share, **how)

        folder = folder_of(self._path, self.number)
        await self.begin(folder, self._wall, make=store)
        return self

    async def die(self) -> None:
        """As kill -9, and the supervisor sees it."""
        self.channel = None
        await self.crash()

    def ask(self, what: str, *given: Any) -> asyncio.Future[Any]:
        """As the supervisor asks a worker, and a worker the supervisor: by which of them answers this."""
        return asyncio.ensure_future(self._asked(what, *given))

    async def _asked(self, what: str, *given: Any) -> Any:
        if what in self.exchange.answers:
            return await self.exchange.answers[what](self, *given)
        if self.channel is None:
            raise LostError
        if self.at == (what, "before"):
            await self.die()
            raise LostError
        try:
            told = await self.answers[what](*given)
        except Exception as error:
            raise FailedError(str(error)) from error
        if self.at == (what, "after"):
            await self.die()
            raise LostError
        return told

    def tell(self, what: str, *given: Any) -> None:
        self.ask(what, *given)

    async def ask_others(self, what: str, *given: Any) -> list[Any]:
        others = [one for one in self.exchange._places if one is not self]
        return [await one.ask(what, *given) for one in others]  # type: ignore[attr-defined]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


async def _pair(path: Path, wall: FakeClock) -> list[Worker]:
    """Two workers, as a supervisor starts them."""
    settle(path, 2)
    workers = [Worker(number, path, wall) for number in (1, 2)]
    exchange = Exchange(path, workers)
    return [await one.up(exchange) for one in workers]


async def _replaced(worker: Worker, path: Path, wall: FakeClock) -> Worker:
    """Another worker in the place of one that died."""
    exchange = worker.exchange
    if worker.busy:
        await asyncio.wait([*worker.busy])
    new = Worker(worker.number, path, wall)
    places: Any = exchange._places
    places[worker.number - 1] = new
    return await new.up(exchange)


async def _open(worker: Worker, id: str) -> None:
    await worker.lifecycle.open(id, TTL)


async def _sum(worker: Worker, id: str) -> tuple[int, float]:
    await reach(worker.sessions, id)
    return await worker.state(worker.sessions.get(id))


async def test_a_session_goes_to_and_fro_with_all_it_has(path: Path, wall: FakeClock) -> None:
    workers = await _pair(path, wall)
    await _open(workers[0], "a")
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
        assert await _sum(one, "a") == (step + 1, total)
        if step == 4:
            await one.round()
    for one in workers:
        await one.end()


@pytest.mark.parametrize("at", list(product(("lend", "put", "forget", "have"), ("before", "after"))))
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("all_end", [False, True])
async def test_a_session_is_with_one_worker_whenever_one_dies(
    path: Path, wall: FakeClock, at: tuple[str, str], recorded: bool, all_end: bool
) -> None:
    workers = await _pair(path, wall)
    await _open(workers[0], "a")
    await workers[0].step(workers[0].sessions.get("a"), 1.0, 2.0)
    assert await _sum(workers[1], "a") == (2, 3.0)  # so that there are traces of it everywhere
    await workers[1].step(workers[1].sessions.get("a"), 3.0)
    assert await _sum(workers[0], "a") == (3, 6.0)
    if recorded:
        for one in workers:
            await one.round()
    dies = workers[1] if at[0] in ("put", "have") else workers[0]
    dies.at = at
    reaching = asyncio.ensure_future(reach(workers[1].sessions, "a"))
    await until(lambda: reaching.done() or (dies is workers[1] and dies.channel is None and not dies.busy))
    reaching.cancel()
    with suppress(StoreUnavailable, asyncio.CancelledError):
        await reaching
    if all_end:
        for one in workers:
            if one.channel is not None:
                await one.die()
        workers = await _pair(path, wall)
    else:
        workers = [one if one.channel is not None else await _replaced(one, path, wall) for one in workers]
    for one in workers:
        one.at = "", ""
    assert [one.sessions.find("a") is not None for one in workers].count(True) == 1
    for step in (3, 4):
        one = workers[step % 2]
        await reach(one.sessions, "a")
        await one.step(one.sessions.get("a"), 4.0, step=step)
    assert await _sum(workers[0], "a") == (5, 14.0)
    await reach(workers[1].sessions, "a")
    await workers[1].lifecycle.delete(workers[1].sessions.get("a"))
    for one in workers:
        await one.die()
    workers = await _pair(path, wall)
    for one in workers:
        with pytest.raises(SessionNotFound):
            await _sum(one, "a")
    for one in workers:
        await one.end()


async def test_an_id_is_opened_by_one_of_two(path: Path, wall: FakeClock) -> None:
    workers = await _pair(path, wall)
    told = await asyncio.gather(*(one.lifecycle.open("a", TTL) for one in workers), return_exceptions=True)
    assert sorted(isinstance(one, SessionExists) for one in told) == [False, True]
    for one in workers:
        await one.end()


@pytest.mark.parametrize("clean", [False, True])
async def test_sessions_of_a_worker_that_is_no_more_go_to_the_first(path: Path, wall: FakeClock, clean: bool) -> None:
    workers = await _pair(path, wall)
    for id in "abcd":
        await _open(workers[1], id)
        await workers[1].step(workers[1].sessions.get(id), 1.0)
    await workers[1].round()
    await workers[1].step(workers[1].sessions.get("b"), 2.0)
    assert await _sum(workers[0], "c") == (1, 1.0)
    await workers[0].step(workers[0].sessions.get("c"), 4.0)
    assert await _sum(workers[1], "c") == (2, 5.0)
    await workers[1].lifecycle.delete(workers[1].sessions.get("d"))
    for one in workers:
        await (one.end() if clean else one.die())
    settle(path, 1)
    assert [one.exists() for one in (folder_of(path, 1), folder_of(path, 2))] == [True, False]  # a test
    (one, other) = workers = await _pair(path, wall)
    numbers = {one.sessions.get(id).birth for id in "abc"}
    for id in "efgh":
        await _open(other, id)
        numbers.add(other.sessions.get(id).birth)
    assert len(numbers) == 7  # none is used twice
    assert [one.sessions.find(id) is not None for id in "abcd"] == [True, True, True, False]
    assert [await _sum(other, id) for id in "abc"] == [(1, 1.0), (2, 3.0), (2, 5.0)]
    for worker in workers:
        await worker.end()
