"""The policy: length classes that take turns, each first come first served."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.scheduler import Scheduler
from service.models.fitness import Policy

UNCUT = 2**31  # the chunk of a model that needs its sequence whole

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def scheduled(*steps: int, batch: int = 2, chunk: int = 4, most: int = 1000) -> Scheduler:
    """A scheduler in which work 1 has so many steps left, work 2 so many, …"""
    scheduler = Scheduler(Policy(batch, chunk, most))
    if steps:
        add(scheduler, range(1, len(steps) + 1), steps)
    return scheduler


def add(scheduler: Scheduler, ids: Sequence[int], steps: Sequence[int]) -> None:
    scheduler.add(np.array(ids, np.int64), np.array(steps, np.int64))


def batches(scheduler: Scheduler, count: int) -> list[list[int]]:
    return [scheduler.next_batch().tolist() for _ in range(count)]


def test_nothing_waits_in_an_empty_scheduler() -> None:
    scheduler = scheduled()
    assert batches(scheduler, 1) == [[]]
    assert len(scheduler) == 0


def test_a_batch_is_of_one_class_in_the_order_it_came_and_no_larger_than_allowed() -> None:
    scheduler = scheduled(1, 1, 1)
    scheduler.add_equal(np.array([4, 5]), 1)
    assert len(scheduler) == 5
    assert batches(scheduler, 4) == [[1, 2], [3, 4], [5], []]
    assert len(scheduler) == 0


def test_single_steps_take_every_other_turn() -> None:
    assert batches(scheduled(1, 1, 1, 1, 2, 2, 2, 9), 6) == [[1, 2], [5, 6], [3, 4], [8, 7], [], []]


def test_longer_works_are_batched_with_the_nearest_while_padding_at_most_doubles_the_steps() -> None:
    steps = [2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 1000]
    assert batches(scheduled(*steps, batch=8, chunk=32), 3) == [[1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11], []]
    assert batches(scheduled(2, 2, 32, batch=8, chunk=32), 2) == [[1, 2], [3]]


def test_classes_of_longer_works_take_turns() -> None:
    assert batches(scheduled(2, 2, 2, 2, 8, 8, 8, chunk=8), 4) == [[1, 2], [5, 6], [3, 4], [7]]


def test_of_works_that_cannot_be_cut_no_more_are_batched_than_so_many_steps() -> None:
    assert batches(scheduled(*[16] * 5, batch=8, chunk=UNCUT, most=32), 3) == [[1, 2], [3, 4], [5]]
    assert batches(scheduled(1000, 1000, batch=8, chunk=UNCUT, most=32), 2) == [[1], [2]]


def test_a_step_that_comes_while_long_work_goes_on_is_in_the_next_batch_or_the_one_after() -> None:
    scheduler = scheduled(100)
    for left in (96, 92, 88):
        assert batches(scheduler, 1) == [[1]]
        add(scheduler, [1], [left])
    add(scheduler, [2], [1])
    assert [2] in batches(scheduler, 2)


def test_long_work_goes_to_the_end_of_its_class_after_each_chunk() -> None:
    scheduler = scheduled(9, 9, 9)
    assert batches(scheduler, 1) == [[1, 2]]
    add(scheduler, [1], [5])
    assert batches(scheduler, 1) == [[3, 1]]


def test_what_is_left_of_a_work_decides_its_class() -> None:
    scheduler = scheduled(5, 1)
    assert batches(scheduler, 2) == [[2], [1]]
    add(scheduler, [1, 3], [1, 1])
    assert batches(scheduler, 1) == [[1, 3]]


@given(st.lists(st.one_of(lengths, st.none())), st.integers(1, 4), st.sampled_from([1, 3, 4, 32, UNCUT]))
def test_every_work_runs_once_in_the_order_of_its_class_and_no_single_step_waits_for_two_batches_of_longer(
    story: list[list[int] | None], batch: int, chunk: int
) -> None:
    most = 8 * batch
    scheduler = Scheduler(Policy(batch, chunk, most))
    waiting: dict[int, list[int]] = {}  # what each class holds: the power of two up to which its works go
    steps = [0]
    single_was_last = False
    for arrived in [*story, *[None] * 6 * len(story)]:  # enough turns for all of them
        if arrived is not None:
            ids = range(len(steps), len(steps) + len(arrived))
            steps += [min(one, chunk) for one in arrived]
            add(scheduler, ids, arrived)
            for id in ids:
                waiting.setdefault((steps[id] - 1).bit_length(), []).append(id)
            continue
        singles, longer = bool(waiting.get(0)), any(works for length, works in waiting.items() if length)
        taken = scheduler.next_batch().tolist()
        assert bool(taken) == (singles or longer)
        if taken:
            classes = [(steps[id] - 1).bit_length() for id in taken]
            for length in set(classes):
                own = [id for id in taken if (steps[id] - 1).bit_length() == length]
                assert own == waiting[length][: len(own)]
                del waiting[length][: len(own)]
            assert len(taken) <= batch
            padded = len(taken) << max(classes)
            assert padded <= 2 * sum(1 << length for length in classes)
            assert padded <= most or len(taken) == 1 or classes == [0] * len(taken)
            assert 0 not in classes or classes == [0] * len(taken)
        is_single = bool(taken) and steps[taken[0]] == 1
        assert is_single == (singles and not (single_was_last and longer))
        single_was_last = is_single
    assert len(scheduler) == 0


@pytest.mark.parametrize(("rows", "chunk", "steps", "most"), [(1, 64, 999, 8), (1, 5, 999, 5), (100, 64, 399, 3)])
def test_a_tick_has_no_more_rounds_than_eight_a_chunk_or_its_steps_allow(
    rows: int, chunk: int, steps: int, most: int
) -> None:
    assert Scheduler(Policy(256, chunk, steps)).rounds(rows) == most
