"""A bad row harms no other; a dead engine leaves no client waiting."""

import asyncio

import pytest

from service.errors import EngineFailed, InvalidInput, NonFiniteOutput, SessionNotFound, ShuttingDown
from service.models.fitness import Fitness
from service.sessions.reach import vacant
from tests.fakes import RunningSum, column, until
from tests.service.engine.serving import TTL, Serve, outcomes, outputs, summed


@pytest.mark.parametrize("how", [{}, {"in_a_thread": True}, {"fitness": Fitness(True, 0.0, 2, 0.0)}], ids=str)
async def test_a_row_that_the_model_refuses_fails_alone(serve: Serve, how: dict[str, object]) -> None:
    it = serve(RunningSum(raises_on=13), started=False, **how)
    sessions = [it.open(str(index)) for index in range(3)]
    values = [(1, 2), (3, 13), (4, 5)]
    answers = [it.step(session, *pair, step=0) for session, pair in zip(sessions, values, strict=True)]
    it.start()
    one, bad, other = await outcomes(*answers)
    assert isinstance(bad, InvalidInput)
    assert [one, other] == [[1, 3], [4, 9]]
    assert await it.state(sessions[1]) == (0, 0)
    assert outputs(await it.step(sessions[1], 7, step=0)) == [7]


async def test_a_value_refused_in_a_later_chunk_leaves_the_session_as_before(serve: Serve) -> None:
    it = serve(RunningSum(raises_on=13), chunk=2)
    session = it.open()
    await it.step(session, 1)
    with pytest.raises(InvalidInput):
        await it.step(session, 2, 3, 4, 5, 13)
    assert await it.state(session) == (1, 1)


async def test_nan_in_a_row_fails_that_row_alone(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False)
    good, bad = it.open("good"), it.open("bad")
    answers = [it.step(good, 1), it.step(bad, 13)]
    it.start()
    fine, failed = await outcomes(*answers)
    assert fine == [1]
    assert isinstance(failed, NonFiniteOutput)
    assert it.model.batches == [[1, 1]]
    assert await it.state(bad) == (0, 0)


async def test_a_client_that_leaves_while_its_values_run_by_themselves_leaves_once(serve: Serve) -> None:
    it = serve(RunningSum(raises_on=13), in_a_thread=True)
    it.model.hold()
    bad, good = it.predict([13]), it.predict([1])
    await until(lambda: it.model.batches == [[1, 1]])
    it.model.release(1)
    await until(lambda: it.model.batches == [[1, 1], [1]])
    bad.cancel()
    await asyncio.sleep(0)
    it.model.release()
    assert await good == [[1]]


async def test_a_model_that_fails_on_zeros_too_kills_the_engine_and_every_client_is_told(serve: Serve) -> None:
    it = serve(started=False, chunk=2)
    session, other = it.open(), it.open("other")
    waiting = [
        asyncio.ensure_future(one)
        for one in (
            it.predict([1, 2, 3], [4]),
            it.lifecycle.open_warm("warming", TTL, column(1, 2, 3)),
            it.step(session, 1),
            it.step(session, 2, 3),
            it.lifecycle.read(session),
            it.lifecycle.fork(session, "copy"),
            it.lifecycle.replace(session, 7, summed(1)),
            it.step(session, 2, 3, step=7),
            it.lifecycle.delete(session),
            it.step(other, 5, 6, 7),
        )
    ]
    await asyncio.sleep(0)
    it.model.broken = True
    it.start()
    assert [type(outcome) for outcome in await outcomes(*waiting)] == [EngineFailed] * len(waiting)
    assert it.sessions.statistics().live == 2
    assert (session.step, session.ahead, session.waiting) == (0, 0, 0)
    await it.engine.drained()


async def test_a_dead_engine_refuses_what_comes(serve: Serve) -> None:
    it = serve()
    session = it.open()
    it.model.broken = True
    with pytest.raises(EngineFailed):
        await it.step(session, 1)
    for call in (
        lambda: it.step(session, 1),
        lambda: it.open("new"),
        lambda: it.lifecycle.fork(session, None),
        lambda: it.lifecycle.delete(session),
    ):
        with pytest.raises(EngineFailed):
            call()
    with pytest.raises(EngineFailed):
        await it.predict([1])
    assert not it.engine.statistics().alive


async def test_a_client_that_waits_for_room_is_told_that_the_engine_died(serve: Serve) -> None:
    it = serve(in_a_thread=True, most_rows=1)
    session = it.open()
    it.model.hold()
    answer = it.step(session, 1)

    async def held_back() -> None:
        await it.engine.freed()
        await it.step(session, 2)

    waiter = asyncio.create_task(held_back())
    await until(lambda: len(it.model.batches) == 1)
    it.model.broken = True
    it.model.release()
    for one in (answer, waiter):
        with pytest.raises(EngineFailed):
            await one


async def test_a_delete_that_died_with_the_engine_holds_nothing_up_and_deleted_nothing(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    ending = [it.step(session, 1), it.lifecycle.delete(session)]
    with pytest.raises(SessionNotFound):
        it.sessions.get("s")
    it.model.broken = True
    it.start()
    await outcomes(*ending)
    waiting = asyncio.create_task(vacant(it.sessions, "s"))
    for _ in range(10):
        await asyncio.sleep(0)
    held_up = not waiting.done()
    waiting.cancel()
    assert not held_up
    assert it.sessions.get("s") == session
    it.clock.advance(TTL)
    assert it.sessions.find("s") is None


async def test_an_aborted_engine_applies_nothing_of_what_was_running_and_leaks_no_row(serve: Serve) -> None:
    it = serve(in_a_thread=True, chunk=2)
    session, other = it.open(), it.open("other")
    it.model.hold()
    calls = [it.step(session, 1, 2), it.step(other, 1, 2, 3), it.step(session, 4), it.lifecycle.delete(other)]
    predict = asyncio.ensure_future(it.predict([1, 2, 3]))
    await until(lambda: len(it.model.batches) == 1)
    it.engine.abort()
    assert [type(outcome) for outcome in await outcomes(*calls, predict)] == [ShuttingDown] * 5
    it.model.release()
    assert outputs(await it.step(other, 5, step=0)) == [5]  # behind the run that was aborted
    assert await it.state(session) == (0, 0)
