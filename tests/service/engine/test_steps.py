"""Calls on sessions: applied once, in order, and as one unit."""

import asyncio

import pytest

from service.errors import DeadlineExceeded, NonFiniteOutput, StepConflict
from tests.fakes import RunningSum, sums, until
from tests.service.engine.serving import Answer, Serve, outcomes, outputs


async def test_a_call_at_the_next_step_advances_the_session(serve: Serve) -> None:
    it = serve()
    session = it.open()
    first = await it.step(session, 1, 2, step=0)
    assert (outputs(first), first.step) == ([1, 3], 2)
    second = await it.step(session, 4, step=2)
    assert (outputs(second), second.step) == ([7], 3)
    assert (session.step, session.ahead) == (3, 3)


@pytest.mark.parametrize(("step", "applied"), [(0, True), (1, True), (3, None), (2**53, None)])
async def test_a_call_at_another_step_conflicts_and_changes_nothing(
    serve: Serve, step: int, applied: bool | None
) -> None:
    it = serve()
    session = it.open()
    await it.step(session, 1, 2)
    with pytest.raises(StepConflict) as caught:
        await it.step(session, 9, step=step)
    assert caught.value.extra == {"expected_step": 2} | ({"applied": True} if applied else {})
    assert await it.state(session) == (2, 3)


async def test_the_retry_of_a_kept_call_gets_its_answer_and_moves_nothing(serve: Serve) -> None:
    it = serve()
    session = it.open()
    asked = await it.step(session, 1, 2, step=0)
    await it.step(session, 5, step=2)
    repeated = await it.step(session, 1, 2, step=0)
    assert (outputs(repeated), repeated.step) == (outputs(asked), 2)
    assert await it.state(session) == (3, 8)


@pytest.mark.parametrize("values", [(1.0, 2.5), (1.0,), (1.0, 2.0, 5.0), (-0.0, 2.0)], ids=str)
async def test_a_kept_step_with_other_bits_or_another_split_conflicts(serve: Serve, values: tuple[float, ...]) -> None:
    it = serve()
    session = it.open()
    await it.step(session, 1 if values[0] else 0.0, 2, step=0)
    await it.step(session, 5, step=2)
    with pytest.raises(StepConflict):
        await it.step(session, *values, step=0)
    assert (await it.state(session))[0] == 3


async def test_the_retry_of_a_running_call_waits_for_it_and_runs_nothing(serve: Serve) -> None:
    it = serve(in_a_thread=True)
    session = it.open()
    it.model.hold()
    first, waiting = it.step(session, 1, step=0), it.step(session, 2, step=1)
    await until(lambda: it.model.batches == [[2]])
    retries = [it.step(session, 1, step=0), it.step(session, 2, step=1)]
    it.model.release()
    answers = await outcomes(first, waiting, *retries)
    assert answers == [[1], [3], [1], [3]]
    assert it.model.batches == [[2]]


