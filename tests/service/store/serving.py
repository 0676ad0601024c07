"""An engine over an embedded store, which crashes and comes back on the same folder."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.engine.admission import Bounds
from service.engine.engine import Engine
from service.errors import VersionNotFound
from service.models.fitness import Fitness
from service.models.model import NoModel
from service.store.embedded.store import EmbeddedStore
from tests.fakes import FakeClock, RunningSum, until
from tests.service.engine.serving import Serving

DIGEST, OTHER = "ab" * 32, "cd" * 32
EXACT = Fitness(True, 0.0, 1, 0.0)
INEXACT = replace(EXACT, tolerance=1e-7)

Begin = Callable[..., Awaitable["Durable"]]


class Durable(Serving):
    """A process: it lives from `begin` until `crash` or `end`."""

    store: EmbeddedStore

    async def begin(
        self, path: Path, wall: FakeClock, *, digest: str = DIGEST, make: Any = EmbeddedStore, **settings: Any
    ) -> "Durable":
        """Open the store, get the sessions back, and run; without a digest their model is not there."""
        self.store = make(path, self.sessions, clock=self.clock, wall=wall, **({"replay_seconds": 3600} | settings))
        self.store.start()
        found, bounds = self.engine.fitness, Bounds(100, 10**7)
        self.engine = Engine(
            self.model, found, self.sessions, self.store, bounds, digest=digest or OTHER, clock=self.clock
        )
        self.lifecycle = self.engine.lifecycle
        if digest:
            await self.store.recover(self.engine)
        await self.store.recovered(self._absent)
        await until(
            lambda: self.store._upkeep.rounds > 0 and not self.store._upkeep.old
        )  # what was recovered is written
        self.start()
        return self

    async def crash(self) -> None:
        """End without a word, as kill -9 does: what is not on the disk is lost."""
        assert self.loop is not None
        for task in (self.loop, *self.store._tasks):
            task.cancel()
        await asyncio.wait([self.loop, *self.store._tasks])
        await self.store._journal.close()
        self.store._upkeep.close()
        self.store._records.close()
        self.store._lock.release()

    async def end(self) -> None:
        """Drain and close."""
        await self.stop()
        await self.store.close()

    async def round(self) -> None:
        """Write the records that are behind."""
        await self.store._upkeep.round(0.0)

    def _absent(self, name: str, version: str) -> Engine:
        fitness, refusal = Fitness(False, 0.0, 1, 0.0), VersionNotFound(f"{name}/{version} is not there")
        bounds = Bounds(100, 10**6)
        return Engine(
            NoModel(), fitness, self.sessions, self.store, bounds, name=name, version=version, refusal=refusal
        )


def process(model: RunningSum | None = None, *, fitness: Fitness = EXACT, **how: Any) -> Durable:
    """A process that has not begun."""
    return Durable(model, fitness=fitness, **how)
