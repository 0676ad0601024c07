"""The composition root: settings → sessions → models → engines → doors, and how the whole starts and drains.

The only place where the parts are wired; nothing else builds one.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from service.api import openapi
from service.api.application import application
from service.api.guard import Guard
from service.api.http.browser import Browsers, Guarded
from service.api.http.edge import Edge, Named
from service.api.http.request import INFER, MANY, PREDICT, STEPS
from service.api.json.calls import JsonCalls
from service.api.json.lane import JsonLane
from service.api.json.pool import JsonPool
from service.api.oip import Oip
from service.api.oip_infer import Infer
from service.api.ops import Metrics, Ops
from service.api.rest import Rest
from service.api.stream.streams import Streams
from service.engines import Engines
from service.models.examiner import Examiner
from service.models.model import available, known
from service.models.providers import providers_of, read_options
from service.models.repository import Hosts, Repository
from service.sessions.budget import Budget
from service.sessions.sessions import Sessions
from service.store.embedded.lock import Share
from service.store.embedded.settling import folder_of
from service.store.embedded.shared import SharedStore
from service.store.embedded.store import EmbeddedStore
from service.store.memory import MemoryStore
from service.store.redis.store import RedisStore

if TYPE_CHECKING:
    from service.api.json.answering import Answering
    from service.api.oip_grpc import GrpcDoor
    from service.engine.engine import Engine
    from service.settings import Settings
    from service.store.store import Keeper
    from service.workers.worker import Worker

_SETTLE_SECONDS = 0.5
_SWEEP_SECONDS, _SWEPT = 0.01, 200  # so a million sessions are looked at within a minute, and no call feels it

_LAME_DUCK_SECONDS = 2.0  # a balancer looks about once a second
_LAST_SECONDS = 1.0  # for the answers to what was ended when the time to drain was over

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)

_log = logging.getLogger("carousel.main")


class Carousel:
    """The service. A server starts `store`, runs `asgi`, `lane`, `streams`, `guard`, and calls `drain` at the end.

    Raises:
        ValueError: a provider that is asked for is not there, or the packages of gRPC.

    """

    def __init__(self, settings: Settings, worker: Worker | None = None) -> None:
        self._settings, self._worker = settings, worker
        self._options = read_options(settings.provider_options, known())
        self._providers = providers_of(settings.providers, available(), self._options)
        budget = Budget(each=settings.replay, most_bytes=settings.max_replay_bytes)
        self._sessions = Sessions(budget, most=settings.max_sessions, most_bytes=settings.max_session_bytes)
        self.store = _store(settings, self._sessions, worker)
        self._engines = Engines(settings, self._sessions, self.store)
        hosts = Hosts(self._engines.start, self._engines.stop, self._engines.cast_shadow, self.store.holds)
        self._repository = Repository(settings.models, hosts, settings.versions)
        self._pool = JsonPool(settings.max_queue_bytes, settings.max_queue_rows)
        self.browsers, self.guard = Browsers(settings), Guard(settings)
        self.streams = Streams(self._repository, self._sessions, settings, self._pool, self.browsers)
        self._aside = self._examiner(aside=True)  # for what changes while others are served
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = self._recovered = False
        self.app = application(self._lifespan)
        self.edge, calls = Edge(), JsonCalls(self._repository, self._sessions, settings, self._pool)
        infer = Infer(self._repository, self._sessions, settings, self._pool)
        doors: dict[str, Answering] = {STEPS: calls, MANY: calls, PREDICT: calls, INFER: infer}
        self.lane = JsonLane(doors, self._sessions, self.edge, settings.max_body_bytes, self.browsers.serves)
        self.asgi = Named(Guarded(self.app, self.browsers), self.edge)
        rest = Rest(self._repository, self._sessions, settings, calls, self._pool)
        ops = Ops(self._unready, Metrics(self._repository, self._sessions, self.edge, self.guard), worker)
        oip = Oip(self._repository, settings, infer, self._unready, self._reload)
        self._grpc = None if settings.grpc_port is None else self._over_grpc(oip)
        for door in (rest, ops, oip):
            self.app.include_router(door.router())
        openapi.install(self.app)

    async def drain(self) -> None:
        """Stop without losing an answer, in two steps.

        For `lame_duck_seconds` readiness is red and calls are served, so that balancers look elsewhere. Then new calls
        are refused, accepted ones answered and streams closed; after `drain_seconds` more the rest is refused.
        """
        self._leaving = True
        await asyncio.sleep(self._lame_duck_seconds())
        self._engines.closed = True
        self.store.ends()
        self.streams.stop()  # before the gates close: a frame that is read is accepted
        engines = self._repository.running()
        for engine in engines:
            engine.admission.closed = True
        _log.info("draining: %d streams, %r", len(self.streams), self._sessions)
        done = asyncio.gather(self.streams.drained(), *(engine.drained() for engine in engines))
        try:
            await asyncio.wait_for(asyncio.shield(done), self._settings.drain_seconds)
        except TimeoutError:
            _log.error("not drained within %g s: what is left ends unapplied", self._settings.drain_seconds)
            for engine in engines:
                engine.abort()
            await asyncio.wait([done], timeout=_LAST_SECONDS)

    def _over_grpc(self, oip: Oip) -> GrpcDoor:
        try:
            from service.api.oip_grpc import GrpcDoor, InferByGrpc
        except ImportError as error:
            raise ValueError(f"grpc_port needs the extra: pip install 'carousel-serving[grpc]' ({error})") from error
        infer = InferByGrpc(self._repository, self._sessions, self._settings, self._pool)
        return GrpcDoor(oip, infer, self._settings)

    def _unready(self) -> str | None:
        return self._unready_here() or (self._worker.unready if self._worker is not None else None)

    def _unready_here(self) -> str | None:
        if self._leaving:
            return "shutting down"
        return self._repository.unready() or (None if self._recovered else "sessions are being recovered")

    def _lame_duck_seconds(self) -> float:
        given = self._settings.lame_duck_seconds
        return given if given is not None else 0.0 if sys.stdin.isatty() else _LAME_DUCK_SECONDS

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        beats = None if self._worker is None else asyncio.create_task(self._worker.run(self._unready_here))
        self._keep(loading := asyncio.create_task(self._load()))
        self._keep(asyncio.create_task(self._sweep()))
        self._keep(asyncio.create_task(self.guard.watch()))
        if self._worker is not None and self._worker.order.late:
            await loading
        if self._grpc is not None:
            await self._grpc.start()
        yield
        if self._grpc is not None:
            await self._grpc.stop()
        for task in self._tasks:
            task.cancel()
        self._engines.close()
        self._pool.close()
        self._aside.close()
        await self.store.close()
        if beats is not None:
            beats.cancel()

    def _absent(self, name: str, version: str) -> Engine:
        return self._engines.absent(name, version, self._repository.absence(name, version))

    async def _load(self) -> None:
        self._repository.stored = self.store.stored()
        with closing(self._examiner()) as examiner:
            await self._repository.load(examiner.load)
        await self.store.recovered(self._absent)
        self._recovered = True
        self._keep(asyncio.create_task(self._follow()))

    def _examiner(self, *, aside: bool = False) -> Examiner:
        settings = self._settings
        return Examiner(
            batch=settings.batch,
            chunk=settings.chunk,
            threads=settings.threads,
            aside=aside,
            providers=self._providers,
            options=self._options,
        )

    async def _reload(self, model: str | None = None) -> list[str]:
        """Follow what has changed in the folder, or in that of one model → what went wrong."""
        return await self._repository.follow(self._aside.load, model)

    async def _follow(self) -> None:
        """Look at the folder from time to time, if the operator wants that, and let go of what is not used."""
        every, looked = self._settings.watch_seconds, time.monotonic()
        while True:
            await asyncio.sleep(_SETTLE_SECONDS)
            try:
                self._repository.settle()
                self._aside.rest()
                if every and time.monotonic() - looked >= every:
                    await self._reload()
                    looked = time.monotonic()
            except Exception:
                _log.exception("the folder of models cannot be followed")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._sessions.sweep(_SWEPT)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _store(settings: Settings, sessions: Sessions, worker: Worker | None) -> Keeper:
    if settings.store == "memory":
        return MemoryStore()
    if settings.store == "redis":
        bounds: dict[str, Any] = {"lease": settings.store_lease_seconds, "resident": settings.resident_bytes}
        return RedisStore(settings.store_url.get_secret_value(), sessions, **bounds)
    how: dict[str, Any] = {
        "sync": settings.store_sync,
        "behind": settings.store_behind_ms / 1000 if settings.store_write == "behind" else 0.0,
        "resident": settings.resident_bytes,
        "replay_seconds": settings.store_replay_seconds,
    }
    if worker is None:
        patience = settings.drain_seconds + 2 * _LAST_SECONDS
        return EmbeddedStore(settings.store_folder, sessions, patience=patience, **how)
    number, lock = worker.order.number, worker.order.lock
    assert lock is not None
    how |= {"path": folder_of(settings.store_folder, number), "share": Share(number - 1, lock)}
    return SharedStore(sessions, worker, settings.store_lease_seconds, **how)
