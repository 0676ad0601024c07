"""The fakes do what the tests believe of them."""

import asyncio

import numpy as np
import pytest

from service.errors import StoreUnavailable
from service.store.store import Advanced, Opened, Replaced
from tests.fakes import FakeClock, FakeStore, RunningSum, column, sums, until


class Home:
    """Where the rows of these changes are."""

    name, version = "model", "1"


HOME = Home()


def run(model: RunningSum, *rows: list[float], before: list[float]) -> tuple[list[list[float]], list[float]]:
    """Run rows of differing lengths → the outputs within each length, and the states after."""
    lengths = np.array([len(row) for row in rows], np.int32)
    inputs = np.full((len(rows), int(lengths.max()), 1), 7, np.float32)  # padding that would be seen in a sum
    for target, row in zip(inputs, rows, strict=True):
        target[: len(row), 0] = row
    outputs, after = model.run(inputs, lengths, {"sum": column(*before)})
    within = [output[:length, 0].tolist() for output, length in zip(outputs, lengths, strict=True)]
    return within, after["sum"][:, 0].tolist()


def test_running_sum_carries_each_row_on_by_its_own_length() -> None:
    outputs, after = run(RunningSum(), [1, 2, 3], [5], before=[10, 100])
    assert outputs == [[11, 13, 16], [105]]
    assert after == [16, 105]


def test_running_sum_answers_nan_behind_a_row_and_from_the_told_value_on() -> None:
    model = RunningSum(nan_on=2)
    outputs, after = run(model, [1, 2, 3], [5], before=[0, 0])
    assert np.array_equal(outputs[0], [1, np.nan, np.nan], equal_nan=True)
    assert outputs[1] == [5]
    assert np.array_equal(after, [np.nan, 5], equal_nan=True)
    padded, _ = model.run(np.zeros((2, 2, 1), np.float32), np.array([2, 1], np.int32), {"sum": column(0, 0)})
    assert np.isnan(padded[1, 1])


def test_running_sum_raises_on_the_told_value_or_on_everything_and_remembers_the_runs() -> None:
    model = RunningSum(raises_on=13)
    with pytest.raises(RuntimeError):
        run(model, [1, 13], before=[0])
    assert run(model, [7], before=[6]) == ([[13]], [13])
    model.broken = True
    with pytest.raises(RuntimeError):
        run(model, [0], [0, 0], before=[0, 0])
    assert model.batches == [[2], [1], [1, 2]]


async def test_a_held_running_sum_ends_its_run_when_it_is_released() -> None:
    model = RunningSum()
    model.hold()
    answer = asyncio.create_task(asyncio.to_thread(run, model, [1.0], before=[0]))
    await until(lambda: len(model.batches) == 1)
    assert not answer.done()
    model.release()
    assert await answer == ([[1]], [1])


async def test_of_held_runs_so_many_end_as_are_released() -> None:
    model = RunningSum()
    model.hold()
    answers = [asyncio.create_task(asyncio.to_thread(run, model, [1.0], before=[0])) for _ in range(3)]
    await until(lambda: len(model.batches) == 3)
    for released in (1, 2):
        model.release(1)
        await until(lambda: sum(answer.done() for answer in answers) == released)  # noqa: B023  # awaited at once
    model.release()
    assert await asyncio.gather(*answers) == [([[1]], [1])] * 3


def opened(row: int) -> Opened:
    return Opened(row, f"session {row}", 60.0, 0, None)


async def test_a_store_commits_at_once_or_holds_commits_until_they_are_released_in_order() -> None:
    store = FakeStore()
    assert store.commit(HOME, [opened(1)]) is None
    store.held = True
    first, second = store.commit(HOME, [opened(2)]), store.commit(HOME, [opened(3)])
    assert first is not None and second is not None
    assert (len(store), len(store.commits), [first.done(), second.done()]) == (2, 3, [False, False])
    store.release(1)
    assert (len(store), [first.done(), second.done()]) == (1, [True, False])
    store.release(error=ValueError())
    assert (await first, type(second.exception())) == ({}, ValueError)
    assert store.written == [([opened(1)], {}), ([opened(2)], {})]


async def test_a_store_refuses_rows_and_raises_when_told_to() -> None:
    store, refusal = FakeStore(), StoreUnavailable()
    store.conflicts = {2: refusal}
    rows, one = np.array([1, 2]), np.ones(2, np.int64)
    commit = store.commit(HOME, [Advanced(rows, one, one, column(1, 2), column(1, 2), None)])
    assert commit is not None
    assert await commit == {2: refusal}
    store.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        store.commit(HOME, [opened(3)])
    assert len(store.commits) == len(store.written) == 1


async def test_a_store_finds_arrays_that_were_written_again_while_their_commit_waited() -> None:
    store, state = FakeStore(held=True), column(1)
    store.commit(HOME, [Replaced(1, 5, {"sum": state})])
    state[:] = 2
    with pytest.raises(AssertionError):
        store.release()


def test_the_clock_moves_only_when_told_to() -> None:
    clock = FakeClock(now=5)
    assert clock() == clock() == 5
    clock.advance(2.5)
    assert clock() == 7.5


def test_sums_are_those_that_running_sum_answers() -> None:
    assert sums(1, 2, 3, before=10) == run(RunningSum(), [1, 2, 3], before=[10])[0][0]
