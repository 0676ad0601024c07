"""One server for the tests of this folder, emptied before each, and processes over it."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from tests.fakes import FakeClock
from tests.redis_server import GIVEN, RedisServer
from tests.service.store.redis.serving import Begin, Shared


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that all tests share."""
    if GIVEN in os.environ:
        yield os.environ[GIVEN]
        return
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.kill()


@pytest.fixture
def client(url: str) -> Iterator["redis.Redis"]:
    """The store, empty, as it is seen from outside."""
    with redis.Redis.from_url(url) as one:
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
