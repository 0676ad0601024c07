"""A server that stands still, dies, forgets or is damaged: no step is lost, doubled or wrong."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from service.errors import CarouselError, CommitUnknown, SessionNotFound, StepConflict, StoreUnavailable
from service.store.redis.link import Link
from service.store.redis.records import key_of
from service.store.store import StoreRefusedError
from tests.redis_server import RedisServer
from tests.service.store.redis.serving import Begin, Shared


@pytest.fixture
def kind() -> str:
    """A cluster has faults of its own."""
    return "server"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of one's own, which may be harmed."""
    one = RedisServer(tmp_path / "redis")
    yield one
    one.kill()


async def again(process: Shared, value: float, step: int) -> list[float]:
    """Step a session by name until it is known what became of it, as a client does."""
    while True:
        try:
            return (await process.step(await process.get("s"), value, step=step)).sums
        except (StoreUnavailable, CommitUnknown):
            await asyncio.sleep(0.05)


async def test_a_commit_on_its_way_when_the_server_stands_still_is_applied_once_or_not(
    begin: Begin, server: RedisServer
) -> None:
    one = await begin(server.url, lease=20.0)
    session = await one.opened("s")
    for step in range(5):
        server.pause()
        answer = asyncio.ensure_future(one.step(session, 1, step=step))
        while not one.owner().link._asked:  # noqa: ASYNC110  # it is sent
            await asyncio.sleep(0)
        stream = one.owner().link._stream
        assert stream is not None
        stream.transport.abort()  # the connection is lost; the server still has the command to read
        server.go_on()
        try:
            assert (await answer).sums == [step + 1]
        except StoreUnavailable:
            assert await again(one, 1, step) == [step + 1]
        assert await one.state(await one.get("s")) == (step + 1, step + 1)


async def test_a_broken_connection_takes_no_command_before_it_is_noticed(begin: Begin) -> None:
    one = await begin()
    link = one.owner().link
    assert link._stream is not None
    link._stream.transport.abort()
    with pytest.raises(StoreUnavailable):
        link.ask("PING")
    assert link.up


async def test_an_outcome_that_stays_unknown_is_told_as_such_and_looked_up_later(
    begin: Begin, server: RedisServer
) -> None:
    one = await begin(server.url, lease=0.5)
    session = await one.opened("s")
    server.pause()
    unknown = one.step(session, 1, step=0)
    while not one.owner().link._asked:  # noqa: ASYNC110  # it is run; what comes now waits behind it
        await asyncio.sleep(0)
    ended = await asyncio.gather(unknown, one.step(session, 2, step=1), return_exceptions=True)
    server.go_on()
    assert [error.code for error in ended if isinstance(error, CarouselError)] == [
        "commit_unknown",
        "store_unavailable",
    ]
    assert await again(one, 1, 0) == [1.0]
    assert await again(one, 2, 1) == [3.0]


async def test_a_server_that_is_killed_and_comes_back_has_all_that_was_answered(
    begin: Begin, server: RedisServer
) -> None:
    one = await begin(server.url)
    session = await one.opened("s")
    await one.step(session, 1, step=0)
    server.kill()
    with pytest.raises((StoreUnavailable, CommitUnknown)):
        await one.step(session, 2, step=1)
    server.start()
    assert await again(one, 2, 1) == [3.0]


async def test_a_server_that_lost_its_end_tells_where_a_session_stands(begin: Begin, server: RedisServer) -> None:
    one = await begin(server.url)
    session = await one.opened("s")
    for step in range(6):
        await one.step(session, 1, step=step)
    server.kill()
    server.cut(700)
    server.start()
    with pytest.raises(StepConflict) as conflict:
        await again(one, 1, 6)
    stands = conflict.value.extra["expected_step"]
    assert 0 < stands < 6
    assert await one.state(await one.get("s")) == (stands, stands)
    assert await again(one, 1, stands) == [stands + 1]


async def test_a_full_server_applies_nothing_says_why_and_heals_when_it_has_room(
    begin: Begin, server: RedisServer
) -> None:
    one = await begin(server.url)
    session = await one.opened("s")
    await one.step(session, 1, step=0)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)
        ended = await asyncio.gather(one.step(session, 2, step=1), one.opened("new"), return_exceptions=True)
        assert [type(error) for error in ended] == [StoreUnavailable] * 2
        assert all("maxmemory" in str(error) for error in ended)
        assert await one.state(one.sessions.get("s")) == (1, 1.0)
        client.config_set("maxmemory", 0)
    assert await again(one, 2, 1) == [3.0]
    assert await one.state(await one.opened("new")) == (0, 0.0)


async def test_a_session_with_any_byte_flipped_is_refused_by_name(
    begin: Begin, client: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    one = await begin()
    for id in ("s", "other"):
        session = await one.opened(id)
        await one.step(session, 1, 2)
        await one.step(session, 3)
    await one.end()
    fields = client.hgetall(key_of("s"))
    other = await begin()
    rng = np.random.default_rng(0)
    for name, value in sorted(fields.items()):  # type: ignore[union-attr]
        first = 16 if name == b"fence" else 0  # who owns it is not sealed: an unknown owner has no lease
        for place in rng.choice(range(first, len(value)), min(12, len(value) - first), replace=False).tolist():
            flipped = value[:place] + bytes([value[place] ^ 1 << int(rng.integers(8))]) + value[place + 1 :]
            client.hset(key_of("s"), name, flipped)
            caplog.clear()
            with pytest.raises(SessionNotFound):
                await other.get("s")
            assert "session 's' is refused" in caplog.text
        client.hset(key_of("s"), name, value)
    assert await other.state(await other.get("s")) == (3, 6.0)
    assert await other.state(await other.get("other")) == (3, 6.0)


def test_a_server_that_is_not_there_is_refused_at_the_start(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.redis.store._BEGIN", 0.1)
    with pytest.raises(StoreRefusedError, match="cannot be used"):
        asyncio.run(begin("redis://127.0.0.1:1/0"))  # type: ignore[arg-type]


async def test_a_command_is_given_up_when_it_is_found_late_twice() -> None:
    async def never() -> Any:
        raise NotImplementedError

    link, answer = Link(never, never, 0.08), asyncio.get_running_loop().create_future()
    link._asked.append((answer, 0.0))  # this process stood still: the answer may be there, and is not read yet
    watch = asyncio.ensure_future(link._watch())
    await asyncio.sleep(0)
    assert not watch.done()
    with pytest.raises(TimeoutError):
        await watch
