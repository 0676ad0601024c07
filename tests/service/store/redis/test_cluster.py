"""A cluster whose servers die, fail over and hand their slots on: no step is lost, doubled or wrong."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from service.errors import CommitUnknown, StoreUnavailable
from service.store.redis.records import key_of
from tests.redis_server import RedisCluster, RedisServer
from tests.service.store.redis.serving import Begin, Shared

IDS = "stuvwxyz"  # of sessions that lie in several buckets


@pytest.fixture
def kind() -> str:
    """Tests of this file have servers of their own."""
    return "server"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Three servers and their replicas, which may be harmed."""
    one = RedisCluster(tmp_path / "cluster", replicas=True)
    yield one
    one.kill()


def primary(cluster: RedisCluster, id: str) -> RedisServer:
    """The server that has a session."""
    with redis.RedisCluster.from_url(cluster.url) as client:
        node = client.get_node_from_key(key_of(id))  # type: ignore[arg-type]
        assert node is not None
        return next(one for one in cluster.servers if one.port == node.port)


async def again(process: Shared, id: str, value: float, step: int) -> list[float]:
    """Step a session by name until it is known what became of it, as a client does."""
    async with asyncio.timeout(30):
        while True:
            with suppress(StoreUnavailable, CommitUnknown):
                return (await process.step(await process.get(id), value, step=step)).sums
            await asyncio.sleep(0.05)


async def test_a_replica_takes_over_from_a_server_that_died(begin: Begin, cluster: RedisCluster) -> None:
    one, other = await begin(cluster.url), await begin(cluster.url)
    for id in IDS:
        await one.step(await one.opened(id), 1, step=0)
    dead = primary(cluster, "s")
    with redis.Redis.from_url(dead.url) as client:
        client.set(key_of("s")[9:13] + b"-written", 1)  # a key of its slot: WAIT is for what its connection wrote
        assert client.wait(1, 30_000) == 1
    dead.kill()
    for id in IDS:
        assert await again(one, id, 1, 0) == [1.0]
        assert await again(other, id, 2, 1) == [3.0]
    dead.start()
    for id in IDS:
        assert await again(one, id, 3, 2) == [6.0]
    assert primary(cluster, "s") is not dead


def hand_on(slot: int, source: RedisServer, target: RedisServer, *, whole: bool) -> Iterator[None]:
    """Move a slot to another server, at once or a key at a time."""
    with redis.Redis.from_url(source.url) as here, redis.Redis.from_url(target.url) as there:
        old, new = (ask(client, "MYID").decode() for client in (here, there))
        if whole:
            ask(here, "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", new)
            return
        ask(there, "SETSLOT", slot, "IMPORTING", old)
        ask(here, "SETSLOT", slot, "MIGRATING", new)
        while keys := ask(here, "GETKEYSINSLOT", slot, 1):
            here.migrate("127.0.0.1", target.port, keys, 0, 5000)
            yield
        for client in (there, here):
            ask(client, "SETSLOT", slot, "NODE", new)


def ask(client: "redis.Redis", *command: object) -> Any:
    """Ask a server something about its cluster."""
    return client.execute_command("CLUSTER", *command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("whole", [True, False])
async def test_sessions_go_on_where_their_slots_went(begin: Begin, cluster: RedisCluster, whole: bool) -> None:
    one = await begin(cluster.url)
    await one.step(await one.opened("s"), 1, step=0)
    source, slot = primary(cluster, "s"), key_slot(key_of("s"))
    target = next(server for server in cluster.servers[:3] if server is not source)
    stepping = asyncio.ensure_future(step_often(one, cluster, source))
    for _ in hand_on(slot, source, target, whole=whole):
        await asyncio.sleep(0.01)
    step = await stepping
    assert await again(one, "s", 1, step) == [step + 1]
    assert primary(cluster, "s") is target


async def step_often(process: Shared, cluster: RedisCluster, source: RedisServer) -> int:
    """Step a session until another server has it → its step."""
    step = 1
    while primary(cluster, "s") is source:
        assert await again(process, "s", 1, step) == [step + 1]
        step += 1
    return step
