"""What a store may do to calls and operations: commit late, refuse rows, fail, or never return."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service.engine.call import Deadline
from service.errors import (
    CarouselError,
    CommitUnknown,
    DeadlineExceeded,
    EngineFailed,
    NonFiniteOutput,
    SessionExists,
    SessionNotFound,
    ShuttingDown,
    StepConflict,
    StoreUnavailable,
)
from service.sessions.sessions import Session
from service.store.store import Advanced, Deleted, Opened, Replaced
from tests.fakes import FakeStore, RunningSum, column, until
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


def warm(it: Serving) -> Any:
    return it.lifecycle.open_warm("s", TTL, column(1, 2))


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
    answer = it.step(session, 7)
    it.engine.run_now()
    assert answer.done()
    store.held = True
    for _ in range(2):
        await asyncio.sleep(0)
    late = it.step(session, 1)
    it.engine.run_now()
    assert (len(store), late.done(), stands(it, session)) == (1, False, (1, 7))
    store.release()
    assert await outcomes(late) == [[8]]
    assert replica(store) == {session.row: Stands("s", 2, 8)}


async def test_a_row_that_the_store_refuses_ends_as_one_that_is_not_finite(serve: Serve) -> None:
    for store, model in ((FakeStore(), RunningSum()), (None, RunningSum(nan_on=13))):
        it = serve(model, store=store, started=False)
        sessions = many(it, 3)
        if store is not None:
            store.conflicts = {sessions[1].row: NonFiniteOutput()}
        frame = it.frame(*((one, [value], 0) for one, value in zip(sessions, (1, 13, 3), strict=True)))
        named, unnamed = it.step(sessions[1], 5, step=1), it.step(sessions[1], 6, 7)
        it.start()
        one, failed, other = answered(await frame)
        assert (one, type(failed), other) == ([1], NonFiniteOutput, [3])
        [fallen] = await outcomes(named)
        assert (type(fallen), fallen.extra) == (StepConflict, {"expected_step": 0})
        if store is not None:
            [refused] = await outcomes(unnamed)
            assert type(refused) is NonFiniteOutput
            store.conflicts.clear()
            assert await outcomes(it.step(sessions[1], 6, 7, step=0)) == [[6, 13]]
        else:
            assert await outcomes(unnamed) == [[6, 13]]
        assert [stands(it, session) for session in sessions] == [(1, 1), (2, 13), (1, 3)]


@pytest.mark.parametrize("held", [False, True])
async def test_steps_that_ran_together_on_a_row_that_the_store_refuses_end_each_for_itself(
    serve: Serve, held: bool
) -> None:
    store = FakeStore()
    it = serve(store=store, started=False)
    bad, good = many(it, 2)
    store.held, store.conflicts = held, {bad.row: StoreUnavailable()}
    calls = [it.step(bad, 1, step=0), it.step(bad, 2), it.step(bad, 3, step=2), it.step(bad, 1, step=0)]
    others = [it.step(good, value) for value in (1, 2, 3)]
    it.start()
    if held:
        await waits(it, store)
        store.release()
    first, second, third, retry = await outcomes(*calls)
    assert [type(one) for one in (first, second, third, retry)] == [StoreUnavailable] * 4
    assert await outcomes(*others) == [[1], [3], [6]]
    assert (stands(it, bad), bad.ahead, stands(it, good)) == ((0, 0), 0, (3, 6))
    assert replica(store)[good.row] == Stands("s1", 3, 6)


class Broken(Exception):
    """An error that only the store knows."""


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("error", [Broken("disk full"), StoreUnavailable("disk full", 50)], ids=type)
async def test_a_store_that_fails_applies_nothing_and_the_next_call_is_served(
    serve: Serve, later: bool, error: Exception
) -> None:
    store = FakeStore()
    it = serve(store=store, chunk=2)
    sessions = many(it, 3)
    store.held, store.error = later, None if later else error
    calls: list[Any] = [it.step(sessions[0], 1, step=0), it.step(sessions[1], 1, 2, 3, step=0)]
    calls += [it.lifecycle.replace(sessions[2], 9, summed(90)), it.lifecycle.open("new", TTL)]
    calls += [it.lifecycle.open_warm("warm", TTL, column(1, 2))]
    if later:
        await waits(it, store, 5)
        store.release(error=error)
    ended = await outcomes(*calls)
    assert [type(one) for one in ended] == [StoreUnavailable] * 5
    assert {"disk full" in one.detail for one in ended} == {True}
    assert {one.extra["retry_after_ms"] for one in ended} == {50 if isinstance(error, StoreUnavailable) else 1000}
    assert [stands(it, session) for session in sessions] == [(0, 0)] * 3
    assert [it.sessions.find(id) for id in ("new", "warm")] == [None, None]
    store.held, store.error = False, None
    assert await outcomes(it.step(sessions[0], 1, step=0), it.step(sessions[2], 4, step=0)) == [[1], [4]]
    assert (await it.lifecycle.open_warm("warm", TTL, column(1, 2))).step == 2
    assert replica(store) == {one.row: Stands(one.id, *stands(it, one)) for one in (*sessions, it.sessions.get("warm"))}


async def test_a_store_that_fails_on_the_short_path_is_told_and_kills_nothing(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = it.open()
    await asyncio.sleep(0)
    store.error = Broken()
    answer = it.step(session, 1)
    it.engine.run_now()
    assert answer.done()
    assert [type(one) for one in await outcomes(answer)] == [StoreUnavailable]
    store.error = None
    assert await outcomes(it.step(session, 1, step=0)) == [[1]]


async def test_a_defect_after_a_late_commit_kills_the_engine_and_every_client_is_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = it.open()
    store.held = True
    calls = [it.step(session, 1), it.step(session, 1, 2)]
    await waits(it, store)
    monkeypatch.setattr(it.engine.answers, "keep", lambda *_: 1 / 0)
    store.release()
    assert [type(one) for one in await outcomes(*calls)] == [EngineFailed] * 2
    assert isinstance(it.engine.admission.dead, ZeroDivisionError)
    assert stands(it, session) == (0, 0)
    it.model.broken = True


async def test_a_commit_that_was_cancelled_is_of_unknown_outcome(serve: Serve) -> None:
    store = FakeStore(held=True)
    it = serve(store=store)
    opening = it.lifecycle.open("s", TTL)
    _, _, done = store._waiting.pop()
    done.cancel()
    assert [type(one) for one in await outcomes(opening)] == [CommitUnknown]
    assert it.sessions.find("s") is None


async def test_while_a_commit_never_returns_others_go_on_and_no_deadline_ends_what_is_being_committed(
    serve: Serve,
) -> None:
    store = FakeStore()
    it = serve(store=store)
    stuck, other = many(it, 2)
    store.held = True
    call = it.step(stuck, 1, deadline=it.clock() + 1)
    await waits(it, store)
    store.held = False
    it.clock.advance(5)
    behind = it.step(stuck, 2, deadline=it.clock())
    assert [type(one) for one in await outcomes(behind)] == [DeadlineExceeded]
    assert await outcomes(it.step(other, 5), it.predict([1])) == [[5], [[1]]]
    assert not call.done()
    assert (stuck.ahead, stuck.waiting) == (1, 1)
    store.release()
    assert await outcomes(call) == [[1]]


async def test_an_abort_tells_of_what_is_being_committed_that_it_is_unknown_and_of_the_rest_that_it_did_not_run(
    serve: Serve,
) -> None:
    store = FakeStore()
    it = serve(store=store, chunk=2)
    sessions = many(it, 6)
    store.held = True
    stuck: list[Any] = [it.step(sessions[0], 1, step=0), it.step(sessions[0], 1, step=0)]
    stuck += [it.lifecycle.replace(sessions[1], 5, summed(50)), it.lifecycle.delete(sessions[2])]
    stuck += [it.lifecycle.open("new", TTL), it.lifecycle.fork(sessions[3], "copy")]
    stuck += [it.lifecycle.open_warm("warm", TTL, column(1))]
    frame = it.frame((sessions[4], [1], 0), (sessions[5], [1, 2], 0))
    await waits(it, store, 6)
    behind: list[Any] = [it.step(sessions[0], 2), it.lifecycle.read(sessions[1]), it.lifecycle.fork(sessions[0], "b")]
    mixed = it.frame((sessions[3], [1], 0), (sessions[0], [1], 0))
    it.engine.abort()
    assert [type(one) for one in await outcomes(*stuck)] == [CommitUnknown] * len(stuck)
    assert [type(one) for one in answered(await frame)] == [CommitUnknown] * 2
    assert [type(one) for one in await outcomes(*behind)] == [ShuttingDown] * len(behind)
    assert [type(one) for one in answered(await mixed)] == [ShuttingDown, CommitUnknown]
    store.release()
    await asyncio.sleep(0)
    assert [stands(it, session) for session in sessions] == [(0, 0)] * 6
    assert [session.ahead for session in sessions] == [0] * 6
    assert [it.sessions.find(id) for id in ("new", "copy", "warm", "b")] == [None] * 4


async def test_an_abort_leaves_the_rows_that_were_committed_answered(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store, batch=2)
    sessions = many(it, 3)
    frame = it.frame(*((session, [5], 0) for session in sessions))
    await until(lambda: len(store.written) == 4)
    assert not frame.done()
    store.held = True
    await waits(it, store)
    it.engine.abort()
    one, other, unknown = answered(await frame)
    assert (one, other, type(unknown)) == ([5], [5], CommitUnknown)


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
    assert it.sessions.seconds_left(it.sessions.get("s")) == TTL


@pytest.mark.parametrize("open", [lambda it: it.lifecycle.open("s", TTL), warm], ids=["new", "history"])
async def test_a_session_whose_opening_the_store_refuses_does_not_exist(
    serve: Serve, open: Callable[[Serving], Any]
) -> None:
    store = FakeStore()
    it = serve(store=store)
    store.conflicts = {1: SessionExists("session 's' exists")}
    assert [type(one) for one in await outcomes(open(it))] == [SessionExists]
    assert (it.sessions.find("s"), it.engine.table.used) == (None, 0)
    store.conflicts.clear()
    assert (await open(it)).id == "s"


@pytest.mark.parametrize("held", [False, True])
async def test_a_session_whose_change_the_store_refuses_stays_as_it_is(serve: Serve, held: bool) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = it.open()
    await it.step(session, 5)
    store.held, store.conflicts = held, {session.row: CarouselError("moved")}
    calls: list[Any] = [it.lifecycle.replace(session, 9, summed(90)), it.lifecycle.delete(session)]
    for _ in calls if held else ():
        await waits(it, store)
        store.release()
    assert [str(one) for one in await outcomes(*calls)] == ["moved"] * 2
    store.held, store.conflicts = False, {}
    assert it.sessions.get("s") == session
    assert it.kept(session, 0, 5)
    assert await outcomes(it.step(session, 1, step=1)) == [[6]]
    assert replica(store) == {session.row: Stands("s", 2, 6)}


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