async def test_a_retry_whose_client_leaves_takes_nothing_from_the_first_call(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()

    async def call() -> Answer:
        return await it.step(session, 1, step=0)

    first, retry = asyncio.create_task(call()), asyncio.create_task(call())
    await asyncio.sleep(0)
    retry.cancel()
    it.start()
    assert outputs(await first) == [1]


async def test_only_the_last_answers_are_kept(serve: Serve) -> None:
    it = serve(replay=2)
    session = it.open()
    for step in range(3):
        await it.step(session, step, step=step)
    assert outputs(await it.step(session, 1, step=1)) == [1]
    with pytest.raises(StepConflict):
        await it.step(session, 0, step=0)


async def test_unchecked_calls_run_in_the_order_they_arrived(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    answers = [it.step(session, *values) for values in ([1], [2, 3], [4], [5, 6, 7, 8, 9, 10])]
    it.start()
    assert [value for values in await outcomes(*answers) for value in values] == sums(*range(1, 11))


async def test_a_session_is_seen_as_before_until_the_last_chunk_of_a_call(serve: Serve) -> None:
    it = serve(chunk=2)
    session = it.open()
    await it.step(session, 100, step=0)
    runs = len(it.model.batches)
    long = it.step(session, 1, 2, 3, 4, 5, step=1)
    for chunk in (1, 2):
        await until(lambda: len(it.model.batches) == runs + chunk)  # noqa: B023  # awaited before `chunk` moves on
        assert session.step == 1
        assert it.engine.table.gather([session.row])["sum"][0, 0] == 100
        assert [it.kept(session, 0, 100), it.kept(session, 1, 1, 2, 3, 4, 5)] == [True, False]
    reading = it.lifecycle.read(session)
    assert outputs(await long) == sums(1, 2, 3, 4, 5, before=100)
    assert (await reading)[0] == session.step == 6
    assert [it.kept(session, 0, 100), it.kept(session, 1, 1, 2, 3, 4, 5)] == [True, True]


async def test_nan_in_a_later_chunk_leaves_state_step_and_kept_answers_as_before(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), chunk=2)
    session = it.open()
    await it.step(session, 7, step=0)
    with pytest.raises(NonFiniteOutput):
        await it.step(session, 1, 2, 3, 4, 13, step=1)
    assert await it.state(session) == (1, 7)
    assert outputs(await it.step(session, 7, step=0)) == [7]
    assert outputs(await it.step(session, 1, step=1)) == [8]


async def test_after_a_failed_call_checked_ones_conflict_and_unchecked_ones_run(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False)
    session = it.open()
    calls = [
        it.step(session, 1, step=0),
        it.step(session, 2, 13, step=1),
        it.step(session, 4, step=3),
        it.step(session, 8),
        it.step(session, 16, step=5),
        it.step(session, 32, 64),
    ]
    it.start()
    one, failed, checked, unchecked, later, last = await outcomes(*calls)
    assert isinstance(failed, NonFiniteOutput)
    for fallen, named in ((checked, 3), (later, 5)):
        assert isinstance(fallen, StepConflict)
        assert "applied" not in fallen.extra
        assert f"step {named} was named" in fallen.detail
    assert [one, unchecked, last] == [[1], [9], [41, 105]]
    assert session.ahead == session.step == 4


async def test_a_waiting_call_that_expires_lets_the_running_one_and_the_unchecked_ones_be(serve: Serve) -> None:
    it = serve(in_a_thread=True)
    session = it.open()
    it.model.hold()
    running = it.step(session, 1, step=0)
    await until(lambda: len(it.model.batches) == 1)
    late = it.step(session, 2, step=1, deadline=it.clock())
    checked, unchecked = it.step(session, 4, step=2), it.step(session, 8)
    with pytest.raises(DeadlineExceeded):
        await late  # while the model is busy
    with pytest.raises(StepConflict):
        await checked
    it.model.release()
    assert outputs(await running) == [1]
    assert outputs(await unchecked) == [9]


async def test_an_accepted_call_runs_although_its_caller_left(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()

    async def call() -> None:
        await it.step(session, 1, 2, step=0)

    caller = asyncio.create_task(call())
    await asyncio.sleep(0)
    caller.cancel()
    it.start()
    await until(lambda: session.step == 2)
    assert await it.state(session) == (2, 3)
    assert caller.cancelled()


async def test_calls_of_many_sessions_share_a_run_and_keep_their_own_sums(serve: Serve) -> None:
    it = serve(started=False)
    sessions = [it.open(str(index)) for index in range(8)]
    first = [it.step(session, 10**index, step=0) for index, session in enumerate(sessions)]
    second = [it.step(session, 1, step=1) for session in sessions]
    it.start()
    assert await outcomes(*first, *second) == [[10**index + more] for more in (0, 1) for index in range(8)]
    assert it.model.batches == [[2] * 8]


async def test_many_admitted_together_are_accepted_one_by_one(serve: Serve) -> None:
    it = serve()
    session = it.open()
    it.engine.admission.check_many(2, [session, session])
    answers = [it.step(session, value, step=value - 1) for value in (1, 2)]
    assert await outcomes(*answers) == [[1], [3]]
