"""The process: uvicorn around the service, and what a signal does. Knows nothing of models or sessions."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from contextvars import Context
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from service import logs
from service.api.http.connection import HttpConnection
from service.api.stream.websocket import Socket
from service.main import Carousel
from service.store.store import StoreRefusedError
from service.workers.port import bound

if TYPE_CHECKING:
    from service.settings import Settings
    from service.workers.worker import Worker

_GARBAGE = 50_000, 20, 20  # objects before a look for cycles, of which a call makes none: a step gains 3 %

_log = logging.getLogger("carousel.server")


class Server(uvicorn.Server):
    """uvicorn, but a signal drains before it stops: uvicorn alone would cut sockets that have answers to come."""

    def __init__(self, config: uvicorn.Config, carousel: Carousel) -> None:
        super().__init__(config)
        self._carousel = carousel
        self._draining: asyncio.Future[None] | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Bind and listen, and say where."""
        self._loop = asyncio.get_running_loop()
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # else it is ignored, as nohup has it
            self._loop.add_signal_handler(signal.SIGHUP, self.handle_exit, signal.SIGHUP, None)
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            gc.collect()
            gc.freeze()  # what is there now stays: to look through it took 40 ms each time, and all clients waited
            gc.set_threshold(*_GARBAGE)
            gc.enable()
            _log.info("serving http://%s:%d, documented at /docs", self.config.host, self._port())

    def _port(self) -> int:
        """The one that was bound: 0 asks for any."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain, then stop. Second: stop. The request that it interrupts has no part in it."""
        Context().run(self._exit, signal.Signals(sig).name)

    def _exit(self, why: str) -> None:
        _log.info("%s", why)
        if self._draining is not None or not self.started:
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(self._begin_draining)

    def _begin_draining(self) -> None:
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._carousel.drain())
            self._draining.add_done_callback(lambda _: setattr(self, "should_exit", True))


def _check_ports(settings: Settings) -> None:
    """Look whether the ports can be listened on. Raises ValueError."""
    for port in (settings.port, settings.grpc_port):
        try:
            for one in bound(settings.host, port, first=True) if port else ():
                one.close()
        except (OSError, UnicodeError) as error:
            raise ValueError(
                f"{settings.host}:{port} cannot be listened on: {error} (CAROUSEL_HOST, …_PORT)"
            ) from error


def serve(settings: Settings, worker: Worker | None = None) -> None:
    """Run the service until a signal stops it; as a `worker`, beside others on its port."""
    logs.configure(settings.log_level)
    try:
        if worker is None:
            _check_ports(settings)
        carousel = Carousel(settings, worker)
    except ValueError as error:
        _log.error("%s", error)
        raise SystemExit(1) from error
    config = uvicorn.Config(
        carousel.asgi,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=partial(HttpConnection, carousel.lane, carousel.guard),  # type: ignore[arg-type]  # whatever makes one
        ws=partial(Socket, carousel.streams.serve, carousel.edge, carousel.guard, settings.max_body_bytes),  # type: ignore[arg-type]
        proxy_headers=False,  # the client's address is not used
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    gc.disable()  # until it listens: what a store has is read meanwhile, and has no cycles
    try:
        carousel.store.start()
    except StoreRefusedError as error:
        _log.error("%s", error)
        raise SystemExit(1) from error
    Server(config, carousel).run(bound(settings.host, settings.port) if worker is not None else None)
