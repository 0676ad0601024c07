"""A server and a cluster for the tests of this folder, emptied before each, and processes over them."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from tests.fakes import FakeClock
from tests.redis_server import GIVEN, RedisCluster, RedisServer
from tests.service.store.redis.serving import Begin, Shared


@pytest.fixture(scope="session")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server and a cluster that all tests share."""
    one = None if GIVEN in os.environ else RedisServer(tmp_path_factory.mktemp("redis"))
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    yield {"server": os.environ[GIVEN] if one is None else one.url, "cluster": cluster.url}
    cluster.kill()
    if one is not None:
        one.kill()


@pytest.fixture(params=["server", "cluster"])
def kind(request: pytest.FixtureRequest) -> str:
    """What the store is."""
    return str(request.param)


@pytest.fixture
def url(kind: str, urls: dict[str, str]) -> str:
    """Where it is."""
    return urls[kind]


@pytest.fixture
def client(kind: str, url: str) -> "Iterator[redis.Redis]":
    """The store, empty, as it is seen from outside."""
    with (redis.RedisCluster if kind == "cluster" else redis.Redis).from_url(url) as one:
        one.flushdb()
        yield one


@pytest.fixture
def wall() -> FakeClock:
    """The system's clock."""
    return FakeClock(1e9)


@pytest.fixture
async def begin(url: str, client: "redis.Redis", wall: FakeClock) -> AsyncIterator[Begin]:
    """Begin a process over the store; those that live are ended."""
    begun: list[Shared] = []

    async def start(at: str = url, **how: object) -> Shared:
        begun.append(
            Shared(**{name: how.pop(name) for name in ("model", "replay", "most", "most_bytes") if name in how})
        )  # type: ignore[arg-type]
        return await begun[-1].begin(at, wall, **how)

    yield start
    for one in begun:
        if one.loop is not None and not one.loop.done():
            await one.end()
