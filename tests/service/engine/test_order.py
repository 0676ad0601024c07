"""The order of calls: each waits for the unfinished ones before it on its sessions, and for nothing else."""

import asyncio
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.engine.call import Call, Entry, Operation, Repeat
from service.engine.order import Misfit, Order
from service.errors import NonFiniteOutput
from service.sessions.table import Table
from tests.service.engine.serving import call

ROWS = range(1, 6)


class Ordered:
    """An order over the rows of a table."""

    def __init__(self) -> None:
        self.table = Table({})
        self.order = Order(self.table)

    def on(self, *rows: int, starts: Sequence[int] | None = None, asked: Sequence[int | None] | None = None) -> Call:
        """Add a call of one step on each of these rows."""
        made = call(*[[1]] * len(rows), rows=rows, asked=asked)
        made.starts = np.array(starts or [0] * len(rows))
        self.order.add(made)
        return made

    def operation(self, row: int, step_after: int | None = None) -> Operation:
        made = Operation(np.array([row]), lambda: None, asyncio.Future(loop=_LOOP), step_after=step_after)
        self.order.add(made)
        return made

    def starts(self, *calls: Call) -> list[list[int]]:
        return [one.starts.tolist() for one in calls]


_LOOP = asyncio.new_event_loop()  # of answers that nothing waits for
_LOOP.close()


def test_a_call_waits_for_every_unfinished_one_on_its_sessions() -> None:
    it = Ordered()
    first, other = it.on(1), it.on(2)
    both, third = it.on(1, 2), it.on(3)
    assert [sorted(one.serial for one in entry.before) for entry in (first, other, both, third)] == [[], [], [1, 2], []]
    assert it.order.release(first) == []
    assert it.order.release(other) == [both]
    assert it.order.release(third) == it.order.release(both) == []
    assert (it.order.open, it.table.last.any()) == ({}, False)


def test_what_becomes_ready_is_told_in_the_order_it_came() -> None:
    it = Ordered()
    first = it.on(1, 2, 3)
    behind = [it.on(3), it.on(1), it.on(2), it.on(1)]
    assert it.order.release(first) == behind[:3]


def test_an_operation_has_a_place_like_a_call() -> None:
    it = Ordered()
    first = it.on(1)
    read = it.operation(1)
    last = it.on(1)
    assert it.order.release(first) == [read]
    assert it.order.release(read) == [last]


def test_a_call_that_ended_early_keeps_its_place_until_its_turn() -> None:
    it = Ordered()
    first, ended, last = it.on(1), it.on(1, 2), it.on(2)
    ended.told = True
    assert list(it.order.waiting(2)) == [last, ended]
    assert it.order.release(first) == [ended]
    assert it.order.release(ended) == [last]


def test_what_was_released_is_not_released_twice() -> None:
    it = Ordered()
    first, second = it.on(1), it.on(1)
    assert it.order.release(first) == [second]
    assert it.order.release(first) == []
    assert list(it.order.open.values()) == [second]


def test_what_waits_on_a_session_is_found_the_newest_first() -> None:
    it = Ordered()
    first, _, both, _, newest = it.on(1), it.on(2), it.on(2, 1), it.on(2), it.on(1, 3)
    assert list(it.order.waiting(1)) == [newest, both, first]
    assert list(it.order.waiting(4)) == []


def test_what_named_no_step_moves_up_and_what_named_one_falls() -> None:
    it = Ordered()
    failed, moves, falls, last = (
        it.on(1, starts=[n], asked=[asked]) for n, asked in ((3, 3), (4, None), (5, 5), (6, None))
    )
    [misfit] = it.order.unapplied(failed, 1, 3)
    assert (misfit.call, misfit.place, misfit.retries) == (falls, 0, False)
    assert misfit.error.extra == {"expected_step": 4}
    assert it.starts(moves, last) == [[3], [4]]
    assert it.table.ahead[1] == 5


def test_retries_of_a_call_that_moves_named_the_step_that_it_had() -> None:
    it = Ordered()
    failed, moves, stays = it.on(1), it.on(2, 1, starts=[0, 1]), it.on(2, starts=[1])
    for one in (moves, stays):
        one.repeats.append(Repeat(0, call([1]), 0))
    [misfit] = it.order.unapplied(failed, 1, 0)
    assert (misfit.call, misfit.place, misfit.retries) == (moves, 1, True)
    assert misfit.error.extra == {"expected_step": 0}


