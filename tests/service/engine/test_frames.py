"""Calls of many rows: checked whole, run row by row, told once."""

import pytest

from service.engine.admission import PENDING
from service.engine.call import Deadline
from service.errors import DeadlineExceeded, NonFiniteOutput, Overloaded, StepConflict
from service.sessions.session import Session
from tests.fakes import RunningSum, sums, until
from tests.service.engine.serving import Item, Serve, Serving, answered, outcomes


def many(it: Serving, count: int) -> list[Session]:
    return [it.open(f"s{index}") for index in range(count)]


async def test_each_row_is_answered_in_its_place_whatever_its_length(serve: Serve) -> None:
    it = serve(chunk=2)
    lengths = [1, 5, 2, 1, 9]
    rows: list[Item] = [(one, range(1, length + 1), 0) for one, length in zip(many(it, 5), lengths, strict=True)]
    done = await it.frame(*rows)
    assert answered(done) == [sums(*range(1, length + 1)) for length in lengths]
    assert (done.starts.tolist(), done.refused, done.left) == ([0] * 5, False, 0)
    assert [(await it.state(session))[0] for session, _, _ in rows] == lengths


@pytest.mark.parametrize("wrong", range(3))
async def test_one_step_that_does_not_fit_refuses_all_of_it_and_says_which(serve: Serve, wrong: int) -> None:
    it = serve()
    sessions = many(it, 4)
    await it.frame(*((session, [10], 0) for session in sessions))
    rows: list[Item] = [(session, [5], 1) for session in sessions[:3]]
    rows[wrong] = (sessions[wrong], [5], 2)
    done = await it.frame(*rows, (sessions[3], [10], 0))  # a retry, answered at other times
    assert done.refused
    [(index, error)] = done.errors.items()
    assert (index, type(error), error.extra) == (wrong, StepConflict, {"expected_step": 1})
    assert [await it.state(session) for session in sessions] == [(1, 10)] * 4
    assert it.model.batches == [[1] * 4]
    assert answered(await it.frame(*((session, [5], 1) for session in sessions))) == [[15]] * 4


async def test_rows_that_repeat_kept_calls_are_answered_and_the_others_run(serve: Serve) -> None:
    it = serve(chunk=2)
    sessions = many(it, 4)
    await it.frame(
        *((session, values, 0) for session, values in zip(sessions, [[1], [1, 2, 3], [4], [5]], strict=True))
    )
    await it.step(sessions[0], 9, step=1)
    runs = len(it.model.batches)
    again = await it.frame(
        (sessions[3], [6, 7], 1), (sessions[1], [1, 2, 3], 0), (sessions[2], [8], None), (sessions[0], [1], 0)
    )
    assert answered(again) == [[11, 18], [1, 3, 6], [12], [1]]
    assert again.starts.tolist() == [1, 0, 1, 0]
    assert sorted(it.model.batches[runs:]) == [[1], [2]]
    assert [await it.state(session) for session in sessions] == [(2, 10), (3, 6), (2, 12), (3, 18)]


async def test_a_frame_that_repeats_another_waits_for_it_and_runs_nothing(serve: Serve) -> None:
    it = serve(started=False)
    sessions = many(it, 3)
    rows: list[Item] = [(session, [1, 2], 0) for session in sessions]
    first, again, mixed = it.frame(*rows), it.frame(*rows), it.frame((sessions[2], [7], 2), *rows[:2])
    it.start()
    assert [answered(await one) for one in (first, again)] == [[[1, 3]] * 3] * 2
    assert answered(await mixed) == [[10], [1, 3], [1, 3]]
    assert it.model.batches == [[2] * 3, [1]]


async def test_frames_on_the_same_sessions_follow_each_other(serve: Serve) -> None:
    it = serve(started=False)
    sessions = many(it, 8)
    frames = [it.frame(*((session, [10**step], step) for session in sessions)) for step in range(3)]
    other = it.frame(*((session, [1000], None) for session in reversed(sessions)))
    it.start()
    assert [answered(await one) for one in (*frames, other)] == [[[sum_]] * 8 for sum_ in (1, 11, 111, 1111)]
    assert it.model.batches == [[3] * 8, [1] * 8]  # steps on the same rows in the same order share a run


