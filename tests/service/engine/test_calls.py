"""How accepted calls and operations end: told once, their places given up in their turn."""

import asyncio
import logging
from typing import Any

import pytest

from service.engine.call import Call, Deadline
from service.errors import DeadlineExceeded, NonFiniteOutput, ShuttingDown, StepConflict
from tests.fakes import RunningSum, until
from tests.service.engine.serving import Serve, Serving, answered, call, outcomes, summed
from tests.service.engine.test_frames import many


def told(it: Serving, *values: float, row: int, into: list[Call], step: int | None = None, **how: Any) -> Call:
    """Accept a call on a session; when it ends it goes `into` the list."""
    made = call(values, rows=[row], asked=[step], ended=into.append, **how)
    it.engine.submit(made)
    return made


async def test_calls_are_told_once_in_the_order_of_their_sessions(serve: Serve) -> None:
    it = serve(started=False, chunk=2)
    ended: list[Call] = []
    session, other = many(it, 2)
    calls = [told(it, *[1] * steps, row=session.row, into=ended) for steps in (5, 1, 3, 1, 1)]
    others = [told(it, 1, row=other.row, into=ended) for _ in range(3)]
    it.start()
    await it.quiet()
    assert [one for one in ended if one in calls] == calls
    assert [one for one in ended if one in others] == others
    assert len(ended) == 8


async def test_a_thousand_operations_behind_one_call_act_in_their_order(serve: Serve) -> None:
    it = serve(started=False, most=2_000)
    session = it.open()
    step = it.step(session, 5)
    waiting: list[asyncio.Future[Any]] = []
    for index in range(1_000):
        waiting.append(it.lifecycle.fork(session, f"copy {index}") if index % 2 else it.lifecycle.read(session))
    last = it.step(session, 6)
    it.start()
    assert await outcomes(step, last) == [[5], [11]]
    ended = await asyncio.gather(*waiting)
    assert {one[0] for one in ended[::2]} == {1}
    assert {(await it.state(copy)) for copy in ended[1::2]} == {(1, 5)}


async def test_a_thousand_calls_that_ended_early_give_their_places_up_in_a_row(serve: Serve) -> None:
    it = serve(started=False, most_rows=2_000)
    session = it.open()
    first = it.step(session, 1)
    late = Deadline(it.clock() + 1)
    expired = [it.step(session, 1, deadline=late) for _ in range(1_000)]
    last = it.step(session, 2)
    it.clock.advance(1)
    it.engine.calls.deadlines.take(list(late.calls)[:1])
    assert {type(one) for one in await outcomes(*expired)} == {DeadlineExceeded}
    assert len(it.engine.calls.order.open) == 1_002  # each has its place until its turn
    it.start()
    assert await outcomes(first, last) == [[1], [3]]


async def test_an_answer_that_raises_is_logged_and_keeps_no_other_from_being_told(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    it = serve(started=False)
    session, other = many(it, 2)

    def raises(_: Call) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "carousel.engine"):
        it.engine.submit(call([1], rows=[session.row], ended=raises))
        answers = [it.step(session, 2), it.step(other, 3)]
        it.start()
        assert await outcomes(*answers) == [[3], [3]]
    assert "an answer was lost" in caplog.text


async def test_a_client_may_call_again_when_it_is_told(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False)
    session, other = many(it, 2)
    again: list[asyncio.Future[Any]] = []

    def calls_again(_: Call) -> None:
        again.extend(it.step(one, 1) for one in (session, other))

    for value in (1, 13):
        it.engine.submit(call([value], [value], rows=[session.row, other.row], ended=calls_again))
    it.start()
    await it.quiet()
    assert await outcomes(*again) == [[2], [2], [3], [3]]


