"""The engines that run: one for each version, one for each shadow, and those of sessions whose model is not there."""

from __future__ import annotations

import asyncio
import ctypes
from typing import TYPE_CHECKING, Any

from service.engine.admission import Bounds
from service.engine.engine import Engine
from service.engine.shadow import Shadow
from service.models.fitness import Fitness, warm
from service.models.model import NoModel
from service.sessions.budget import Budget
from service.sessions.sessions import Sessions
from service.store.memory import MemoryStore

if TYPE_CHECKING:
    from service.errors import CarouselError
    from service.models.model import Model, OnnxModel
    from service.settings import Settings
    from service.store.store import Keeper

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Engines:
    """Starts and stops engines over one table of sessions and one store."""

    def __init__(self, settings: Settings, sessions: Sessions, store: Keeper) -> None:
        self._sessions, self._store = sessions, store
        self._waiting = Bounds(settings.max_queue_rows, settings.max_queue_bytes)
        self._running: dict[Engine, asyncio.Task[None]] = {}
        self.closed = False  # those that start accept nothing

    async def start(self, model: OnnxModel, fitness: Fitness, name: str, version: str) -> Engine:
        """Run an engine, with the sessions of its version that are stored."""
        engine = self._engine(model, fitness, name, version, digest=model.description.digest)
        await asyncio.to_thread(warm, model, fitness)
        await self._store.recover(engine)
        engine.admission.closed = self.closed
        self._run(engine)
        return engine

    def stop(self, engine: Engine) -> None:
        """Forget an engine in which no session lives."""
        self._running.pop(engine).cancel()
        self._sessions.release(engine)
        self._store.release(engine)
        engine.close()
        asyncio.get_running_loop().run_in_executor(None, _give_back)

    def cast_shadow(self, live: Engine, beside: Engine | None) -> None:
        """Step a version beside a live one from now on, by an engine of its own; None: none any more."""
        old = live.shadow
        if old is not None and (beside is None or old.engine.model is not beside.model):
            self._running.pop(old.engine).cancel()
            old.engine.close()
            live.shadow = old = None
        if beside is not None and old is None:
            no_sessions = Sessions(Budget(each=1, most_bytes=0), most=0, most_bytes=0)
            engine = Engine(
                beside.model,
                beside.fitness,
                no_sessions,
                MemoryStore(),
                self._waiting,
                name=beside.name,
                version=beside.version,
            )
            live.shadow = Shadow(live, engine)
            self._run(engine)

    def absent(self, name: str, version: str, refusal: CarouselError) -> Engine:
        """An engine for stored sessions whose model is not there: they are told of, and can be deleted."""
        fitness = Fitness(streamable=False, tolerance=0.0, min_batch=1, seconds_per_step=0.0)
        return self._engine(NoModel(), fitness, name, version, refusal=refusal)

    def close(self) -> None:
        """Run no engine any more."""
        for task in self._running.values():
            task.cancel()

    def _engine(self, model: Model, fitness: Fitness, name: str, version: str, **told: Any) -> Engine:
        return Engine(model, fitness, self._sessions, self._store, self._waiting, name=name, version=version, **told)

    def _run(self, engine: Engine) -> None:
        self._running[engine] = asyncio.create_task(engine.run())


def _give_back() -> None:
    """Give memory that is free back to the system: glibc keeps that of models, which is scattered."""
    if _TRIM is not None:
        _TRIM(0)
