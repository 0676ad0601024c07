"""Connections to the server that has a key: the only one, or one of a cluster. Knows addresses; not sessions."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import redis
from redis.asyncio import ConnectionPool
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, RedisClusterException, RedisError

from service.store.redis.records import BUCKETS, of_bucket, tables_of

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

Address: TypeAlias = "tuple[str, int]"
Slots: TypeAlias = "list[tuple[int, int, Address]]"  # first and last slot, and the server that has them
Beginning: TypeAlias = "tuple[int, tuple[float, float] | None, list[dict[bytes, bytes]], Slots | None]"  # see `begin`

_FRESH = 0.2  # seconds for which a table of slots is not asked for again
_STARTS = b"carousel:epoch"  # counts the starts of processes


class Servers:
    """Invariant: `tags` are those of the tables of owners: one for the only server, or one for each bucket."""

    def __init__(self, url: str, timeout: float, slots: Slots | None) -> None:
        """Connections fail after `timeout` seconds. `slots`: of a cluster, as they were at the start."""
        self._pool = ConnectionPool.from_url(url, protocol=2, socket_timeout=None, socket_connect_timeout=timeout)
        self._timeout, self._slots, self._looked, self._looking = timeout, slots, 0.0, asyncio.Lock()
        self.tags = tags(cluster=slots is not None)

    async def connection(self, key: bytes) -> AbstractConnection:
        """Connect to the server that has a key.

        Raises:
            OSError, RedisError: there is none.

        """
        made: AbstractConnection = (await self.pool(key)).make_connection()  # type: ignore[no-untyped-call]
        async with asyncio.timeout(self._timeout):
            await made.connect()  # type: ignore[no-untyped-call]
        return made

    async def pool(self, key: bytes) -> ConnectionPool:
        """Return a pool for the server that has a key. Raises as `connection`."""
        if self._slots is None:
            return self._pool
        async with self._looking:
            if time.monotonic() - self._looked > _FRESH:
                self._slots = await self._look(self._slots)
                self._looked = time.monotonic()
        return self._at(server_of(self._slots, key))

    async def _look(self, known: Slots) -> Slots:
        """Ask the known servers in random order for the table of slots; the server of the URL last."""
        pools = [self._at(address) for address in {address for *_, address in known}]
        for pool in (*random.sample(pools, len(pools)), self._pool):
            asked = pool.make_connection()  # type: ignore[no-untyped-call]
            with suppress(OSError, RedisError):
                async with asyncio.timeout(self._timeout / 4):
                    try:
                        await asked.connect()
                        await asked.send_command("CLUSTER", "SLOTS")
                        told = await asked.read_response(disable_decoding=True)
                        if told:
                            return slots_of(told, pool.connection_kwargs["host"])
                    finally:
                        await asked.disconnect(nowait=True)
        raise redis.ConnectionError("no server of the cluster answers")

    def _at(self, address: Address) -> ConnectionPool:
        host, port = address
        return ConnectionPool(
            self._pool.connection_class, **self._pool.connection_kwargs | {"host": host, "port": port}
        )


def slots_of(told: list[Any], host: str) -> Slots:
    """Parse the answer to CLUSTER SLOTS of a server on this host."""
    primaries = [(first, last, one[0], one[1]) for first, last, one, *_ in told]
    return [(first, last, (name.decode() if name else host, port)) for first, last, name, port in primaries]


def server_of(slots: Slots, key: bytes) -> Address:
    """Address of the server that has a key. Raises ConnectionError: no server has its slot."""
    slot = key_slot(key)
    for first, last, address in slots:
        if first <= slot <= last:
            return address
    raise redis.ConnectionError(f"no server of the cluster has slot {slot}")


def begin(url: str, timeout: float) -> Beginning:
    """Count a start → number of starts, when a process was last seen alive (see Clock), what buckets hold, and the
    slots of a cluster. Blocks.

    Raises:
        RedisError, RedisClusterException, OSError, ValueError: it cannot be counted within so many seconds.

    """
    until = time.monotonic() + timeout
    while True:
        try:
            return _begin(url, timeout)
        except (redis.ConnectionError, redis.BusyLoadingError, AskError, ClusterDownError, RedisClusterException):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _begin(url: str, timeout: float) -> Beginning:
    slots = None
    with redis.Redis.from_url(url, socket_timeout=timeout) as one:
        if one.info("cluster")["cluster_enabled"]:
            told: list[Any] = one.execute_command("CLUSTER", "SLOTS")
            slots = slots_of(told, one.connection_pool.connection_kwargs["host"])
    with (redis.Redis if slots is None else redis.RedisCluster).from_url(url, socket_timeout=timeout) as client:
        number = client.incr(_STARTS)
        clocks = [tables_of(tag)[3] for tag in tags(cluster=slots is not None)]
        seen = [cast("bytes | None", client.get(key)) for key in clocks]
        held = [cast("dict[bytes, bytes]", client.hgetall(of_bucket(bucket, "held"))) for bucket in range(BUCKETS)]
    alive = max((tuple(map(float, one.split())) for one in seen if one), default=None)
    return number, cast("tuple[float, float] | None", alive), held, slots


def tags(*, cluster: bool) -> list[bytes]:
    """Hash tags of the tables of owners."""
    return [b"%02x" % bucket for bucket in range(BUCKETS)] if cluster else [b"owners"]
