"""A store that commits late: nothing is told or applied before, other sessions go on, each change is committed once."""

import asyncio
from typing import Any

import pytest

from service.engine.call import Deadline
from service.errors import (
    SessionExists,
    SessionNotFound,
    StepConflict,
)
from service.sessions.session import Session
from service.store.store import Advanced, Deleted, Opened, Replaced
from tests.fakes import FakeStore, column, until
from tests.service.engine.replica import Stands, replica
from tests.service.engine.serving import TTL, Serve, Serving, answered, outcomes, summed
from tests.service.engine.test_frames import many


async def waits(it: Serving, store: FakeStore, count: int = 1) -> None:
    """Return when so many commits wait, and the engine has nothing more to run."""
    await until(lambda: len(store) == count and not it.engine.calls.ready.is_set())


def stands(it: Serving, session: Session) -> tuple[int, float]:
    """The step and the sum of a session in the table now."""
    return session.step, float(it.engine.table.state["sum"][session.row, 0])


def how(store: FakeStore) -> list[type]:
    """The kinds of the changes that were asked for."""
    return [type(change) for changes in store.commits for change in changes]


async def test_nothing_of_a_step_is_told_or_in_the_table_before_it_is_committed(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = it.open()
    store.held = True
    answer = it.step(session, 7, step=0)
    await waits(it, store)
    assert not answer.done()
    assert (stands(it, session), it.kept(session, 0, 7)) == ((0, 0), False)
    assert (session.ahead, session.waiting) == (1, 1)
    store.release()
    assert await outcomes(answer) == [[7]]
    assert (stands(it, session), it.kept(session, 0, 7)) == ((1, 7), True)
    assert replica(store) == {session.row: Stands("s", 1, 7)}


async def test_nothing_of_a_frame_of_several_lengths_or_of_waiting_steps_is_told_before_it_is_committed(
    serve: Serve,
) -> None:
    store = FakeStore()
    it = serve(store=store, chunk=2, started=False)
    sessions = many(it, 4)
    store.held = True
    frame = it.frame(*((one, [1] * length, 0) for one, length in zip(sessions[:3], (1, 2, 5), strict=True)))
    steps = [it.step(sessions[3], value, step=index) for index, value in enumerate((1, 2, 3))]
    it.start()
    await until(lambda: len(store) == 3 and not len(it.engine._scheduler))
    assert not any(one.done() for one in (frame, *steps))
    assert [stands(it, session) for session in sessions] == [(0, 0)] * 4
    store.held = False
    store.release()
    assert answered(await frame) == [[1], [1, 2], [1, 2, 3, 4, 5]]
    assert await outcomes(*steps) == [[1], [3], [6]]
    assert [one[1:] for one in replica(store).values()] == [(1, 1), (2, 2), (5, 5), (3, 6)]


async def test_other_sessions_go_on_while_one_commit_waits(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    slow, other = many(it, 2)
    store.held = True
    late, behind, predict = it.step(slow, 1), it.step(slow, 2), it.predict([1, 2])
    await waits(it, store)
    store.held = False
    assert await outcomes(it.step(other, 5), it.step(other, 6, 7), predict) == [[5], [11, 18], [[1, 3]]]
    assert stands(it, slow) == (0, 0)
    assert not (late.done() or behind.done())
    store.release()
    assert await outcomes(late, behind) == [[1], [3]]


async def test_calls_and_operations_behind_a_commit_wait_for_it_and_keep_their_order(serve: Serve) -> None:
    store = FakeStore(held=False)
    it = serve(store=store, started=False)
    session = it.open()
    store.held = True
    calls: list[Any] = [it.step(session, 1, 1), it.lifecycle.read(session), it.step(session, 2, step=2)]
    calls += [it.lifecycle.replace(session, 9, summed(90)), it.step(session, 3, step=9), it.lifecycle.delete(session)]
    it.start()
    for done in range(5):
        await waits(it, store)
        assert [one.done() for one in calls] == [index < [0, 2, 3, 4, 5][done] for index in range(6)]
        store.release(1)
        await asyncio.sleep(0)
    first, (step, state), second, _, third, _ = await outcomes(*calls)
    assert (first, step, state["sum"].item(), second, third) == ([1, 2], 2, 2, [4], [93])
    assert how(store) == [Opened, Advanced, Advanced, Replaced, Advanced, Deleted]
    assert replica(store) == {}


async def test_the_retry_of_a_step_that_is_being_committed_waits_for_it(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = it.open()
    store.held = True
    first = it.step(session, 1, step=0)
    await waits(it, store)
    retry = it.step(session, 1, step=0)
    [wrong] = await outcomes(it.step(session, 2, step=0))
    assert type(wrong) is StepConflict
    store.release()
    assert await outcomes(first, retry) == [[1], [1]]
    assert len(store.written) == 2


async def test_a_step_that_is_run_at_once_is_committed_too(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = it.open()
    await asyncio.sleep(0)
    answer = it.step(session, 7, alone=True)
    assert answer.done()
    store.held = True
    late = it.step(session, 1, step=1, alone=True)
    assert (len(store), late.done(), stands(it, session)) == (1, False, (1, 7))
    behind, retry = it.step(session, 2, step=2, alone=True), it.step(session, 1, step=1, alone=True)
    store.release()
    store.held = False
    assert await outcomes(late, behind, retry) == [[8], [10], [8]]
    assert replica(store) == {session.row: Stands("s", 3, 10)}


async def test_predicts_and_reads_commit_nothing(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = it.open()
    await outcomes(it.predict([1], [2, 3]), it.lifecycle.read(session))
    assert how(store) == [Opened]


async def test_sessions_are_committed_when_they_open_change_and_end_each_once(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store, chunk=2)
    session = it.open("a")
    await it.step(session, 1, 2, 3)
    warm = await it.lifecycle.open_warm("warm", 5.0, column(1, 2, 3, 4, 5))
    given = await it.lifecycle.open("given", 6.0, step=7, state=summed(70))
    copy = await it.lifecycle.fork(session, "copy")
    await it.lifecycle.replace(session, 1, summed(10))
    await it.lifecycle.delete(warm)
    changes = [change for one in store.commits for change in one]
    assert how(store) == [Opened, Advanced, Opened, Opened, Opened, Replaced, Deleted]
    assert [(one.id, one.ttl, one.step) for one in changes if isinstance(one, Opened)] == [
        *(("a", TTL, 0), ("warm", 5.0, 5), ("given", 6.0, 7), ("copy", TTL, 3))
    ]
    assert replica(store) == {
        session.row: Stands("a", 1, 10),
        given.row: Stands("given", 7, 70),
        copy.row: Stands("copy", 3, 6),
    }


async def test_a_session_is_not_found_before_its_opening_is_committed(serve: Serve) -> None:
    store = FakeStore(held=True)
    it = serve(store=store)
    opening = it.lifecycle.open("s", TTL)
    warm = it.lifecycle.open_warm("warm", TTL, column(1))
    await waits(it, store, 2)
    for id in ("s", "warm"):
        with pytest.raises(SessionNotFound):
            it.sessions.get(id)
        with pytest.raises(SessionExists):
            it.lifecycle.open(id, TTL)
    it.clock.advance(10 * TTL)
    it.sessions.sweep(10)
    store.release()
    assert [one.id for one in await outcomes(opening, warm)] == ["s", "warm"]
    assert it.sessions.stands(it.sessions.get("s")).left == TTL


async def test_a_deadline_that_calls_share_is_void_once_one_of_them_is_being_committed(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = it.open()
    store.held = True
    shared = Deadline(it.clock() + 1)
    calls = [it.step(session, value, value, deadline=shared) for value in (1, 2)]
    await waits(it, store)
    it.clock.advance(5)
    store.held = False
    store.release()
    assert await outcomes(*calls) == [[1, 2], [4, 6]]
