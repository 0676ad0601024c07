"""Sessions that go on in another version, and versions that come and go, over one store."""

import asyncio
from functools import partial

import pytest
import redis

from service.engine.admission import Bounds
from service.engine.engine import Engine
from service.errors import SessionNotFound, StoreUnavailable, VersionNotFound
from service.store.redis.records import key_of
from tests.service.store.redis.serving import Begin, Shared


async def version(process: Shared, name: str) -> Engine:
    """Another version of the model of a process."""
    found, bounds = process.engine.fitness, Bounds(20_000, 10**8)
    told = process.model, found, process.sessions, process.store, bounds
    engine = Engine(*told, digest="ef" * 32, version=name, clock=process.clock)
    await process.store.recover(engine)
    process.others.append(asyncio.create_task(engine.run()))
    return engine


async def test_a_migrated_session_is_of_its_new_version_everywhere(begin: Begin) -> None:
    one, other = await begin(), await begin()
    new, there = await version(one, "2"), await version(other, "2")
    session = await one.opened("s")
    await one.step(session, 1, 2, step=0)
    moved = await one.engine.migrations.migrate(session, new)
    assert (moved.home, moved.step, moved.birth) == (new, 2, session.birth)
    assert not len(one.store.book(one.store.books[one.engine].kind).owned())
    found = await other.get("s")
    assert (found.home, found.version, found.birth) == (there, "2", session.birth)
    _, state = await there.lifecycle.read(found)
    assert float(state["sum"][0, 0]) == 3
    back = await there.migrations.migrate(found, other.engine)
    assert (await other.step(back, 4, step=2)).sums == [7.0]
    assert (await one.step(await one.get("s"), 5, step=3)).sums == [12.0]


async def test_a_session_that_another_had_moves_as_it_is_then(begin: Begin, client: "redis.Redis") -> None:
    one = await begin()
    new, session = await version(one, "2"), await one.opened("s")
    fence = client.hget(key_of("s"), "fence")
    client.hset(key_of("s"), "fence", bytes(16) + fence[16:])  # type: ignore[operator]  # as if it had left
    moved = await one.engine.migrations.migrate(session, new)
    assert (moved.home, moved.step) == (new, 0)
    assert (one.engine.table.used, new.table.used) == (0, 1)
    client.delete(key_of("s"))
    with pytest.raises(SessionNotFound):
        await new.migrations.migrate(moved, one.engine)
    assert one.engine.table.used == 0


async def test_a_step_alone_is_refused_without_a_lease_and_written_with_one(begin: Begin) -> None:
    one, other = await begin(), await begin()
    session = await one.opened("s")
    assert (await one.step(session, 1, step=0, alone=True)).sums == [1.0]
    assert await other.state(await other.get("s")) == (1, 1.0)
    session = await one.get("s")
    one.clock.advance(10)
    with pytest.raises(StoreUnavailable):
        one.step(session, 1, step=1, alone=True)
    assert one.engine.table.ahead[session.row] == 1


async def test_a_start_knows_which_versions_have_sessions(begin: Begin) -> None:
    one = await begin()
    new = await version(one, "2")
    await one.opened("s")
    await new.lifecycle.open("t", 60.0)
    await one.crash()
    assert (await begin()).store.stored() == {("model", "1"), ("model", "2")}


async def test_a_version_goes_a_while_after_its_last_session_anywhere(begin: Begin) -> None:
    one, other = await begin(), await begin()
    new = await version(one, "2")
    there = await version(other, "2")
    await new.lifecycle.open("s", 60.0)
    await there.migrations.migrate(await other.get("s"), other.engine)
    for seconds, kept in ((0, True), (59, True), (2, False)):
        one.clock.advance(seconds)
        await one.renew()
        await one.store._upkeep.look()
        assert one.store.holds(new) == kept
        assert one.store.holds(one.engine)


async def test_a_session_that_waits_for_its_version_goes_on_when_it_comes(begin: Begin) -> None:
    one = await begin()
    new = await version(one, "2")
    session = await new.lifecycle.open("s", 60.0)
    await one.crash()
    late = await begin()
    with pytest.raises(VersionNotFound):
        await late.get("s")
    new = await version(late, "2")
    found = await late.get("s")
    assert (found.home, found.birth) == (new, session.birth)
    await new.lifecycle.delete(found)


async def test_a_session_that_came_while_its_model_was_unloaded_has_its_state_when_it_is_loaded(begin: Begin) -> None:
    one, other = await begin(), await begin()
    await one.step(await one.opened("s"), 5, step=0)
    other.engine.refusal = VersionNotFound("it is unloaded")
    with pytest.raises(VersionNotFound):
        await other.get("s")
    assert other.sessions.known("s").step == 1
    other.engine.refusal = None
    assert (await other.step(await other.get("s"), 5, step=0)).sums == [5.0]
    assert (await other.step(await other.get("s"), 1, step=1)).sums == [6.0]


async def test_a_move_on_its_way_when_the_connection_is_lost_is_done_once_or_not(begin: Begin) -> None:
    one = await begin(lease=20.0)
    engines = {"1": one.engine, "2": await version(one, "2")}
    session = await one.opened("s")
    await one.step(session, 1, step=0)
    for turn in range(6):
        session = await one.get("s")
        source, target = engines[session.version], engines["2" if session.version == "1" else "1"]
        done = await one.cut(partial(source.migrations.migrate, session, target), sent=turn % 2 == 0)
        moved = target if done else source
        found = await one.get("s")
        assert (found.home, found.step, found.birth) == (moved, 1, session.birth)
        assert [len(one.store.books[engine].owned()) for engine in engines.values()] == [
            int(engine is moved) for engine in engines.values()
        ]
    await engines[found.version].lifecycle.delete(found)
