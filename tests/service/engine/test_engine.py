"""Predicts, batches, deadlines, admission and counts."""

import asyncio
import gc
import weakref

import pytest

from service.engine.call import Deadline
from service.errors import (
    DeadlineExceeded,
    InvalidInput,
    NonFiniteOutput,
    NotStreamable,
    Overloaded,
    PayloadTooLarge,
    ShuttingDown,
)
from service.models.fitness import Fitness
from tests.fakes import RunningSum, column, sums, until
from tests.service.engine.serving import Answer, Serve, Serving, call, outcomes, outputs

NAN, REFUSED = 13, 17  # the values that the model cannot take
CALL = 8  # bytes that a call of one step waits with: a float in, a float out


async def test_a_predict_answers_ragged_sequences_each_from_the_zero_state(serve: Serve) -> None:
    it = serve(chunk=2)
    session = it.open()
    await it.step(session, 50)
    assert await it.predict(range(1, 8), [9], [2, 3]) == [sums(*range(1, 8)), [9], [2, 5]]
    assert await it.state(session) == (1, 50)


async def test_one_bad_sequence_fails_a_predict_whole_and_no_other_caller(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), chunk=2, started=False)
    bad = asyncio.ensure_future(it.predict([1, 2, 3, 4, 5, 6, 7], [13]))
    good = asyncio.ensure_future(it.predict([1, 2, 3]))
    await asyncio.sleep(0)
    it.start()
    with pytest.raises(NonFiniteOutput):
        await bad
    assert await good == [[1, 3, 6]]


async def test_the_other_sequences_of_a_predict_that_failed_are_dropped(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13), chunk=2)
    with pytest.raises(NonFiniteOutput):
        await it.predict(range(100, 200), [13])
    await it.engine.drained()
    assert len(it.model.batches) < 10


async def test_two_bad_sequences_of_one_batch_fail_their_predict_and_not_the_engine(serve: Serve) -> None:
    for bad in (NAN, REFUSED):
        it = serve(RunningSum(nan_on=NAN, raises_on=REFUSED), chunk=2)
        with pytest.raises((NonFiniteOutput, InvalidInput)):
            await it.predict([bad], [bad], [1, 2, 3])
        assert await it.predict([1]) == [[1]]


async def test_an_abandoned_predict_is_dropped_and_its_row_freed(serve: Serve) -> None:
    it = serve(chunk=2)
    caller = asyncio.ensure_future(it.predict(range(100), range(100)))
    await until(lambda: len(it.model.batches) == 2)
    runs = len(it.model.batches)
    caller.cancel()
    await it.quiet()
    it.nothing_leaks()
    assert len(it.model.batches) <= runs + 1
    assert it.engine.statistics().refused == {}


async def test_a_session_that_ends_makes_a_new_generation_of_rows_and_a_long_call_does_not(serve: Serve) -> None:
    it = serve(chunk=2)
    session, other = it.open(), it.open("t")
    before = it.engine.table.generation
    await it.step(session, *range(9))
    assert it.engine.table.generation == before
    await it.lifecycle.delete(other)
    assert it.engine.table.generation > before


@pytest.mark.parametrize("others", [0, 1])
async def test_a_predict_that_is_abandoned_while_the_model_refuses_it_harms_no_other(serve: Serve, others: int) -> None:
    it = serve(RunningSum(raises_on=REFUSED), in_a_thread=True, started=False)
    session = it.open()
    answers = [it.step(session, 1) for _ in range(others)]
    it.model.hold()
    caller = asyncio.ensure_future(it.predict([REFUSED]))
    await asyncio.sleep(0)
    it.start()
    await until(lambda: len(it.model.batches) == 1)
    caller.cancel()
    await asyncio.sleep(0)
    it.model.release()
    assert await outcomes(*answers, it.step(session, 7)) == [[1], [8]][1 - others :] if others else [[7]]


async def test_a_single_step_waits_for_one_chunk_of_a_long_predict_at_most(serve: Serve) -> None:
    it = serve(chunk=32)
    session = it.open()
    predict = it.predict(*[[0] * 10_000] * 3)
    await until(lambda: len(it.model.batches) == 5)
    for value in range(1, 4):
        before = len(it.model.batches)
        await it.step(session, value)
        assert len(it.model.batches) - before <= 2  # a chunk, and its own run
    assert not predict.done()
    await predict


async def test_a_batch_takes_at_most_its_rows_and_one_chunk_of_each(serve: Serve) -> None:
    it = serve(chunk=4, batch=3, started=False)
    asked = [[1] * length for length in (1, 6, 2, 9, 1, 1, 1)]
    predict = it.predict(*asked)
    it.start()
    assert await predict == [sums(*one) for one in asked]
    assert all(len(lengths) <= 3 and max(lengths) <= 4 for lengths in it.model.batches)
    assert {1 in lengths and max(lengths) > 1 for lengths in it.model.batches} == {False}


async def test_a_lone_row_is_padded_for_a_model_that_needs_company(serve: Serve) -> None:
    it = serve(fitness=Fitness(True, 0.0, 2, 0.0))
    session = it.open()
    assert outputs(await it.step(session, 1, 2)) == [1, 3]
    assert await it.predict([5]) == [[5]]
    assert it.model.batches == [[2, 2], [1, 1]]
    assert await it.state(session) == (2, 3)


