"""An engine over a Redis store, one of several processes that share it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from service.engine.admission import Bounds
from service.engine.engine import Engine
from service.errors import StoreUnavailable, VersionNotFound
from service.models.fitness import Fitness
from service.models.model import NoModel
from service.sessions.reach import reach
from service.sessions.session import Session
from service.store.redis.owner import Owner
from service.store.redis.records import key_of
from service.store.redis.store import RedisStore
from tests.fakes import FakeClock
from tests.service.engine.serving import Serving

LEASE = 1.0  # seconds
_DIGEST, _OTHER = "ab" * 32, "cd" * 32

Begin = Callable[..., Awaitable["Shared"]]
T = TypeVar("T")


class Mute:
    """A stream that loses everything."""

    def write(self, data: bytes) -> None:
        """Lose it."""

    def is_closing(self) -> bool:
        """It is not known to be broken."""
        return False


class Shared(Serving):
    """A process: it lives from `begin` until `crash` or `end`. Its clock stands still, so its lease does not end."""

    store: RedisStore
    others: list["asyncio.Task[None]"]  # engines of other versions

    async def begin(
        self, url: str, wall: FakeClock, *, served: bool = True, lease: float = LEASE, **how: int
    ) -> "Shared":
        """Connect, and run; `served`: its model is there."""
        self.others = []
        self.store = RedisStore(url, self.sessions, lease=lease, monotonic=self.clock, wall=wall, **how)
        self.store.start()
        found, bounds = self.engine.fitness, Bounds(20_000, 10**8)
        digest = _DIGEST if served else _OTHER
        self.engine = Engine(self.model, found, self.sessions, self.store, bounds, digest=digest, clock=self.clock)
        self.lifecycle = self.engine.lifecycle
        await self.store.recover(self.engine)
        await self.store.recovered(self._absent)
        self.start()
        return self

    async def opened(self, id: str, **how: Any) -> Session:
        """Open a session."""
        session: Session = await self.lifecycle.open(id, 60.0, **how)
        return session

    async def get(self, id: str) -> Session:
        """A session, wherever it is."""
        await reach(self.sessions, id)
        return self.sessions.get(id)

    def owner(self, id: str = "s") -> Owner:
        """It as an owner on the server that has a session."""
        return self.store.owner_of(key_of(id))

    def hold_leases(self, seconds: float) -> None:
        """Go on as if leases had been renewed."""
        for one in self.store.owners:
            one._until = self.clock() + seconds

    async def cut_off(self, call: Callable[[], Awaitable[T]], *, sent: bool) -> tuple[asyncio.Future[T], asyncio.Event]:
        """Lose the connection while the commit of a call is on its way; there is a new one once the event is set."""
        link, stream, back = self.owner().link, self.owner().link._stream, asyncio.Event()
        assert stream is not None
        connect = link._connect

        async def reconnect() -> Any:
            await back.wait()
            return await connect()

        link._connect = reconnect
        if not sent:
            link._stream = Mute()  # type: ignore[assignment]
        asked = asyncio.ensure_future(call())
        while not link._asked:  # noqa: ASYNC110  # it is written
            await asyncio.sleep(0)
        stream.transport.abort()
        return asked, back

    async def cut(self, call: Callable[[], Awaitable[object]], *, sent: bool) -> bool:
        """Lose the connection while the commit of a call is on its way → whether it was applied, in the end."""
        asked, back = await self.cut_off(call, sent=sent)
        back.set()
        try:
            await asked
        except StoreUnavailable:
            await self.owner().link.risen()
            return False
        return True

    async def renew(self) -> None:
        """Renew all leases."""
        for one in self.store.owners:
            await one.renew()

    async def crash(self) -> None:
        """End without a word."""
        assert self.loop is not None
        tasks = [self.loop, *self.others, *self.store._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def end(self) -> None:
        """Drain and close."""
        await self.stop()
        for task in self.others:
            task.cancel()
        await self.store.close()

    def _absent(self, name: str, version: str) -> Engine:
        fitness, refusal = Fitness(False, 0.0, 1, 0.0), VersionNotFound(f"{name}/{version} is not there")
        bounds = Bounds(100, 10**6)
        return Engine(
            NoModel(), fitness, self.sessions, self.store, bounds, name=name, version=version, refusal=refusal
        )
