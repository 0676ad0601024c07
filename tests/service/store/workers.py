"""Workers over one embedded store, with the supervisor's real exchange between them."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from service.sessions.reach import reach
from service.store.embedded.lock import Share
from service.store.embedded.settling import folder_of, settle
from service.store.embedded.shared import SharedStore
from service.workers.channel import FailedError, LostError
from service.workers.exchange import Exchange
from tests.fakes import FakeClock, until
from tests.service.engine.serving import TTL
from tests.service.store.serving import Durable


class Worker(Durable):
    """A worker, and its place as the exchange sees it. It dies `at` what it is asked, before or after it did that."""

    def __init__(self, number: int, path: Path, wall: FakeClock, *, sync: bool = False, **bounds: int) -> None:
        super().__init__(**bounds)
        self.number, self._path, self._wall, self._sync = number, path, wall, sync
        self.answers: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {}
        self.busy: set[asyncio.Task[Any]] = set()
        self.count, self.heard, self.at = 1, True, ("", "")
        self.holds, self.goes_on = "", asyncio.Event()  # what it does not do before that
        self.first: Callable[[], bool] = lambda: True  # what it waits for before it dies
        self.all_die = self.dead = False  # with it, the supervisor too
        self.channel: Any = self
        self.exchange: Exchange

    async def up(self, exchange: Exchange) -> "Worker":
        """Begin to serve."""
        self.exchange = exchange
        share = Share(self.number - 1, os.open(self._path, os.O_RDONLY))

        def store(path: Path, sessions: Any, **how: Any) -> SharedStore:
            return SharedStore(sessions, self, 0.5, path=path, share=share, **how)

        folder = folder_of(self._path, self.number)
        await self.begin(folder, self._wall, make=store, sync=self._sync)
        return self

    async def die(self) -> None:
        """As kill -9, and the supervisor sees it."""
        self.channel = None
        await self.crash()
        self.dead = True

    async def _die_here(self) -> None:
        await until(self.first)
        for one in self.exchange._places if self.all_die else (self,):
            await one.die()  # type: ignore[attr-defined]
        if self.all_die:
            await asyncio.Event().wait()
        raise LostError

    def ask(self, what: str, *given: Any) -> asyncio.Future[Any]:
        """As the supervisor asks a worker, and a worker the supervisor: by which of them answers this.

        It is done to its end, though the one that asked may not wait for that.
        """
        answer = asyncio.shield(asyncio.ensure_future(self._asked(what, *given)))
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer

    async def _asked(self, what: str, *given: Any) -> Any:
        if what in self.exchange.answers:
            return await self.exchange.answers[what](self, *given)
        if self.channel is None:
            raise LostError
        if what == self.holds:
            await self.goes_on.wait()
        if self.at == (what, "before"):
            await self._die_here()
        try:
            told = await self.answers[what](*given)
        except Exception as error:
            raise FailedError(str(error)) from error
        if self.at == (what, "after"):
            await self._die_here()
        return told

    def tell(self, what: str, *given: Any) -> None:
        self.ask(what, *given)

    async def ask_others(self, what: str, *given: Any) -> list[Any]:
        others = [one for one in self.exchange._places if one is not self]
        return [await one.ask(what, *given) for one in others]  # type: ignore[attr-defined]


async def start(path: Path, wall: FakeClock, count: int = 2, **bounds: Any) -> list[Worker]:
    """Workers, as a supervisor starts them."""
    settle(path, count)
    workers = [Worker(number, path, wall, **bounds) for number in range(1, count + 1)]
    for one in workers:
        one.count = count - 1
    exchange = Exchange(path, workers)
    return [await one.up(exchange) for one in workers]


async def replaced(worker: Worker, path: Path, wall: FakeClock) -> Worker:
    """Another worker in the place of one that died."""
    exchange = worker.exchange
    if worker.busy:
        await asyncio.wait([*worker.busy])
    new = Worker(worker.number, path, wall)
    places: Any = exchange._places
    places[worker.number - 1] = new
    return await new.up(exchange)


async def still(workers: list[Worker]) -> None:
    """Return when no session moves."""
    await until(lambda: not any(one.busy for one in workers))


async def opened(worker: Worker, id: str) -> None:
    """Open a session."""
    await worker.lifecycle.open(id, TTL)


async def stands(worker: Worker, id: str) -> tuple[int, float]:
    """Step and sum of a session, which comes there."""
    await reach(worker.sessions, id)
    return await worker.state(worker.sessions.get(id))