async def test_a_model_that_cannot_be_stepped_gets_whole_sequences_and_no_sessions(serve: Serve) -> None:
    it = serve(chunk=2, fitness=Fitness(False, 0.0, 1, 0.0))
    assert await it.predict([1, 2, 3, 4, 5]) == [sums(1, 2, 3, 4, 5)]
    assert it.model.batches == [[5]]
    with pytest.raises(NotStreamable):
        it.open()
    with pytest.raises(NotStreamable):
        await it.lifecycle.open_warm("s", 60, column(1))


async def test_a_deadline_that_passes_in_the_queue_ends_the_call_unapplied(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    late = it.step(session, 1, step=0, deadline=it.clock() + 5)
    predict = it.predict([1], [2], deadline=it.clock() + 5)
    it.clock.advance(5)
    it.start()
    for one in (late, predict):
        with pytest.raises(DeadlineExceeded):
            await one
    assert it.model.batches == []
    assert await it.state(session) == (0, 0)


async def test_a_deadline_ends_a_call_that_waits_though_the_clock_of_the_loop_is_ahead(serve: Serve) -> None:
    it = serve(started=False)
    late = it.step(it.open(), 1, deadline=it.clock() + 1e-4)  # the timer goes off; the engine's clock stands still
    with pytest.raises(DeadlineExceeded):
        await late
    it.start()


async def test_the_sequences_of_a_predict_that_was_taken_all_run_although_its_deadline_passes(serve: Serve) -> None:
    it = serve(in_a_thread=True, chunk=2, batch=1)
    it.model.hold()
    predict = it.predict([1, 2, 3], [4, 5], deadline=it.clock() + 5)
    await until(lambda: len(it.model.batches) == 1)
    it.clock.advance(10)
    it.model.release()
    assert await predict == [[1, 3, 6], [4, 9]]


async def test_a_call_that_ended_is_not_held_in_memory_until_its_deadline(serve: Serve) -> None:
    it = serve()
    asked = call([1], rows=[it.open().row], deadline=Deadline(it.clock() + 3600))
    seen = weakref.ref(asked.inputs)
    it.engine.submit(asked)
    del asked
    await it.engine.drained()
    gc.collect()
    assert seen() is None


async def test_a_full_queue_refuses_and_says_when_to_come_again(serve: Serve) -> None:
    it = serve(started=False, most_rows=2, fitness=Fitness(True, 0.0, 1, seconds_per_step=2.0))
    session = it.open()
    answer = it.step(session, 1, step=0)
    with pytest.raises(Overloaded) as caught:
        await it.predict([1], [2])
    assert caught.value.extra == {"retry_after_ms": 2000}  # one step waits
    assert (it.engine.admission.rows, it.engine.admission.size) == (1, CALL)
    it.model.release()
    it.start()
    assert (await answer).step == 1


@pytest.mark.parametrize("bounds", [{"most_rows": 2}, {"queue_bytes": 3 * CALL - 1}], ids=str)
async def test_what_never_fits_in_the_queue_is_too_large(serve: Serve, bounds: dict[str, int]) -> None:
    it = serve(**bounds)
    with pytest.raises(PayloadTooLarge):
        it.predict(*[[1]] * 3)
    assert await it.predict(*[[1]] * 2) == [[1], [1]]


async def test_a_draining_engine_ends_what_it_accepted_and_takes_nothing_more(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    answer = it.step(session, 1)
    it.engine.admission.closed = True
    for refused in (lambda: it.step(session, 2), lambda: it.open("t"), lambda: it.lifecycle.delete(session)):
        with pytest.raises(ShuttingDown):
            refused()
    it.start()
    await it.engine.drained()
    assert outputs(await answer) == [1]


async def test_a_client_that_is_refused_may_wait_until_something_has_left(serve: Serve) -> None:
    it = serve(started=False, most_rows=1)
    session = it.open()

    async def held_back(value: float) -> Answer:
        while True:
            try:
                return await it.step(session, value)
            except Overloaded:
                await it.engine.freed()

    calls = [asyncio.create_task(held_back(10**index)) for index in range(3)]
    await asyncio.sleep(0)
    assert it.engine.admission.rows == 1
    it.start()
    assert sorted(await outcomes(*calls)) == [[1], [11], [111]]


async def test_statistics_count_what_ran_and_what_waits(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    answers = [it.step(session, 1), it.step(session, 2)]
    assert (it.engine.statistics().waiting_rows, it.engine.statistics().waiting_bytes) == (2, 2 * CALL)
    it.start()
    await asyncio.gather(*answers, it.predict([1, 2, 3, 4], [1, 2, 3]))
    told = it.engine.statistics()
    assert (told.alive, sum(told.rows.counts), told.rows.total, told.steps, told.padded_steps) == (True, 2, 3, 9, 1)
    assert told.rows.counts[:3] == (1, 1, 0)
    assert [sum(seen.counts) for seen in (told.queued, told.running, told.answering)] == [4, 2, 2]


async def test_a_call_that_comes_to_a_closed_engine_is_told_to_come_again() -> None:
    it = Serving()
    it.engine.close()
    with pytest.raises(ShuttingDown):
        it.engine.submit(call([1]))


async def test_an_engine_that_is_closed_is_freed_without_the_collector() -> None:
    it = Serving()
    it.start()
    session = it.open()
    await it.step(session, 1)
    await it.lifecycle.delete(session)
    await it.stop()
    it.sessions.release(it.engine)
    it.engine.close()
    seen = weakref.ref(it.engine)
    gc.disable()
    try:
        del it, session
        await asyncio.sleep(0)
        assert seen() is None
    finally:
        gc.enable()
