"""One step of one session while nothing else is there: it comes to what it comes to in company."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.call import Deadline
from service.errors import DeadlineExceeded, EngineFailed, InvalidInput, NonFiniteOutput, StepConflict
from service.models.fitness import Fitness
from tests.fakes import RunningSum, column, until
from tests.service.engine.serving import TTL, Serve, Serving, answered, outcomes, outputs


async def test_a_lone_step_moves_its_session_and_is_kept_and_counted(serve: Serve) -> None:
    it = serve()
    session = it.open()
    it.clock.advance(5)
    await asyncio.sleep(0)
    assert await outcomes(it.step(session, 7, step=0, alone=True)) == [[7]]
    assert (session.step, session.ahead, session.waiting, session.deadline) == (1, 1, 0, it.clock() + TTL)
    assert await outcomes(it.step(session, 7, step=0)) == [[7]]  # kept
    told = it.engine.statistics()
    assert (told.steps, told.padded_steps, told.rows.total) == (1, 0, 1)
    assert [sum(seen.counts) for seen in (told.queued, told.running, told.answering)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("how", "value", "step", "error"),
    [
        ({}, 1, 5, StepConflict),
        ({"model": RunningSum(nan_on=13)}, 13, 1, NonFiniteOutput),
        ({"model": RunningSum(raises_on=13)}, 13, 1, InvalidInput),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
async def test_what_is_wrong_with_a_lone_step_is_told_and_changes_nothing(
    serve: Serve, how: dict[str, Any], value: float, step: int, error: type
) -> None:
    it = serve(**how)
    session = it.open()
    await it.step(session, 5)
    assert [type(one) for one in await outcomes(it.step(session, value, step=step, alone=True))] == [error]
    assert await it.state(session) == (1, 5)
    assert await outcomes(it.step(session, 2, step=1)) == [[7]]


@pytest.mark.parametrize(
    ("how", "rows"),
    [({"in_a_thread": True}, 1), ({"fitness": Fitness(True, 0.0, 3, seconds_per_step=0.0)}, 3)],
    ids=["a model worth a thread", "a model that needs company"],
)
async def test_a_lone_step_has_what_its_model_needs(serve: Serve, how: dict[str, Any], rows: int) -> None:
    it = serve(**how)
    session = it.open()
    assert [await outcomes(it.step(session, value, alone=True)) for value in (1, 2)] == [[[1]], [[3]]]
    assert it.model.batches == [[1] * rows] * 2


async def test_a_lone_step_is_done_at_once_if_nothing_runs(serve: Serve) -> None:
    it = serve()
    await asyncio.sleep(0)
    one, other = it.open("a"), it.open("b")
    for value, sum in ((1, 1), (2, 3)):
        answer = it.step(one, value, alone=True)
        assert answer.done() and outputs(answer.result()) == [sum]
    answers = [it.step(one, 1), it.step(other, 1, alone=True)]
    assert [answer.done() for answer in answers] == [False, True], "sessions do not wait for each other"
    assert await outcomes(*answers) == [[4], [1]]
    answers = [it.step(one, 1), it.step(one, 1, alone=True)]
    assert [answer.done() for answer in answers] == [False, False], "the first of them waits"
    assert await outcomes(*answers) == [[5], [6]]


async def test_no_step_runs_at_once_while_the_model_runs(serve: Serve) -> None:
    it = serve(in_a_thread=True)
    first = it.step(it.open("a"), 1)
    await until(lambda: it.model.batches != [])
    second = it.step(it.open("b"), 2, alone=True)
    assert not second.done()
    assert await outcomes(first, second) == [[1], [2]]


async def test_an_engine_that_dies_on_the_short_path_tells_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    it = serve()
    await asyncio.sleep(0)
    session = it.open()
    monkeypatch.setattr(it.engine.answers, "keep_one", lambda *_: 1 / 0)
    with pytest.raises(EngineFailed):
        it.step(session, 1, alone=True)
    assert isinstance(it.engine.admission.dead, ZeroDivisionError)
    it.model.broken = True


async def test_a_lone_step_whose_deadline_has_passed_does_not_run(serve: Serve) -> None:
    it = serve()
    session = it.open()
    late = it.frame((session, [1], 0), deadline=Deadline(it.clock() - 1))
    assert [type(error) for error in answered(await late)] == [DeadlineExceeded]
    [error] = await outcomes(it.step(session, 1, deadline=it.clock() - 1, alone=True))
    assert (type(error), session.step) == (DeadlineExceeded, 0)


async def test_what_was_abandoned_before_a_lone_step_is_dropped_all_the_same(serve: Serve) -> None:
    it = serve(started=False)
    predict = it.predict([1])
    predict.cancel()
    await asyncio.sleep(0)
    answer = it.step(it.open(), 5)
    it.start()
    assert await outcomes(answer) == [[5]]
    assert it.model.batches == [[1]]


async def test_the_answer_of_a_lone_history_of_one_step_is_not_kept(serve: Serve) -> None:
    it = serve()
    session = await it.lifecycle.open_warm("s", TTL, column(7))
    assert (await it.state(session), it.kept(session, 0, 7)) == ((1, 7), False)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.booleans()), max_size=12))
def test_steps_alone_and_in_company_come_to_the_same(story: list[tuple[int, int, bool]]) -> None:
    """Calls of one to three steps on three sessions; after some of them the caller waits for the answer."""

    async def told() -> list[Any]:
        it = Serving()
        it.start()
        sessions = [it.open(str(index)) for index in range(3)]
        calls = []
        for which, steps, waits in story:
            calls.append(it.step(sessions[which], *[1.0] * steps, alone=steps == 1))
            if waits:
                await asyncio.wait(calls)
        answers = await outcomes(*calls)
        await it.stop()
        return answers

    counts, expected = [0, 0, 0], []
    for which, steps, _ in story:
        expected.append([float(counts[which] + step) for step in range(1, steps + 1)])
        counts[which] += steps
    assert asyncio.run(told()) == expected
