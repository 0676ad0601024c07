"""`carousel serve --workers N`: starts workers over one port, watches them, and passes signals and messages on.

Knows processes; not models or sessions.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from service import logs
from service.store.embedded.lock import Lock
from service.store.embedded.settling import settle
from service.store.store import StoreRefusedError
from service.workers.exchange import Exchange
from service.workers.port import bound
from service.workers.slot import Slot

if TYPE_CHECKING:
    from service.settings import Settings
    from service.workers.channel import Answers

_LOOKS = 5  # at the heartbeats within a lease
_LAST = 2.0  # seconds that workers need to end once they have drained
_ANSWER = 1.0  # seconds that a worker may take to answer what another asks of all
_PAUSE, _LONGEST = 0.1, 30.0  # seconds before a worker is started again; twice as long each time
_LIVED = 10.0  # seconds after which a worker counts as one that works

_log = logging.getLogger("carousel.workers")


class Supervisor:
    """Invariant: a worker whose heartbeat is older than a lease is dead before another takes its place."""

    def __init__(self, settings: Settings, lock: Lock | None = None) -> None:
        """`lock` is that of the embedded store, which all workers hold."""
        self._settings, self._lease, self._store_lock = settings, settings.store_lease_seconds, lock
        self._slots: list[Slot] = []
        self._exchange = Exchange(settings.store_folder, self._slots)  # only workers over an embedded store ask it
        answers: Answers = {"alive": self._alive, "ask_others": self._ask_others, **self._exchange.answers}
        held = None if lock is None else lock.descriptor
        self._slots += [Slot(number, settings, answers, held) for number in range(1, settings.workers + 1)]
        self._stopping = asyncio.Event()
        self._failed = False

    async def run(self) -> int:
        """Serve until a signal stops all workers → the exit code."""
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(one) is not signal.SIG_IGN:  # as nohup has it
                loop.add_signal_handler(one, self._stop, one)
        watching = asyncio.create_task(self._watch())
        codes = await asyncio.gather(*(self._keep(slot) for slot in self._slots))
        watching.cancel()
        return int(self._failed or any(codes))

    def _stop(self, why: signal.Signals) -> None:
        """Let all workers drain; the second time, let them cut."""
        _log.info("%s", why.name)
        self._stopping.set()
        if self._store_lock is not None:
            self._store_lock.drains()
        for slot in self._slots:
            slot.stop()

    async def _keep(self, slot: Slot) -> int:
        """Have a worker in a slot until all stop → the exit code of the last one."""
        pause = _PAUSE
        while not self._stopping.is_set():
            code, lived = await slot.serve(self._exchange.lost)
            if self._stopping.is_set():
                return code
            if code > 0 and not slot.served:
                _log.error("worker %d did not start: all are stopped", slot.number)
                self._failed = True
                self._stop(signal.SIGTERM)
                return code
            pause = _PAUSE if lived > _LIVED else pause
            _log.error("worker %d ended with %d: another is started in %g s", slot.number, code, pause)
            await self._tell_readiness()
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
            except TimeoutError:
                pause = min(2 * pause, _LONGEST)
        return 0

    async def _watch(self) -> None:
        """Kill workers whose heartbeat is older than a lease. While all drain they have the operator's time for it."""
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            await asyncio.sleep(self._lease / _LOOKS)
            now, late = loop.time(), loop.time() - looked > self._lease / 2
            looked = now
            for slot in self._slots:
                if late:  # this process stood still itself
                    slot.seen = max(slot.seen, now)
                elif slot.silent(now) and not self._stopping.is_set():
                    _log.error("worker %d gave no sign of life for %g s: it is killed", slot.number, now - slot.seen)
                    slot.send(signal.SIGKILL)
                    slot.seen = math.inf

    async def _alive(self, slot: Slot, unready: str | None) -> None:
        fresh, slot.heard, slot.seen = not slot.heard, True, asyncio.get_running_loop().time()
        before, slot.told = (slot.counts, slot.told), unready
        if unready is None:
            slot.served = slot.counts = True
        if fresh or before != (slot.counts, unready):
            await self._tell_readiness()

    async def _tell_readiness(self) -> None:
        for slot in self._slots:
            if slot.channel is not None and slot.heard:
                slot.channel.tell("others", self._unready(slot))

    def _unready(self, asker: Slot) -> str | None:
        """Why no traffic should come to the workers beside this one that take connections; None: it may."""
        told = (slot for slot in self._slots if slot is not asker and slot.counts and slot.told)
        return next((f"worker {slot.number}: {slot.told}" for slot in told), None)

    async def _ask_others(self, asker: Slot, what: str, given: tuple[Any, ...]) -> list[Any]:
        """What all other workers answer that are there."""
        there = [slot.channel for slot in self._slots if slot is not asker and slot.heard]
        if not (asked := [channel.ask(what, *given) for channel in there if channel is not None]):
            return []
        done, late = await asyncio.wait(asked, timeout=_ANSWER)
        for one in late:
            one.cancel()
        return [one.result() for one in done if one.exception() is None]


def serve(settings: Settings) -> None:
    """Run the workers until a signal stops them."""
    logs.configure(settings.log_level)
    try:
        held = bound(settings.host, settings.port, first=True)  # so that no other service takes the port
    except (OSError, UnicodeError) as error:
        _log.error("%s:%d cannot be listened on: %s (CAROUSEL_HOST, …_PORT)", settings.host, settings.port, error)
        raise SystemExit(1) from error
    known: dict[str, object] = {"port": held[0].getsockname()[1]}
    if settings.lame_duck_seconds is None and sys.stdin.isatty():
        known["lame_duck_seconds"] = 0  # workers have no terminal
    settings = settings.model_copy(update=known)
    try:
        lock = _taken(settings) if settings.store == "embedded" else None
    except StoreRefusedError as error:
        _log.error("%s", error)
        raise SystemExit(1) from error
    _log.info("%d workers over http://%s:%d", settings.workers, settings.host, settings.port)
    raise SystemExit(uvloop.run(Supervisor(settings, lock).run()))


def _taken(settings: Settings) -> Lock:
    """The lock of the embedded store, whose folders are ready for the workers."""
    path = settings.store_folder
    lock = Lock(path / "lock", settings.drain_seconds + _LAST)
    settle(path, settings.workers)
    return lock
