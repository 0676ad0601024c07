"""The policy: two length classes that take turns, each first come first served."""

from service.scheduler import Scheduler
from service.work import Work
from tests.service.works import work


def scheduled(*works: Work, batch: int = 2) -> Scheduler:
    scheduler = Scheduler(batch=batch)
    for one in works:
        scheduler.add(one)
    return scheduler


def test_nothing_waits_in_an_empty_scheduler() -> None:
    scheduler = Scheduler(batch=2)
    assert scheduler.next_batch() == []
    assert not scheduler


def test_a_batch_is_of_one_class_in_the_order_it_came_and_no_larger_than_allowed() -> None:
    singles = [work(1) for _ in range(5)]
    scheduler = scheduled(*singles)
    assert [scheduler.next_batch() for _ in range(4)] == [singles[:2], singles[2:4], singles[4:], []]
    assert len(scheduler) == 0


def test_classes_take_turns_while_both_wait() -> None:
    singles, longer = [work(1) for _ in range(4)], [work(1, 2) for _ in range(3)]
    scheduler = scheduled(*singles, *longer)
    batches = [scheduler.next_batch() for _ in range(4)]
    assert sorted(map(len, batches)) == [1, 2, 2, 2]
    kinds = [batch[0].steps for batch in batches]
    assert kinds in ([1, 2, 1, 2], [2, 1, 2, 1])
    assert all(len({one.steps for one in batch}) == 1 for batch in batches)


def test_a_step_that_comes_while_long_work_goes_on_is_in_the_next_batch_or_the_one_after() -> None:
    long = work(*range(100))
    scheduler = scheduled(long)
    for _ in range(3):
        assert scheduler.next_batch() == [long]
        scheduler.add(long)
    step = work(1)
    scheduler.add(step)
    assert [step] in [scheduler.next_batch(), scheduler.next_batch()]


def test_long_work_goes_to_the_end_of_its_class_after_each_chunk() -> None:
    first, second, third = (work(1, 2, 3) for _ in range(3))
    scheduler = scheduled(first, second, third)
    assert scheduler.next_batch() == [first, second]
    scheduler.add(first)
    assert scheduler.next_batch() == [third, first]


def test_what_is_left_of_a_work_decides_its_class() -> None:
    nearly, step = work(1, 2, 3), work(1)
    nearly.done = 2
    assert scheduled(nearly, step).next_batch() == [nearly, step]
