"""Until when calls may wait for their first chunk, and how many timers that takes."""

import asyncio

import pytest

from service.engine.call import Call, Deadline
from service.engine.deadlines import Deadlines
from tests.fakes import FakeClock
from tests.service.engine.serving import call


class Timed:
    """Deadlines, and the calls whose deadlines have passed."""

    def __init__(self) -> None:
        self.clock, self.passed = FakeClock(), list[Call]()
        self.deadlines = Deadlines(self.clock, lambda rows: self.passed.extend(call for call, _, _ in rows))

    def after(self, seconds: float) -> Deadline:
        return Deadline(self.clock() + seconds)


async def timers() -> None:
    """Return when all timers that were due have gone off."""
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(1e-3, due.set)
    await due.wait()


async def test_a_deadline_that_passes_says_so_once() -> None:
    it = Timed()
    late, later = call([1]), call([1])
    it.deadlines.add(late, it.after(1e-4))
    it.deadlines.add(later, it.after(60))
    await timers()
    assert it.passed == [late]


async def test_a_deadline_is_forgotten_with_the_last_of_its_calls() -> None:
    it = Timed()
    shared, calls = it.after(60), [call([1]), call([2])]
    for one in calls:
        it.deadlines.add(one, shared)
    assert (len(it.deadlines), list(shared.calls)) == (1, calls)
    it.deadlines.done(calls[0], shared)
    assert (len(it.deadlines), shared.timer is None) == (1, False)
    it.deadlines.done(calls[1], shared)
    assert (len(it.deadlines), shared.timer, shared.calls) == (0, None, {})


async def test_a_call_that_is_taken_voids_the_deadline_for_all_that_share_it() -> None:
    it = Timed()
    shared, calls = it.after(1), [call([1]), call([2])]
    for one in calls:
        one.deadline = shared
        it.deadlines.add(one, shared)
    it.deadlines.take(calls[:1])
    assert (shared.taken, shared.timer, len(it.deadlines)) == (True, None, 0)
    it.clock.advance(2)
    it.deadlines.take(calls)
    it.deadlines.extend(shared, None)
    it.deadlines.add(call([3]), shared)
    assert (it.passed, len(it.deadlines), shared.timer) == ([], 0, None)


async def test_a_call_that_is_to_be_taken_too_late_has_passed_before_its_timer() -> None:
    it = Timed()
    late, plain, ended = call([1], deadline=it.after(1)), call([2]), call([3], deadline=it.after(1))
    ended.told = True
    for one in (late, ended):
        assert one.deadline is not None
        it.deadlines.add(one, one.deadline)
    it.clock.advance(1)
    it.deadlines.take([late, plain, ended])
    assert it.passed == [late]


@pytest.mark.parametrize(("other", "expected"), [(5.0, 10.0), (20.0, 20.0), (None, float("inf"))])
async def test_a_deadline_that_is_extended_is_the_later_of_both(other: float | None, expected: float) -> None:
    it = Timed()
    deadline = it.after(10)
    it.deadlines.add(call([1]), deadline)
    it.deadlines.extend(deadline, None if other is None else it.after(other))
    assert deadline.at == it.clock() + expected
    assert (deadline.timer is None, len(it.deadlines)) == (other is None, 1)  # never: it has no timer


async def test_the_timer_of_a_deadline_that_was_extended_does_not_go_off() -> None:
    it = Timed()
    deadline = it.after(1e-4)
    it.deadlines.add(call([1]), deadline)
    it.deadlines.extend(deadline, it.after(60))
    await timers()
    assert it.passed == []