async def test_an_operation_that_raises_ends_with_its_error_and_what_comes_behind_goes_on(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()

    def told(_: object) -> None:
        raise ZeroDivisionError

    first, replaced, after = (
        it.step(session, 1),
        it.lifecycle.replace(session, 7, summed(70), told),
        it.step(session, 2),
    )
    it.start()
    ended = await outcomes(first, replaced, after)
    assert (ended[0], type(ended[1]), ended[2]) == ([1], ZeroDivisionError, [72])


async def test_a_retry_and_its_call_wait_until_the_later_of_their_deadlines(serve: Serve) -> None:
    for seconds, outcome in ((4.0, DeadlineExceeded), (9.0, list), (None, list)):
        it = serve(started=False)
        session = it.open()
        first = it.step(session, 1, step=0, deadline=it.clock() + 4)
        again = it.step(session, 1, step=0, deadline=None if seconds is None else it.clock() + seconds)
        it.clock.advance(5)
        it.start()
        assert [type(one) for one in await outcomes(first, again)] == [outcome] * 2


async def test_a_retry_of_a_call_that_runs_gives_it_no_deadline_again(serve: Serve) -> None:
    it = serve(in_a_thread=True)
    session = it.open()
    it.model.hold()
    first = it.step(session, 1, step=0, deadline=it.clock() + 1)
    await until(lambda: it.model.batches != [])
    again = it.step(session, 1, step=0, deadline=it.clock() + 2)
    it.clock.advance(5)
    it.model.release()
    assert await outcomes(first, again) == [[1], [1]]


async def test_a_deadline_holds_for_the_other_calls_when_one_of_them_has_ended(serve: Serve) -> None:
    it = serve(started=False)
    session, shared = it.open(), Deadline(it.clock() + 1)
    conflict, late = it.step(session, 1, step=9, deadline=shared), it.step(session, 1, deadline=shared)
    it.clock.advance(2)
    it.start()
    assert [type(one) for one in await outcomes(conflict, late)] == [StepConflict, DeadlineExceeded]
    assert (shared.calls, shared.timer) == ({}, None)


async def test_an_abandoned_predict_of_several_lengths_is_not_told_and_leaves_nothing(serve: Serve) -> None:
    it = serve(started=False)
    ended: list[Call] = []
    predict = call([1], [2, 3], [4, 5, 6], ended=ended.append)
    it.engine.submit(predict)
    for _ in range(2):
        it.engine.abandon(predict)
    assert (ended, it.engine.admission.rows) == ([], 0)
    it.start()
    await it.quiet()
    assert it.model.batches == []


@pytest.mark.parametrize("value", [13, 17])
async def test_a_predict_of_several_lengths_fails_whole_and_is_told_once(serve: Serve, value: float) -> None:
    it = serve(RunningSum(nan_on=13, raises_on=17), started=False, chunk=2)
    ended: list[Call] = []
    it.engine.submit(call([value], [2, 3], [4] * 50, [value, 1], ended=ended.append))
    good = it.predict([1], [1, 1])
    it.start()
    assert await good == [[1], [1, 2]]
    await it.quiet()
    assert (len(ended), bool(ended[0].errors)) == (1, True)
    assert len(it.model.batches) < 15  # what was left of it did not run


async def test_what_is_aborted_is_told_once_with_each_row_that_did_not_run(serve: Serve) -> None:
    it = serve(in_a_thread=True, batch=2)
    one, other, third = many(it, 3)
    it.model.hold()
    kept = it.frame((one, [1], 0), (other, [2], 0), (third, [3], 0))
    await until(lambda: it.model.batches == [[1, 1]])
    repeats = it.frame((other, [2], 0), (one, [4], 1), (third, [3], 0))
    several = it.frame((third, [1, 1], None), (one, [1], None))
    predict = call([1], [2, 3])
    it.engine.submit(predict)
    operations = [it.lifecycle.read(one), it.lifecycle.delete(other)]
    it.engine.abort()
    it.model.release()
    for frame in (kept, repeats, several):
        assert [type(error) for error in answered(await frame)] == [ShuttingDown] * len((await frame).rows)
    assert [type(error) for error in await outcomes(*operations)] == [ShuttingDown] * 2
    assert {type(error) for error in predict.errors.values()} == {ShuttingDown}
    await it.quiet()
    assert [(session.step, session.ahead, session.waiting) for session in (one, other, third)] == [(0, 0, 0)] * 3
    assert it.sessions.get("s1") == other


async def test_rows_that_ran_before_an_abort_keep_their_answers(serve: Serve) -> None:
    it = serve(in_a_thread=True, batch=2)
    sessions = many(it, 3)
    frame = it.frame(*((session, [5], 0) for session in sessions))
    await until(lambda: len(it.model.batches) == 1)
    it.model.hold()
    await until(lambda: len(it.model.batches) == 2)
    it.engine.abort()
    it.model.release()
    one, other, third = answered(await frame)
    assert (one, other, type(third)) == ([5], [5], ShuttingDown)


async def test_a_row_that_failed_before_an_abort_keeps_its_error(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), in_a_thread=True)
    session, other = many(it, 2)
    it.model.hold()
    failing = it.step(session, 13, step=0)
    frame = it.frame((session, [1, 1], 1), (other, [2, 2, 2], 0))
    await until(lambda: it.model.batches == [[1]])
    it.model.release(1)
    assert type((await outcomes(failing))[0]) is NonFiniteOutput
    await until(lambda: len(it.model.batches) == 2)
    it.engine.abort()
    it.model.release()
    assert [type(error) for error in answered(await frame)] == [StepConflict, ShuttingDown]
