"""A store that refuses rows, fails, or never returns."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service.errors import (
    CarouselError,
    CommitUnknown,
    DeadlineExceeded,
    EngineFailed,
    NonFiniteOutput,
    SessionExists,
    ShuttingDown,
    StepConflict,
    StoreUnavailable,
)
from tests.fakes import FakeStore, RunningSum, column, until
from tests.service.engine.replica import Stands, replica
from tests.service.engine.serving import TTL, Serve, Serving, answered, outcomes, summed
from tests.service.engine.test_commits import stands, waits
from tests.service.engine.test_frames import many


def warm(it: Serving) -> Any:
    return it.lifecycle.open_warm("s", TTL, column(1, 2))


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
    answer = it.step(session, 1, alone=True)
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
