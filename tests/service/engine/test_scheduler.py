"""The policy: length classes that take turns, each first come first served."""

from itertools import groupby
from operator import itemgetter

from hypothesis import given
from hypothesis import strategies as st

from service.engine.call import ALL, Call, Piece
from service.engine.scheduler import Scheduler
from service.errors import ShuttingDown
from service.models.speed import Policy
from tests.service.engine.serving import call

UNCUT = 2**31  # the chunk of a model that needs its sequence whole

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def scheduled(*steps: int, batch: int = 2, chunk: int = 4, most: int = 1000) -> Scheduler:
    """A scheduler in which row 1 has so many steps to do, row 2 so many, …, each by a call of its own."""
    scheduler = Scheduler(Policy(batch, chunk, most))
    for row, length in enumerate(steps, start=1):
        scheduler.add(on(row, steps=length))
    return scheduler


def on(*rows: int, steps: int = 1) -> Call:
    """A call of so many steps on each of these rows."""
    return call(*[[1] * steps] * len(rows), rows=rows)


def rows(batch: list[Piece]) -> list[int]:
    return [row for piece in batch for row in piece.call.rows[piece.places].tolist()]


def batches(scheduler: Scheduler, count: int) -> list[list[int]]:
    """The rows of the next batches."""
    return [rows(scheduler.next_batch()) for _ in range(count)]


def advance(scheduler: Scheduler, steps: int) -> list[int]:
    """Run so many steps of all rows of the next batch, which go on → these rows."""
    batch = scheduler.next_batch()
    for piece in batch:
        scheduler.go_on(Piece(piece.call, piece.places, piece.count, piece.done + steps, {}))
    return rows(batch)


def test_nothing_waits_in_an_empty_scheduler() -> None:
    scheduler = scheduled()
    assert batches(scheduler, 1) == [[]]
    assert len(scheduler) == 0


def test_a_batch_is_of_one_class_in_the_order_it_came_and_no_larger_than_allowed() -> None:
    scheduler = scheduled(1, 1, 1)
    scheduler.add(on(4, 5))
    assert len(scheduler) == 5
    assert batches(scheduler, 4) == [[1, 2], [3, 4], [5], []]
    assert len(scheduler) == 0


def test_a_batch_takes_calls_whole_where_they_fit_and_cuts_the_last_one() -> None:
    scheduler = scheduled(batch=4)
    calls = [on(1, 2), on(3, 4, 5, 6, 7, 8, 9)]
    for one in calls:
        scheduler.add(one)
    first, second, third = scheduler.next_batch(), scheduler.next_batch(), scheduler.next_batch()
    assert [(piece.call, rows([piece])) for piece in first] == [(calls[0], [1, 2]), (calls[1], [3, 4])]
    assert first[0].places == ALL
    assert (rows(second), rows(third)) == ([5, 6, 7, 8], [9])


def test_rows_that_failed_while_their_call_waited_are_not_scheduled() -> None:
    for steps in (1, 3):
        scheduler, waited = scheduled(batch=4), on(1, 2, 3, steps=steps)
        waited.errors[1] = ShuttingDown()
        scheduler.add(waited)
        assert batches(scheduler, 2) == [[1, 3], []]


def test_single_steps_take_every_other_turn() -> None:
    assert batches(scheduled(1, 1, 1, 1, 2, 2, 2, 9), 6) == [[1, 2], [5, 6], [3, 4], [8, 7], [], []]


def test_longer_calls_are_batched_with_the_nearest_while_padding_at_most_doubles_the_steps() -> None:
    steps = [2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 1000]
    assert batches(scheduled(*steps, batch=8, chunk=32), 3) == [[1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11], []]
    assert batches(scheduled(2, 2, 32, batch=8, chunk=32), 2) == [[1, 2], [3]]


def test_classes_of_longer_calls_take_turns() -> None:
    assert batches(scheduled(2, 2, 2, 2, 8, 8, 8, chunk=8), 4) == [[1, 2], [5, 6], [3, 4], [7]]


def test_of_calls_that_cannot_be_cut_no_more_are_batched_than_so_many_steps() -> None:
    assert batches(scheduled(*[16] * 5, batch=8, chunk=UNCUT, most=32), 3) == [[1, 2], [3, 4], [5]]
    assert batches(scheduled(1000, 1000, batch=8, chunk=UNCUT, most=32), 2) == [[1], [2]]


def test_a_step_that_comes_while_long_work_goes_on_is_in_the_next_batch_or_the_one_after() -> None:
    scheduler = scheduled(100)
    for _ in range(3):
        assert advance(scheduler, 4) == [1]
    scheduler.add(on(2))
    assert [2] in batches(scheduler, 2)


def test_long_work_goes_to_the_end_of_its_class_after_each_chunk() -> None:
    scheduler = scheduled(9, 9, 9)
    assert advance(scheduler, 4) == [1, 2]
    assert batches(scheduler, 2) == [[3, 1], [2]]


def test_what_is_left_of_a_call_decides_its_class() -> None:
    scheduler = scheduled(5)
    assert advance(scheduler, 4) == [1]
    scheduler.add(on(2))
    assert batches(scheduler, 1) == [[1, 2]]


@given(st.lists(st.one_of(lengths, st.none())), st.integers(1, 4), st.sampled_from([1, 3, 4, 32, UNCUT]), st.booleans())
def test_every_row_runs_once_in_the_order_of_its_class_and_no_single_step_waits_for_two_batches_of_longer(
    story: list[list[int] | None], batch: int, chunk: int, together: bool
) -> None:
    """Rows of some lengths arrive, equal ones behind each other in a call or each in its own, or a batch is taken."""
    most = 8 * batch
    scheduler = Scheduler(Policy(batch, chunk, most))
    waiting: dict[int, list[int]] = {}  # rows by class: the power of two up to which its lengths go
    steps = [0]  # of each row
    single_was_last = False
    for arrived in [*story, *[None] * 6 * len(story)]:  # enough turns for all of them
        if arrived is not None:
            ids = range(len(steps), len(steps) + len(arrived))
            steps += [min(one, chunk) for one in arrived]
            for length, group in groupby(zip(arrived, ids, strict=True), itemgetter(0)):
                mine = [id for _, id in group]
                for some in [mine] if together else [[id] for id in mine]:
                    scheduler.add(on(*some, steps=length))
            for id in ids:
                waiting.setdefault((steps[id] - 1).bit_length(), []).append(id)
            continue
        singles, longer = bool(waiting.get(0)), any(mine for length, mine in waiting.items() if length)
        taken = rows(scheduler.next_batch())
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
