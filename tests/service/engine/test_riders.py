"""Single steps that wait behind each other run in one tick, and each is still a call of its own."""

import pytest

from service.engine.call import Deadline
from service.errors import DeadlineExceeded, InvalidInput, NonFiniteOutput, ShuttingDown, StepConflict
from service.models.fitness import Fitness
from tests.fakes import RunningSum, until
from tests.service.engine.serving import Serve, answered, outcomes
from tests.service.engine.test_frames import many


async def test_waiting_steps_of_a_session_are_answered_each_by_itself_and_kept(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    calls = [it.step(session, 10**index, step=index) for index in range(3)]
    it.start()
    assert await outcomes(*calls) == [[1], [11], [111]]
    assert it.model.batches == [[3]]
    assert [it.kept(session, index, 10**index) for index in range(3)] == [True] * 3
    assert await it.state(session) == (3, 111)


async def test_sessions_with_fewer_waiting_steps_are_padded_while_that_is_not_the_half(serve: Serve) -> None:
    it = serve(started=False)
    one, other, third = many(it, 3)
    calls = [it.step(session, 1) for session in (one, other, third, one, other, one)]
    it.start()
    assert await outcomes(*calls) == [[1], [1], [1], [2], [2], [3]]
    assert it.model.batches == [[3, 2, 1]]
    lone = serve(started=False)
    four = many(lone, 4)
    calls = [lone.step(session, 1) for session in (*four, four[0], four[0], four[0])]
    lone.start()
    assert await outcomes(*calls) == [[1]] * 4 + [[2], [3], [4]]
    assert lone.model.batches == [[3, 1, 1, 1], [1]]


async def test_no_tick_has_more_steps_of_a_session_than_a_chunk(serve: Serve) -> None:
    it = serve(started=False, chunk=2)
    session = it.open()
    calls = [it.step(session, 1) for _ in range(5)]
    it.start()
    assert await outcomes(*calls) == [[1], [2], [3], [4], [5]]
    assert it.model.batches == [[2], [2], [1]]


async def test_riders_of_a_lone_session_run_with_the_rows_that_their_model_needs(serve: Serve) -> None:
    it = serve(started=False, fitness=Fitness(True, 0.0, 2, seconds_per_step=0.0))
    session = it.open()
    calls = [it.step(session, value) for value in (1, 2, 3)]
    it.start()
    assert await outcomes(*calls) == [[1], [3], [6]]
    assert it.model.batches == [[3, 3]]


async def test_nothing_rides_behind_longer_calls_and_operations(serve: Serve) -> None:
    it = serve(started=False)
    one, other = many(it, 2)
    calls = [it.step(one, 1), it.step(one, 2), it.step(one, 3, 4), it.step(one, 5)]
    before = it.step(other, 1)
    state = it.lifecycle.read(other)
    after = it.step(other, 2)
    it.start()
    assert await outcomes(*calls, before, after) == [[1], [3], [6, 10], [15], [1], [3]]
    assert (await state)[0] == 1
    assert it.model.batches[0] == [2, 1]


@pytest.mark.parametrize(
    ("model", "error"),
    [(RunningSum(nan_on=13), NonFiniteOutput), (RunningSum(raises_on=13), InvalidInput)],
    ids=["not finite", "refused"],
)
async def test_a_step_that_fails_among_others_leaves_those_before_it_applied(
    serve: Serve, model: RunningSum, error: type
) -> None:
    it = serve(model, started=False)
    bad, good = many(it, 2)
    calls = [it.step(bad, 1, step=0), it.step(bad, 13, step=1), it.step(bad, 2, step=2), it.step(bad, 4)]
    others = [it.step(good, value) for value in (1, 2, 3)]
    it.start()
    first, failed, fallen, last = await outcomes(*calls)
    assert (first, type(failed), type(fallen), last) == ([1], error, StepConflict, [5])
    assert await outcomes(*others) == [[1], [3], [6]]
    assert [await it.state(session) for session in (bad, good)] == [(2, 5), (3, 6)]


async def test_steps_ride_again_after_a_failure_though_calls_always_wait(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False, batch=2)
    sessions = many(it, 4)
    calls = [it.step(sessions[0], 13), *[it.step(session, 1) for _ in range(4) for session in sessions]]
    it.start()
    await outcomes(*calls)
    failed, again, *others = it.model.batches
    assert (failed, again) == ([4, 4], [1, 1])
    assert sum(map(sum, others)) == 15  # each of the others ran once


async def test_a_call_whose_deadline_passes_while_it_waits_does_not_ride(serve: Serve) -> None:
    it = serve(started=False)
    sessions = many(it, 2)
    first = it.frame(*((session, [1], 0) for session in sessions))
    late = it.frame(*((session, [2], 1) for session in sessions), deadline=Deadline(it.clock() + 1))
    it.clock.advance(2)
    it.start()
    assert answered(await first) == [[1], [1]]
    assert {type(error) for error in answered(await late)} == {DeadlineExceeded}
    assert await it.state(sessions[0]) == (1, 1)


async def test_what_is_aborted_while_it_runs_with_riders_is_not_applied(serve: Serve) -> None:
    it = serve(in_a_thread=True)
    it.model.hold()
    sessions = many(it, 2)
    frames = [it.frame(*((session, [1], step) for session in sessions)) for step in range(3)]
    await until(lambda: it.model.batches == [[3, 3]])
    it.engine.abort()
    it.model.release()
    assert {type(error) for one in frames for error in answered(await one)} == {ShuttingDown}
    assert [session.step for session in sessions] == [0, 0]
    await it.quiet()
    assert await outcomes(it.step(sessions[0], 5, step=0)) == [[5]]


async def test_nothing_runs_behind_a_predict(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    steps = [it.step(session, 1), it.step(session, 2)]
    it.start()
    await outcomes(*steps)
    predicts = [it.predict([value]) for value in (3, 4)]
    assert [await one for one in predicts] == [[[3]], [[4]]]
    assert it.model.batches == [[2], [1, 1]]
