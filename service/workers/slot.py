"""The place of one worker: its process, those that come after it, and the channel to the one that is there."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from service.workers.channel import Answers, Channel, Order, connect

if TYPE_CHECKING:
    from service.settings import Settings

_FIRST = 120.0  # seconds until a worker gives its first sign of life: it reads its journal before
_LAST = 2.0  # seconds that moves of sessions have to end when all stop

_log = logging.getLogger("carousel.workers")


class Slot:
    """One process at a time. Its channel is lost, and so told, when the process has ended for certain."""

    def __init__(self, number: int, settings: Settings, answers: Answers, lock: int | None) -> None:
        """`answers` are what the worker may ask; each gets this slot first. It inherits the descriptor `lock`."""
        self.number, self._settings, self._lock = number, settings, lock
        self._answers: Answers = {name: partial(act, self) for name, act in answers.items()}
        self.seen = math.inf  # when its last heartbeat came, or it was started, on the loop's clock; inf: it ends
        self.heard = False  # there was a heartbeat, so it answers what it is asked
        self.told: str | None = "it starts"  # why it should get no traffic
        self.served = False  # a worker of this slot was ready once
        self.counts = True  # it takes connections; one that takes another's place does so when it is ready
        self._stopping = False
        self.channel: Channel | None = None
        self.busy: set[asyncio.Task[Any]] = set()  # moves of sessions that end before another worker is started
        self._process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        return f"<Slot {self.number}, {self.told or 'ready'}>"

    def silent(self, now: float) -> bool:
        """Whether its process gave no sign of life for so long that it is to be killed."""
        return now - self.seen > (self._settings.store_lease_seconds if self.heard else _FIRST)

    async def serve(self, lost: Callable[[Channel], None]) -> tuple[int, float]:
        """Run one worker → its exit code, and how many seconds it lived. `lost` is told when it has ended."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            process, ours = await self._begin()
        except OSError as error:  # too many processes or files, say
            _log.error("worker %d cannot be started: %s", self.number, error)
            return 1, 0.0
        self._process, self.seen, self.heard = process, begin, False
        _log.info("worker %d is process %d", self.number, process.pid)
        with suppress(BrokenPipeError):
            Order(self._settings, self.number, late=self.served, lock=self._lock).send(ours)
        channel = self.channel = await connect(ours, self._answers)
        if self._stopping:
            self.stop()
        code = await process.wait()
        if code == -signal.SIGTERM and not self.heard:
            code = 0  # it was stopped before it began
        self._process, self.seen, self.counts = None, math.inf, not self.served
        self.channel = None
        channel.lose()
        lost(channel)
        while self.busy:
            stopping = self._stopping
            await asyncio.wait([*self.busy], timeout=_LAST)
            if stopping:
                break  # the next start compares the folders
        return code, loop.time() - begin

    async def _begin(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        """Begin a process → it, and this end of its channel."""
        ours, its = socket.socketpair()
        with its:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "service.workers.worker", str(its.fileno())),
                    pass_fds=[its.fileno()] if self._lock is None else [its.fileno(), self._lock],
                    start_new_session=True,  # what a terminal sends comes once, from here
                )
            except BaseException:
                ours.close()
                raise
        return process, ours

    def stop(self) -> None:
        """Let the process drain; the second time, let it cut."""
        self._stopping = True
        self.send(signal.SIGTERM)

    def send(self, what: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(what)
