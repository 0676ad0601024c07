"""Which single steps may run with the call that they wait for: pure, without an engine."""

import pytest

from service.engine.call import Call, Deadline
from service.engine.order import Order
from service.engine.scheduler import Scheduler
from service.errors import ShuttingDown
from service.models.speed import Policy
from service.sessions.table import Table
from tests.service.engine.serving import call
from tests.service.engine.test_scheduler import on


class Waiting:
    """Calls behind each other, of which the first ones are scheduled."""

    def __init__(self, policy: Policy) -> None:
        self.scheduler, table = Scheduler(policy), Table({}, capacity=128)
        self.order = Order(table)

    def add(self, *calls: Call) -> list[Call]:
        for one in calls:
            if self.order.add(one):
                self.scheduler.add(one)
        return [*calls]

    def riders(self) -> list[list[Call]]:
        return self.scheduler.riders(self.scheduler.next_batch())


@pytest.mark.parametrize(("rows", "chunk", "steps", "most"), [(1, 64, 999, 7), (1, 5, 999, 4), (100, 64, 399, 2)])
def test_no_more_steps_ride_than_eight_together_a_chunk_or_the_steps_of_a_tick_allow(
    rows: int, chunk: int, steps: int, most: int
) -> None:
    it = Waiting(Policy(256, chunk, steps))
    _, *behind = it.add(*[on(*range(1, rows + 1)) for _ in range(12)])
    assert it.riders() == [behind[:most]]


def test_steps_ride_behind_their_own_call_while_half_of_the_run_is_no_padding() -> None:
    it = Waiting(Policy(8, 8, 64))
    _, _, one, two, three = it.add(on(1), on(2), on(1), on(2), on(1))
    assert it.riders() == [[one, three], [two]]
    it = Waiting(Policy(8, 8, 64))
    *_, one, two, _ = it.add(on(1), on(2), on(3), on(4), on(1), on(1), on(1))
    assert it.riders() == [[one, two], [], [], []]


def late(*rows: int) -> Call:
    made = on(*rows)
    made.deadline = Deadline(1.0)
    return made


def failed(*rows: int) -> Call:
    made = on(*rows)
    made.errors[0] = ShuttingDown()
    return made


def ended(*rows: int) -> Call:
    made = on(*rows)
    made.told = True
    return made


@pytest.mark.parametrize(
    "behind",
    [
        [on(2, 1)],
        [on(1)],
        [on(1, 2, 3)],
        [on(1), on(2)],
        [on(1, 2, steps=2)],
        [late(1, 2)],
        [failed(1, 2)],
        [ended(1, 2)],
    ],
    ids=["another order", "fewer", "more", "apart", "longer", "a deadline", "an error", "it has ended"],
)
def test_nothing_rides_but_single_steps_on_the_same_rows_that_wait_for_nothing_else(behind: list[Call]) -> None:
    it = Waiting(Policy(8, 8, 64))
    it.add(on(1, 2), *behind)
    assert it.riders() == [[]]


def test_nothing_rides_behind_a_part_of_a_call_or_a_longer_one_or_a_predict() -> None:
    it = Waiting(Policy(1, 8, 64))
    it.add(on(1, 2), on(1, 2))
    assert it.riders() == [[]]
    it = Waiting(Policy(8, 8, 64))
    it.add(on(1, steps=2), on(1))
    assert it.riders() == [[]]
    it.scheduler.add(call([1]))
    assert it.riders() == [[]]