def test_a_call_that_names_the_step_to_which_it_moves_up_fits() -> None:
    it = Ordered()
    failed, wrong = it.on(1, starts=[0]), it.on(1, starts=[1], asked=[1])
    right = it.on(1, starts=[2], asked=[0])
    assert [one.call for one in it.order.unapplied(failed, 1, 0)] == [wrong]
    assert it.starts(right) == [[0]]


def test_rows_of_a_call_move_each_for_its_own_session() -> None:
    it = Ordered()
    failed, other = it.on(1, 2, starts=[0, 0]), it.on(2, 1, starts=[1, 1], asked=[1, None])
    assert it.order.unapplied(failed, 1, 0) == []
    assert it.starts(other) == [[1, 0]]


def test_what_failed_or_ended_is_passed_over() -> None:
    it = Ordered()
    failed, gone, lost, last = it.on(1), it.on(1, starts=[1]), it.on(2, 1, starts=[0, 2]), it.on(1, starts=[3])
    gone.told = True
    lost.errors[1] = NonFiniteOutput()
    it.order.unapplied(failed, 1, 0)
    assert it.starts(gone, lost, last) == [[1], [0, 2], [0]]


def test_what_stands_behind_a_replaced_state_is_left_alone() -> None:
    it = Ordered()
    it.table.ahead[1] = 51
    failed, moves = it.on(1), it.on(1, starts=[1])
    it.operation(1)
    it.operation(1, step_after=50)
    behind = it.on(1, starts=[50], asked=[50])
    assert it.order.unapplied(failed, 1, 0) == []
    assert (it.starts(moves, behind), it.table.ahead[1]) == ([[0], [50]], 51)


def test_an_order_that_is_cleared_forgets_all_and_returns_it_in_order() -> None:
    it = Ordered()
    it.table.step[1] = 7
    entries: list[Entry] = [it.on(1), it.operation(1), it.on(1, 2), it.on(3)]
    it.table.ahead[[1, 2, 3]] = 9
    assert it.order.clear() == entries
    assert (it.order.open, it.table.last.any()) == ({}, False)
    assert it.table.ahead[[1, 2, 3]].tolist() == [7, 0, 0]
    assert not any(entry.before or entry.behind for entry in entries)
    assert it.order.release(entries[0]) == []


stories = st.lists(st.one_of(st.lists(st.sampled_from(ROWS), min_size=1, max_size=3, unique=True), st.integers(0, 9)))


@given(stories)
def test_calls_become_ready_exactly_when_they_are_first_on_all_their_sessions(story: list[list[int] | int]) -> None:
    """A call is added on some rows, or one of the ready ones is released; against a list of calls for each row."""
    it = Ordered()
    queues: dict[int, list[Call]] = {row: [] for row in ROWS}
    ready: list[Call] = []
    for act in [*story, *[0] * len(story)]:
        if isinstance(act, list):
            made = it.on(*act)
            for row in act:
                queues[row].append(made)
            if not made.before:
                ready.append(made)
        elif ready:
            over = ready.pop(act % len(ready))
            for row in over.rows.tolist():
                assert queues[row].pop(0) is over
            ready += [one for one in it.order.release(over) if isinstance(one, Call)]
        first = {
            one for queue in queues.values() for one in queue if all(queues[row][0] is one for row in one.rows.tolist())
        }
        assert set(ready) == first
        assert len(ready) == len(first)
        for row, queue in queues.items():
            assert list(it.order.waiting(row)) == queue[::-1]
            assert it.table.last[row] == (queue[-1].serial if queue else 0)
    assert (it.order.open, it.table.last.any()) == ({}, False)


asked = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 9)), st.integers(1, 3)), min_size=1, max_size=8)


@given(asked)
def test_numbers_after_a_failure_are_those_of_calls_that_came_without_it(steps: list[tuple[int | None, int]]) -> None:
    """Calls that name a step or none, each of some steps; the first one fails."""
    it = Ordered()
    calls, ahead = [], 0
    for named, length in steps:
        made = call([1] * length, rows=[1], asked=[named if named is None else ahead])
        made.starts = np.array([ahead])
        it.order.add(made)
        calls.append(made)
        ahead += length
    misfits: list[Misfit] = it.order.unapplied(calls[0], 1, 0)
    fallen = {one.call for one in misfits if not one.retries}
    ahead = 0
    for one in calls[1:]:
        fits = one.asked.item(0) in (-1, ahead)
        assert (one in fallen) == (not fits)
        if fits:
            assert one.starts.item(0) == ahead
            ahead += one.lengths.item(0)
    assert it.table.ahead[1] == ahead
