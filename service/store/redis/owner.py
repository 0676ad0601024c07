"""This process as an owner of sessions: its name and its lease, and whether other owners are dead."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import redis

from service.errors import StoreUnavailable
from service.store.redis import scripts
from service.store.redis.records import BUCKETS, held_of

if TYPE_CHECKING:
    from asyncio import Future

    from service.store.embedded.clock import Clock
    from service.store.redis.link import Link

OWNERS, PROCESSES, LEASE, CLOCK = (
    b"carousel:{owners}:names",
    b"carousel:{owners}:processes",
    b"carousel:{owners}:lease:",
    b"carousel:{owners}:clock",
)


class Owner:
    """Invariant: nobody else takes a session of this name before `_until`, nor ever without taking the name away."""

    def __init__(self, link: Link, clock: Clock, lease: float) -> None:
        self._link, self._clock, self._lease = link, clock, lease
        self._until = 0.0  # on the monotonic clock
        self.generation = 0  # of the connection: what an older one left on its way is refused
        self.name = b""

    def __repr__(self) -> str:
        return f"<Owner {self.name.hex()}>"

    def check(self) -> None:
        """Raise StoreUnavailable without a valid lease: another process may have the sessions."""
        if self._clock.monotonic() >= self._until:
            raise StoreUnavailable("the session store does not answer: sessions may be served elsewhere")

    async def register(self, ask: Callable[..., Future[object]]) -> None:
        """Draw a new name, and put it on the table of owners."""
        self.name = secrets.token_bytes(16)
        await ask("HSET", PROCESSES, self.name, process())
        await ask("HSET", OWNERS, self.name, self.generation)

    async def renew(self, ask: Callable[..., Future[object]]) -> bool:
        """Renew the lease → False: this owner was fenced."""
        begin, milliseconds = self._clock.monotonic(), int(1000 * self._lease)
        alive = b"%r %r" % (self._clock.seconds(), self._clock.wall())
        keys = (OWNERS, LEASE + self.name, CLOCK)
        given = (self.name, self.generation, milliseconds, alive)
        if await ask("EVAL", scripts.RENEW, 3, *keys, *given) != 1:
            self._until = 0.0
            return False
        self._until = begin + self._lease
        return True

    async def fence(self, name: bytes, *, dead: bool) -> bool:
        """Take an owner whose lease is over, or that is dead, off the table → whether it is off."""
        keys = (OWNERS, PROCESSES, LEASE + name)
        return bool(await self._link.ask("EVAL", scripts.FENCE, 3, *keys, name, int(dead)) == 1)


def begin(url: str, patience: float) -> tuple[int, tuple[float, float] | None, list[dict[bytes, bytes]]]:
    """Count a start → its number, when a process was last seen alive (see Clock), and what buckets hold. Blocks.

    Raises:
        RedisError, OSError, ValueError: it cannot be counted within so many seconds.

    """
    until = time.monotonic() + patience
    with redis.Redis.from_url(url, socket_timeout=patience) as server:
        while True:
            try:
                number, alive = server.incr(b"carousel:epoch"), cast("bytes | None", server.get(CLOCK))
                held = [cast("dict[bytes, bytes]", server.hgetall(held_of(bucket))) for bucket in range(BUCKETS)]
                break
            except (redis.ConnectionError, redis.BusyLoadingError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
    seconds = [float(one) for one in alive.split()] if alive else []
    return number, (seconds[0], seconds[1]) if seconds else None, held


def process() -> bytes:
    """What tells this process from all others of this machine, and of others."""
    return b" ".join((*_machine(), b"%d" % os.getpid(), _born(os.getpid())))


def dead(told: bytes) -> bool:
    """Whether it is known that a process is dead: one of this machine."""
    *machine, number, born = told.split(b" ") if told.count(b" ") == 3 else (b"", b"", b"0", b"")
    return machine == _machine() and _born(int(number)) != born


def _machine() -> list[bytes]:
    """This boot of this machine, and the namespace of process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
        return [boot, os.fsencode(Path("/proc/self/ns/pid").readlink())]
    except OSError:  # no Linux: only leases tell
        return [secrets.token_hex(16).encode(), b""]


def _born(number: int) -> bytes:
    """When a process began, in ticks of the machine; empty: there is none."""
    try:
        fields = Path(f"/proc/{number}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return b""
    return b"" if fields[0] in (b"Z", b"X") else fields[19]
