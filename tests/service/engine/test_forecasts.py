"""A forecast moves a copy: its outputs are those of a session that is fed the same, and the session stays."""

import asyncio
from typing import Any

import numpy as np
import pytest

from service.engine.call import UNCHECKED, Deadline, Onward
from service.engine.forecasts import Asked
from service.errors import DeadlineExceeded, InvalidInput, NonFiniteOutput, Overloaded, PayloadTooLarge
from service.sessions.session import Session
from tests.fakes import FakeStore, RunningSum, column, until
from tests.service.engine.serving import Serve, Serving, outputs


def forecast(it: Serving, session: Session, *values: float, steps: int = 0, **how: Any) -> "asyncio.Future[Any]":
    asked = Asked(column(*values), steps, np.array([0]))
    return it.engine.forecasts.forecast(session, asked, **how)


async def told(future: "asyncio.Future[Any]") -> tuple[list[float], int]:
    answered, step = await future
    return answered[:, 0].tolist(), step


def expected(total: float, values: tuple[float, ...], steps: int) -> list[float]:
    """What RunningSum answers from a sum to these values, and then to its own outputs."""
    sums = []
    for value in values:
        sums.append(total := total + value)
    for _ in range(steps):
        sums.append(total := total + sums[-1])
    return sums


@pytest.mark.parametrize(("values", "steps"), [((1,), 0), ((1, 2, 3, 4, 5), 0), ((1, 2, 3), 5), ((7,), 3)])
async def test_a_copy_is_fed_the_inputs_and_then_its_own_outputs(
    serve: Serve, values: tuple[float, ...], steps: int
) -> None:
    it = serve(store=FakeStore())
    session = it.open()
    await it.step(session, 10)
    commits, deadline = len(it.store.commits), session.deadline  # type: ignore[attr-defined]
    it.clock.advance(1)
    assert await told(forecast(it, session, *values, steps=steps)) == (expected(10, values, steps), 1)
    assert (await it.state(session), session.deadline) == ((1, 10), deadline)
    assert len(it.store.commits) == commits  # type: ignore[attr-defined]
    assert not it.kept(session, 1, *values)


async def test_forecasts_under_way_keep_no_more_than_may_wait_and_others_are_served(serve: Serve) -> None:
    it = serve(started=False, queue_bytes=1000)  # a step has 8 bytes with its output
    session = it.open()
    first, left = forecast(it, session, 1, steps=60), forecast(it, session, steps=60)
    with pytest.raises(Overloaded):
        forecast(it, session, 1, steps=60)
    left.cancel()
    step = it.step(session, 5)
    it.start()
    assert await told(first) == (expected(0, (1,), 60), 0)
    assert outputs(await step) == [5]
    assert it.engine.admission.kept == 0
    await told(forecast(it, session, 1, steps=99))


@pytest.mark.parametrize("values", [(5,), (1, 1, 3)])
async def test_without_inputs_it_begins_with_the_newest_kept_answer(serve: Serve, values: tuple[float, ...]) -> None:
    it = serve()
    session = it.open()
    with pytest.raises(InvalidInput):
        await forecast(it, session, steps=2)
    await it.step(session, 2)
    await it.step(session, *values)
    assert await told(forecast(it, session, steps=3)) == ([14, 28, 56], 1 + len(values))
    copy = await it.lifecycle.fork(session, "copy")
    with pytest.raises(InvalidInput):
        await forecast(it, copy, steps=2)


async def test_a_forecast_takes_its_turn_behind_accepted_calls_and_holds_up_none(serve: Serve) -> None:
    it = serve(started=False)
    session, other = it.open(), it.open("other")
    before, ahead = it.step(session, 1, 2), forecast(it, session, 4, steps=30)
    after, beside = it.step(session, 10), it.step(other, 6)
    it.start()
    assert await told(ahead) == (expected(3, (4,), 30), 2)
    assert [outputs(await one) for one in (before, after, beside)] == [[1, 3], [13], [6]]


async def test_many_forecasts_run_together(serve: Serve) -> None:
    it = serve(started=False)
    sessions = [it.open(str(index)) for index in range(8)]
    ahead = [forecast(it, session, index, steps=5) for index, session in enumerate(sessions)]
    it.start()
    assert [(await told(one))[0] for one in ahead] == [expected(0, (index,), 5) for index in range(8)]
    assert max(map(len, it.model.batches)) == 8


async def test_a_forecast_that_fails_harms_nothing(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=26))
    session = it.open()
    with pytest.raises(NonFiniteOutput):
        await forecast(it, session, 13, steps=4)
    with pytest.raises(DeadlineExceeded):
        await forecast(it, session, 1, deadline=Deadline(it.clock()))
    with pytest.raises(PayloadTooLarge):
        await forecast(it, session, 1, steps=10**9)
    assert await it.state(session) == (0, 0)
    it.nothing_leaks()


async def test_a_forecast_whose_client_left_ends(serve: Serve) -> None:
    it = serve(in_a_thread=True)
    session = it.open()
    it.model.hold()
    ahead = forecast(it, session, 1, steps=10_000)
    await until(lambda: bool(it.model.batches))
    ahead.cancel()
    it.model.release()
    await it.quiet()
    assert len(it.model.batches) < 10


async def test_a_forecast_that_was_accepted_ends_while_the_service_drains(serve: Serve) -> None:
    it = serve()
    session = it.open()
    ahead = forecast(it, session, 1, steps=50)
    it.engine.admission.closed = True
    await it.engine.drained()
    assert await told(ahead) == (expected(0, (1,), 50), 0)


async def test_rows_that_begin_with_states_of_their_own_keep_them_whatever_their_lengths(serve: Serve) -> None:
    it = serve()
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    values, lengths = column(1, 2, 3, 4, 5, 6, 7), np.array([1, 5, 1])
    state = {"sum": np.array([[10], [20], [30]], np.float32)}
    call = Onward(np.zeros(3, int), lengths, np.full(3, UNCHECKED), values, answered.set_result, state=state)
    it.engine.submit(call)
    await answered
    assert call.outputs[:, 0].tolist() == [11, 22, 25, 29, 34, 40, 37]
