"""Sessions that go on in another engine: what was accepted before runs before, and what comes behind is told."""

import asyncio
from typing import Any

import pytest

from service.errors import NotStreamable, Overloaded, ShuttingDown, StoreUnavailable
from service.models.fitness import Fitness
from service.sessions.session import Session
from tests.fakes import FakeStore, until
from tests.service.engine.serving import TTL, Serve, Serving, answered, outputs


async def beside(serve: Serve, it: Serving, **how: Any) -> Serving:
    """Another engine over the same sessions."""
    other = serve(**how)
    other.sessions = other.lifecycle._sessions = other.engine.admission._sessions = it.sessions
    return other


async def end(*all: tuple[Serving, Session]) -> None:
    for serving, session in all:
        await serving.lifecycle.delete(session)


async def test_a_session_moves_behind_its_accepted_calls_with_state_step_and_ttl(serve: Serve) -> None:
    it = serve(started=False)
    other = await beside(serve, it)
    session = it.open()
    first = it.step(session, 1, 2, 3)
    moving = it.engine.migrations.migrate(session, other.engine)
    it.start()
    assert outputs(await first) == [1, 3, 6]
    moved = await moving
    assert (moved.id, moved.home, moved.step, moved.ttl, moved.birth) == ("s", other.engine, 3, TTL, session.birth)
    assert it.sessions.get("s") == moved
    assert outputs(await other.step(moved, 4, step=3)) == [10]
    await it.quiet()
    assert it.engine.table.used == 0
    assert it.sessions.statistics().live == 1
    await end((other, moved))


async def test_what_comes_behind_a_move_ends_unapplied_and_what_shares_a_call_with_it_runs(serve: Serve) -> None:
    it = serve(started=False)
    other = await beside(serve, it)
    session, stays = it.open("s"), it.open("t")
    first = it.step(session, 1)
    moving = it.engine.migrations.migrate(session, other.engine)
    step, frame = it.step(session, 2, step=1), it.frame((session, [3], None), (stays, [4], None))
    reading, deleting = it.lifecycle.read(session), it.lifecycle.delete(session)
    it.start()
    assert outputs(await first) == [1]
    moved = await moving
    for late in (step, reading, deleting):
        with pytest.raises(Overloaded, match="moves"):
            await late
    told = await frame
    assert isinstance(told.errors[0], Overloaded)
    assert answered(told)[1] == [4]
    assert await it.state(stays) == (1, 4)
    assert outputs(await other.step(moved, 5)) == [6]
    await it.quiet()
    await until(lambda: it.engine.table.used == 1)  # the row is freed when the frame has left
    await end((other, moved), (it, stays))


async def test_a_session_may_go_on_from_another_state(serve: Serve) -> None:
    it = serve()
    other = await beside(serve, it)
    session = it.open()
    await it.step(session, 1)
    state = {name: array + 100 for name, array in it.engine.table.gather(session.home.table.last[:1]).items()}
    moved = await it.engine.migrations.migrate(session, other.engine, state=state)
    assert outputs(await other.step(moved, 1, step=1)) == [101]
    await end((other, moved))


async def test_a_move_that_is_refused_changes_nothing(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = it.open()
    await it.step(session, 1)
    whole = await beside(serve, it, fitness=Fitness(False, 0.0, 1, 0.0))
    with pytest.raises(NotStreamable):
        it.engine.migrations.migrate(session, whole.engine)
    closed = await beside(serve, it)
    closed.engine.admission.closed = True
    with pytest.raises(ShuttingDown):
        it.engine.migrations.migrate(session, closed.engine)
    good = await beside(serve, it)
    store.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await it.engine.migrations.migrate(session, good.engine)
    store.error = None
    await until(lambda: good.engine.table.used == 0)
    assert it.sessions.get("s") == session
    assert outputs(await it.step(session, 2, step=1)) == [3]
    await end((it, session))


async def test_calls_that_come_while_a_move_is_written_are_told(serve: Serve) -> None:
    store = FakeStore(held=True)
    it = serve(store=store)
    other = await beside(serve, it)
    opening = asyncio.ensure_future(it.lifecycle.open("s", TTL))
    store.release()
    session = await opening
    moving = asyncio.ensure_future(it.engine.migrations.migrate(session, other.engine))
    late = it.step(session, 1)
    store.held = False
    store.release()
    moved = await moving
    with pytest.raises(Overloaded, match="moves"):
        await late
    assert outputs(await other.step(moved, 2)) == [2]
    await end((other, moved))


async def test_many_copies_of_a_session_that_migrates_meanwhile_are_not_made(serve: Serve) -> None:
    """Its row in the other engine is that of a stranger in this one."""
    it = serve(most=1000)
    other = await beside(serve, it)
    session, first = it.open("s"), other.open("first there")
    stranger = it.open("stranger")
    await it.step(session, 1)
    copying = asyncio.ensure_future(it.lifecycle.fork_many(session, 600))
    await until(lambda: it.engine.table.used > 400)
    moved = await it.engine.migrations.migrate(session, other.engine)
    with pytest.raises(StoreUnavailable):
        await copying
    assert it.sessions.statistics().live == 3
    await end((it, stranger), (other, moved), (other, first))
