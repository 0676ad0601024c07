"""Where the server of a key is: always the same one, or by the table of a cluster. Knows addresses; not sessions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import redis
from redis.asyncio import ConnectionPool, RedisCluster
from redis.exceptions import ClusterDownError, RedisClusterException, RedisError

from service.store.redis.records import BUCKETS, held_of, tables_of

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

_FRESH = 0.2  # seconds for which the table of a cluster is not asked for again


class Servers:
    """Invariant: `tags` are those of the tables of owners: one for the only server, or one for each bucket."""

    def __init__(self, url: str, patience: float, *, cluster: bool) -> None:
        """A connection is there within `patience` seconds, or fails."""
        how: dict[str, Any] = {"protocol": 2, "socket_timeout": None, "socket_connect_timeout": patience}
        self._pool = ConnectionPool.from_url(url, **how)
        how |= {"socket_timeout": patience, "require_full_coverage": False}
        self._cluster = RedisCluster.from_url(url, **how) if cluster else None
        self._looked = 0.0
        self.tags = tags(cluster=cluster)

    async def connection(self, key: bytes) -> AbstractConnection:
        """Connect to the server that has a key now.

        Raises:
            OSError, RedisError: there is none.

        """
        pool = await self.pool(key)
        made: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await made.connect()  # type: ignore[no-untyped-call]
        except (OSError, RedisError):
            self._looked = 0.0
            raise
        return made

    async def pool(self, key: bytes) -> ConnectionPool:
        """Connections to the server that has a key now. Raises as `connection`."""
        how = self._pool.connection_kwargs | await self._address(key)
        return ConnectionPool(self._pool.connection_class, **how)

    async def _address(self, key: bytes) -> dict[str, Any]:
        if self._cluster is None:
            return {}
        try:
            if time.monotonic() - self._looked > _FRESH:
                await self._cluster.aclose()
                self._looked = time.monotonic()
            await self._cluster.initialize()
            node = self._cluster.get_node_from_key(cast("str", key))
        except RedisClusterException as error:
            raise redis.ConnectionError(f"the cluster cannot be reached: {error}") from error
        if node is None:
            raise redis.ConnectionError("no server of the cluster has the slot")
        return {"host": node.host, "port": node.port}

    async def close(self) -> None:
        """Let go of what is open."""
        if self._cluster is not None:
            await self._cluster.aclose()


class Beginning(NamedTuple):
    """What a process finds when it starts."""

    number: int  # of starts
    alive: tuple[float, float] | None  # when a process was last seen alive: see Clock
    held: list[dict[bytes, bytes]]  # what buckets hold
    cluster: bool


def begin(url: str, patience: float) -> Beginning:
    """Count a start. Blocks.

    Raises:
        RedisError, OSError, ValueError: it cannot be counted within so many seconds.

    """
    until = time.monotonic() + patience
    while True:
        try:
            return _begin(url, patience)
        except (redis.ConnectionError, redis.BusyLoadingError, ClusterDownError, RedisClusterException) as error:
            if time.monotonic() > until:
                raise redis.ConnectionError(str(error)) from error
            time.sleep(0.1)


def _begin(url: str, patience: float) -> Beginning:
    how = {"socket_timeout": patience}
    with redis.Redis.from_url(url, **how) as one:
        cluster = cast("dict[str, Any]", one.info("cluster"))["cluster_enabled"] == 1
        with redis.RedisCluster.from_url(url, **how) if cluster else one as server:
            number = cast("int", server.incr(b"carousel:epoch"))
            seen = [cast("bytes | None", server.get(tables_of(tag)[3])) for tag in tags(cluster=cluster)]
            held = [cast("dict[bytes, bytes]", server.hgetall(held_of(bucket))) for bucket in range(BUCKETS)]
    alive = max((tuple(map(float, one.split())) for one in seen if one), default=None)
    return Beginning(number, cast("tuple[float, float] | None", alive), held, cluster)


def tags(*, cluster: bool) -> list[bytes]:
    """What stands in the keys of the tables of owners."""
    return [b"%02x" % bucket for bucket in range(BUCKETS)] if cluster else [b"owners"]