async def test_five_thousand_rows_run_as_one_call(serve: Serve) -> None:
    count = 5_000
    it = serve(batch=64, most=count, most_rows=count)
    sessions = many(it, count)
    for step in range(2):
        done = await it.frame(*((session, [index], step) for index, session in enumerate(sessions)))
        assert done.outputs[:, 0].tolist() == [(step + 1) * index for index in range(count)]
    assert {len(lengths) for lengths in it.model.batches} == {64, count % 64}
    assert it.engine.table.step[[session.row for session in sessions]].tolist() == [2] * count


async def test_what_fails_in_a_frame_fails_alone(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False)
    sessions = many(it, 3)
    first = it.frame(*((session, [value], 0) for session, value in zip(sessions, [1, 13, 3], strict=True)))
    second = it.frame(*((session, [4], 1) for session in sessions))
    last = it.frame(*((session, [5], None) for session in sessions))
    it.start()
    for done, index, kind in ((await first, 1, NonFiniteOutput), (await second, 1, StepConflict)):
        assert (done.refused, [type(error) for error in done.errors.values()]) == (False, [kind])
        assert list(done.errors) == [index]
    assert (answered(await first)[::2], answered(await second)[::2]) == ([[1], [3]], [[5], [7]])
    assert answered(await last) == [[10], [5], [12]]


async def test_a_frame_that_repeats_a_row_that_fails_is_told_the_same(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), started=False)
    sessions = many(it, 2)
    rows: list[Item] = [(sessions[0], [13], 0), (sessions[1], [2], 0)]
    frames = [it.frame(*rows), it.frame(*rows)]
    it.start()
    for frame in frames:
        bad, good = answered(await frame)
        assert (type(bad), good) == (NonFiniteOutput, [2])


async def test_a_deadline_that_passes_refuses_what_waits_of_all_calls_that_share_it(serve: Serve) -> None:
    it = serve(started=False)
    sessions, late = many(it, 3), Deadline(it.clock() + 1)
    frames = [it.frame(*((session, [1], step) for session in sessions), deadline=late) for step in range(2)]
    unhurt = it.frame(*((session, [7], None) for session in sessions))
    it.clock.advance(2)
    it.start()
    assert [[type(one) for one in answered(await frame)] for frame in frames] == [[DeadlineExceeded] * 3] * 2
    assert answered(await unhurt) == [[7]] * 3
    assert late.calls == {}


async def test_a_deadline_means_nothing_once_a_row_of_its_calls_was_taken(serve: Serve) -> None:
    it = serve(in_a_thread=True, batch=1)
    it.model.hold()
    frame = it.frame(*((session, [1, 2, 3], 0) for session in many(it, 3)), deadline=Deadline(it.clock() + 1))
    await until(lambda: len(it.model.batches) == 1)
    it.clock.advance(2)
    it.model.release()
    assert answered(await frame) == [[1, 3, 6]] * 3


async def test_a_frame_is_refused_at_the_door_whole(serve: Serve) -> None:
    it = serve(started=False, most_rows=PENDING + 2)
    busy, idle, third = many(it, 3)
    calls = [it.step(busy, 1) for _ in range(PENDING)]
    for refused in ([(idle, [1], 0), (busy, [1], None)], [(session, [1], None) for session in (idle, busy, third)]):
        with pytest.raises(Overloaded):
            it.frame(*refused)
    assert (it.engine.admission.rows, idle.waiting) == (PENDING, 0)
    it.start()
    assert (await outcomes(*calls))[-1] == [PENDING]
    assert answered(await it.frame((idle, [1], 0), (busy, [1], PENDING))) == [[1], [PENDING + 1]]
