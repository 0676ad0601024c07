"""This process as an owner of the sessions of one server: its name and its lease, and whether other owners are dead."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.errors import CarouselError, StoreUnavailable
from service.store.redis import scripts
from service.store.redis.link import Link, LostError, packed
from service.store.redis.records import tables_of

if TYPE_CHECKING:
    from asyncio import Future

    from service.store.clock import Clock
    from service.store.redis.operations import Group
    from service.store.redis.servers import Servers

_log = logging.getLogger("carousel.store")


class Owner:
    """Invariant: no other process takes a session of this name before `_until`, nor later without removing the name."""

    def __init__(self, servers: Servers, tag: bytes, clock: Clock, lease: float, lost: Callable[[Owner], None]) -> None:
        """`tag` is in the keys of the tables of owners; `lost` is told when this owner was fenced."""
        self.owners, self.processes, self.lease, self.clock = tables_of(tag)
        self._clock, self._seconds, self._lost = clock, lease, lost
        self._until = 0.0  # on the monotonic clock
        self._generation = 0  # of the connection: what an older one left on its way is refused
        self._renewing, self._sha = asyncio.Lock(), b""
        self.name = b""
        self.link = Link(partial(servers.connection, self.owners), self._greet, lease)

    def __repr__(self) -> str:
        return f"<Owner {self.name.hex()}, {self.link!r}>"

    def check(self) -> None:
        """Raise StoreUnavailable without a valid lease: another process may have the sessions."""
        if self._clock.monotonic() >= self._until:
            raise StoreUnavailable("the session store does not answer: sessions may be served elsewhere")

    def commit(self, groups: Iterable[Group], *, whole: bool = False) -> Future[list[Any]]:
        """Write sessions → pairs: place of one that has another fence than it should, and that fence.

        `whole`: none is written if one of them has. Raises as `Link.ask`.
        """
        command: list[Any] = [b"EVALSHA", self._sha, 1, self.owners, self.name, self._generation, int(whole)]
        for group in groups:
            command += (group.form, len(group.keys), group.content, *group.keys)
        return self.link.send(packed(command))

    async def _greet(self) -> None:
        """Begin with a new connection: what the last one left on its way is refused from now on."""
        self._generation += 1
        ask = self.link.greeting
        self._sha = await ask("SCRIPT", "LOAD", scripts.COMMIT)
        if not self.name:
            await self._register(ask)
        if not await self._renew(ask):
            await self._reborn(ask)

    async def renew(self) -> None:
        """Renew the lease, under another name if this owner was fenced. Without a connection that is done later."""
        try:
            async with self._renewing:
                if not await self._renew(self.link.ask):
                    await self._reborn(self.link.ask)
        except (LostError, CarouselError) as error:
            _log.debug("the lease is not renewed: %r", error)

    async def _reborn(self, ask: Callable[..., Future[object]]) -> None:
        """This owner was fenced, or the server forgot it: all its sessions go, and come back as they are now."""
        _log.warning("the lease of this process was over: its sessions are looked up anew")
        self._lost(self)
        await self._register(ask)
        await self._renew(ask)

    async def _register(self, ask: Callable[..., Future[object]]) -> None:
        """Draw a new name, and put it on the table of owners."""
        self.name = secrets.token_bytes(16)
        await ask("HSET", self.processes, self.name, process())
        await ask("HSET", self.owners, self.name, self._generation)

    async def _renew(self, ask: Callable[..., Future[object]]) -> bool:
        """Renew the lease → False: this owner was fenced."""
        begin, milliseconds = self._clock.monotonic(), int(1000 * self._seconds)
        alive = b"%r %r" % (self._clock.seconds(), self._clock.wall())
        keys = (self.owners, self.lease + self.name, self.clock)
        given = (self.name, self._generation, milliseconds, alive)
        if await ask("EVAL", scripts.RENEW, 3, *keys, *given) != 1:
            self._until = 0.0
            return False
        self._until = max(self._until, begin + self._seconds)
        return True

    async def fence(self, name: bytes, *, dead: bool) -> bool:
        """Take an owner whose lease is over, or that is dead, off the table → whether it is off."""
        keys = (self.owners, self.processes, self.lease + name)
        return bool(await self.link.ask("EVAL", scripts.FENCE, 3, *keys, name, int(dead)) == 1)


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
