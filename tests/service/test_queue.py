"""Accepted work, decided upon without an engine: the test takes, finishes and fails it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from service.bundle import Part
from service.errors import CarouselError, DeadlineExceeded, NonFiniteOutput, ShuttingDown, StepConflict
from service.gate import Gate
from service.models.fitness import Policy
from service.queue import Queue
from service.replay import Answers, Budget
from service.rows import Rows
from service.scheduler import Scheduler
from service.statistics import Tally
from service.work import Call, Patience
from tests.fakes import FakeClock
from tests.service.works import call, idle, outcome

TTL = 60.0


class Waiting:
    """A queue with what it keeps books on. A work that is finished answers hundred times its inputs."""

    def __init__(self, *, batch: int = 8) -> None:
        self.clock, self.rows = FakeClock(), Rows({"sum": (1,)})
        self.gate = Gate(most_rows=99, most_bytes=9999)
        answers = Answers(self.rows, 1, Budget(each=4, most_bytes=99_999))
        scheduler = Scheduler(Policy(batch, 4, 1000))
        self.queue = Queue(
            self.rows, answers, self.gate, scheduler, tally=Tally(), features=1, outputs=1, clock=self.clock
        )
        self.told: list[Call] = []

    def open(self, step: int = 0) -> int:
        """The row of a session at this step."""
        row = self.rows.allocate()
        self.rows.step[row] = self.rows.ahead[row] = step
        self.rows.ttl[row] = TTL
        return row

    def call(self, session: int, *values: float, step: int | None = None, **how: Any) -> Call:
        """Accept a call of one row."""
        return self.frame([session], [values], [step], **how)

    def frame(self, sessions: list[int], values: Sequence[Any], steps: Sequence[int | None], **how: Any) -> Call:
        """Accept a call of many rows."""
        made = call(*values, rows=sessions, asked=steps, ended=self.told.append, **how)
        self.queue.add(made)
        return made

    def predict(self, *sequences: Sequence[float]) -> Call:
        made = call(*sequences, ended=self.told.append)
        self.queue.add(made)
        return made

    def take(self) -> list[int]:
        """The sessions of the next batch, whose works are finished later, in order."""
        rounds = self.queue.next_batch()
        self.batch = rounds[0].parts if rounds else []
        return [session for part in self.batch for session in part.bundle.rows[part.places].tolist()]

    def finish(self) -> None:
        """What a runner does, and the engine after it."""
        parts = self.running()
        for bundle, places, _ in parts:
            lengths = bundle.lengths[places]
            longest = max(lengths)
            bundle.write(places, lengths, 100 * bundle.read(places, lengths, longest))
        if parts:
            self.queue.finish([parts])

    def running(self) -> list[Part]:
        """What of the batch did not end while it ran."""
        alive = [self.queue.running(part.ids) for part in self.batch]
        return [part for ids in alive if len(ids) for part in self.queue.works.parts(ids)]

    def fail(self, error: CarouselError) -> None:
        for work in [work for part in self.running() for work in part.ids.tolist()]:
            self.queue.fail(work, error)

    def run(self) -> list[list[int]]:
        """Finish all there is → the sessions of each batch."""
        batches = []
        while self.queue.ready.is_set():
            batches.append(self.take())
            self.finish()
        return [sessions for sessions in batches if sessions]

    def how(self, session: int) -> tuple[int, int, int]:
        """Step, ahead and waiting of a session."""
        return int(self.rows.step[session]), int(self.rows.ahead[session]), int(self.rows.waiting[session])

    def empty(self) -> bool:
        """Whether nothing is held any more."""
        queue = self.queue
        return (self.gate.rows, self.gate.bytes, len(queue), queue.works.bundles) == (0, 0, 0, {}) and idle(queue.works)


def outcomes(done: Call) -> list[Any]:
    return [outcome(done, index) for index in range(len(done.rows))]


async def test_only_the_head_of_a_session_is_ready() -> None:
    it = Waiting()
    one, other = it.open(), it.open()
    for session in (one, one, other):
        it.call(session, 1)
    assert it.take() == [one, other]
    first = it.batch
    assert it.take() == []
    it.batch = first
    it.finish()
    assert it.take() == [one]


async def test_a_queue_is_ready_until_nothing_can_be_taken() -> None:
    it = Waiting()
    assert not it.queue.ready.is_set()
    it.predict([1], [1, 2])
    assert it.queue.ready.is_set()
    assert [len(it.take()) for _ in range(2)] == [1, 1]
    assert it.queue.ready.is_set()
    assert it.take() == []
    assert not it.queue.ready.is_set()


async def test_what_ends_gives_its_room_back_and_says_so() -> None:
    it = Waiting()
    calls = [it.call(it.open(), value, 2) for value in (1, 3)]
    assert (it.gate.rows, it.gate.bytes, it.told) == (2, 32, [])
    it.take()
    [(bundle, _, ids)] = it.batch
    finished, failed = [Part(bundle, np.array([0]), ids[:1])], [Part(bundle, np.array([1]), ids[1:])]
    it.batch = finished
    it.finish()
    it.batch = failed
    it.fail(NonFiniteOutput())
    assert it.told == calls
    assert it.queue.freed.is_set()
    assert outcomes(calls[0]) == [[100, 200]]
    assert type(outcomes(calls[1])[0]) is NonFiniteOutput
    assert it.empty()


async def test_a_call_is_told_once_when_the_last_of_its_rows_is_done() -> None:
    it = Waiting(batch=2)
    sessions = [it.open() for _ in range(3)]
    frame = it.frame(sessions, [[1], [2], [3]], [0, None, 0])
    assert (it.gate.rows, [it.how(session) for session in sessions]) == (3, [(0, 0, 1)] * 3)
    assert it.take() == sessions[:2]
    it.finish()
    assert (it.told, it.gate.rows) == ([], 3)
    it.run()
    assert (it.told, it.empty()) == ([frame], True)
    assert (outcomes(frame), frame.starts.tolist()) == ([[100], [200], [300]], [0, 0, 0])
    assert [it.how(session) for session in sessions] == [(1, 1, 0)] * 3
    assert it.rows.deadline[sessions].tolist() == [it.clock() + TTL] * 3


async def test_small_calls_that_arrived_together_share_a_bundle_and_end_each_by_itself() -> None:
    it = Waiting(batch=2)
    sessions = [it.open() for _ in range(3)]
    calls = [it.call(session, session) for session in sessions]
    it.take()
    assert len(it.queue.works.bundles) == 1
    it.finish()
    assert it.told == calls[:2]
    it.run()
    assert [outcomes(one) for one in calls] == [[[100 * session]] for session in sessions]
    assert it.empty()


async def test_a_step_is_compared_with_what_arrived_before() -> None:
    it = Waiting()
    session = it.open(step=3)
    calls = [
        it.call(session, 1, 2, step=3),
        it.call(session, 3, step=5),
        it.call(session, 4),
        it.call(session, 5, step=6),
    ]
    it.queue.settle()
    assert it.told == calls[3:]
    assert it.how(session) == (3, 7, 3)
    it.run()
    [error] = outcomes(calls[3])
    assert (type(error), error.extra) == (StepConflict, {"expected_step": 7, "applied": True})
    assert [one.starts.tolist() for one in calls[:3]] == [[3], [5], [6]]
    assert (it.how(session), it.empty()) == ((7, 7, 0), True)


@pytest.mark.parametrize("wrong", range(3))
async def test_one_row_that_does_not_fit_refuses_the_call_and_changes_nothing(wrong: int) -> None:
    it = Waiting()
    sessions = [it.open(step=3) for _ in range(3)]
    steps: list[int | None] = [3, None, 3]
    steps[wrong] = 4
    frame = it.frame(sessions, [[1]] * 3, steps)
    assert it.run() == []
    assert (frame.refused, list(frame.errors), it.told) == (True, [wrong], [frame])
    assert [it.how(session) for session in sessions] == [(3, 3, 0)] * 3
    assert it.rows.deadline[sessions].tolist() == [0] * 3
    assert it.empty()


async def test_a_waiting_call_is_known_again_by_step_length_and_bits_and_both_are_answered() -> None:
    it = Waiting()
    session = it.open(step=3)
    calls = [it.call(session, 1, step=3), it.call(session, 7, 0, step=4)]
    again = [it.call(session, 7, 0, step=4), it.call(session, 1, step=3)]
    others = [
        it.call(session, *values, step=step)
        for step, values in ((3, [2]), (3, [1, 7]), (4, [7]), (4, [7, -0.0]), (5, [0]), (7, [1]))
    ]
    it.queue.settle()
    assert it.told == others
    assert [(type(error), error.extra["expected_step"]) for one in others for error in outcomes(one)] == [
        (StepConflict, 6)
    ] * len(others)
    assert it.how(session) == (3, 6, 2)
    assert it.run() == [[session]] * 2
    assert [outcomes(one) for one in (*calls, *again)] == [[[100]], [[700, 0]], [[700, 0]], [[100]]]
    assert [one.starts.tolist() for one in again] == [[4], [3]]
    assert it.empty()


async def test_a_retry_of_a_kept_call_is_answered_when_the_queue_settles_and_restarts_the_idle_clock() -> None:
    it = Waiting()
    session = it.open()
    for values in ([1], [2, 3], [4]):
        it.call(session, *values)
    it.run()
    it.clock.advance(10)
    again = [it.call(session, 1, step=0), it.call(session, 2, 3, step=1)]
    it.queue.settle()
    assert [(outcomes(one), one.starts.tolist()) for one in again] == [([[100]], [0]), ([[200, 300]], [1])]
    assert (it.run(), it.how(session), it.empty()) == ([], (4, 4, 0), True)
    assert it.rows.deadline[session] == it.clock() + TTL


async def test_of_a_call_of_many_rows_what_is_kept_is_answered_what_waits_is_followed_and_the_rest_runs() -> None:
    it = Waiting()
    kept, waits, fresh = it.open(), it.open(), it.open()
    it.call(kept, 1)
    it.run()
    first = it.call(waits, 2, step=0)
    frame = it.frame([fresh, waits, kept], [[3, 4], [2], [1]], [0, 0, 0])
    assert it.take() == [waits]
    assert [it.how(session) for session in (kept, waits, fresh)] == [(1, 1, 0), (0, 1, 1), (0, 2, 1)]
    it.finish()
    assert it.told[1:] == [first]
    assert it.run() == [[fresh]]
    assert (outcomes(frame), frame.starts.tolist(), it.told[2:]) == ([[300, 400], [200], [100]], [0, 0, 0], [frame])
    assert it.empty()


async def test_an_answer_that_is_not_to_be_kept_is_not() -> None:
    it = Waiting()
    session = it.open()
    it.call(session, 1, kept=False)
    it.run()
    again = it.call(session, 1, step=0)
    it.queue.settle()
    assert type(outcomes(again)[0]) is StepConflict


async def test_after_a_failed_call_checked_ones_fall_and_the_others_move_up() -> None:
    it = Waiting()
    session = it.open(step=3)
    failed, unchecked = it.call(session, 1, 2, step=3), it.call(session, 1)
    checked, last = it.call(session, 1, step=6), it.call(session, 1, 2, 3)
    it.take()
    it.fail(NonFiniteOutput())
    assert it.told == [failed, checked]
    [error] = outcomes(checked)
    assert (type(error), error.extra) == (StepConflict, {"expected_step": 4})
    assert it.how(session) == (3, 7, 2)
    it.run()
    assert (unchecked.starts.tolist(), last.starts.tolist(), it.how(session)) == ([3], [4], (7, 7, 0))
    assert it.empty()


async def test_a_call_that_moves_up_is_not_the_one_that_a_later_one_with_a_step_repeats() -> None:
    it = Waiting()
    session = it.open()
    it.call(session, 1, step=0)
    moved, later = it.call(session, 5), it.call(session, 5, step=1)
    it.take()
    it.fail(NonFiniteOutput("NaN"))
    [conflict] = outcomes(later)
    assert (type(conflict), it.told[-1]) == (StepConflict, later)
    it.run()
    assert (outcomes(moved), it.how(session), it.empty()) == ([[500]], (1, 1, 0), True)


async def test_what_arrived_before_a_call_failed_is_compared_with_what_was_expected_then() -> None:
    it = Waiting()
    session = it.open()
    it.call(session, 1, step=0)
    it.take()
    other = it.call(session, 2, step=0)
    it.fail(NonFiniteOutput("NaN"))
    it.run()
    assert [type(error) for error in outcomes(other)] == [StepConflict]
    assert (it.how(session), it.empty()) == ((0, 0, 0), True)


async def test_the_idle_clock_starts_anew_when_a_call_is_accepted_and_when_it_is_done() -> None:
    it = Waiting()
    session = it.open()
    it.call(session, 1)
    for ends in (it.take, it.finish):
        it.clock.advance(50)
        ends()
        assert it.rows.deadline[session] == it.clock() + TTL


async def test_what_follows_a_replaced_state_is_left_alone_by_a_failure_before_it() -> None:
    it = Waiting()
    session = it.open(step=3)
    failed, fallen = it.call(session, 1), it.call(session, 1, step=4)

    def act() -> str:
        it.rows.step[session] = 50
        return "done"

    replaced, read = it.queue.turn(session, act, step_after=50), it.queue.turn(session, lambda: it.rows.step[session])
    after = it.call(session, 1, step=50)
    it.take()
    it.fail(NonFiniteOutput())
    assert it.told == [failed, fallen]
    assert (await replaced, await read) == ("done", 50)
    assert it.how(session) == (50, 51, 1)
    it.run()
    assert (after.starts.tolist(), it.how(session), it.empty()) == ([50], (51, 51, 0), True)


async def test_a_turn_comes_between_the_calls_before_it_and_those_after_it() -> None:
    it = Waiting()
    session, other = it.open(), it.open()
    it.frame([session, other], [[1], [1]], [0, 0])
    turns = [it.queue.turn(session, lambda: it.how(session)) for _ in range(2)]
    it.frame([session, other], [[2], [2]], [1, 1])
    assert it.how(session) == (0, 1, 4)
    assert it.take() == [session, other]
    assert not turns[0].done()
    it.finish()
    assert [await turn for turn in turns] == [(1, 2, 2), (1, 2, 1)]
    it.run()
    assert (it.how(session), it.how(other), it.empty()) == ((2, 2, 0), (2, 2, 0), True)


async def test_a_turn_on_an_idle_session_is_done_at_once() -> None:
    it = Waiting()
    turn = it.queue.turn(it.open(step=5), lambda: "now")
    assert turn.done()
    assert (await turn, it.empty()) == ("now", True)


async def test_a_call_from_before_a_replaced_state_is_not_repeated_by_one_from_after_it() -> None:
    it = Waiting()
    session = it.open()
    it.call(session, 5, step=0)
    it.queue.turn(session, lambda: None, step_after=9)
    late = it.call(session, 5, step=0)
    it.queue.settle()
    assert [type(error) for error in outcomes(late)] == [StepConflict]


async def test_a_kept_call_is_not_repeated_while_a_replaced_state_waits_either() -> None:
    it = Waiting()
    session = it.open()
    it.call(session, 1, step=0)
    it.run()
    it.call(session, 2, step=1)
    it.take()
    it.queue.turn(session, lambda: None, step_after=7)
    again = it.call(session, 1, step=0)
    it.queue.settle()
    assert again.refused
    assert type(outcomes(again)[0]) is StepConflict
    it.finish()


async def test_the_sequences_of_a_predict_fail_together_even_in_one_batch() -> None:
    it = Waiting(batch=2)
    bad, good = it.predict([1], [2], [3]), it.predict([4])
    assert len(it.take()) == 2
    it.fail(NonFiniteOutput())
    assert (it.told, len(bad.errors)) == ([bad], 3)
    it.run()
    assert (outcomes(good), it.empty()) == ([[400]], True)


async def test_an_abandoned_predict_is_told_and_dropped_when_it_is_popped() -> None:
    it = Waiting()
    gone, stays = it.predict([1], [2, 3]), it.predict([4])
    it.queue.abandon(gone)
    assert (it.told, it.gate.rows) == ([gone], 1)
    it.queue.abandon(gone)
    assert it.told == [gone]
    it.run()
    assert (it.told, outcomes(stays), it.empty()) == ([gone, stays], [[400]], True)


async def timer(seconds: float) -> None:
    """Return when a timer of this length, and all shorter ones set before, went off."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, passed.set)
    await passed.wait()


async def test_a_deadline_ends_a_call_that_waits_and_not_one_that_was_taken() -> None:
    it = Waiting()
    session = it.open()
    running, waiting = (it.call(session, 1, patience=Patience(it.clock() + 1e-6)) for _ in range(2))
    it.take()
    await timer(2e-6)
    assert it.told == [waiting]
    assert type(outcomes(waiting)[0]) is DeadlineExceeded
    it.finish()
    assert (outcomes(running), it.how(session), it.take(), it.empty()) == ([[100]], (1, 1, 0), [], True)


async def test_calls_that_share_a_deadline_are_refused_by_it_together_and_others_are_not() -> None:
    it = Waiting()
    session, other, late = it.open(), it.open(), Patience(it.clock() + 5)
    calls = [it.call(session, 1, patience=late), it.frame([session, other], [[2], [3]], [None] * 2, patience=late)]
    unhurt = it.call(session, 4)
    it.clock.advance(5)
    it.run()
    assert [{type(error) for error in outcomes(one)} for one in calls] == [{DeadlineExceeded}] * 2
    assert (outcomes(unhurt), it.how(session), it.how(other)) == ([[400]], (1, 1, 0), (0, 0, 0))
    assert (late.calls, late.timer, len(it.queue._accepted.deadlines), it.empty()) == ({}, None, 0, True)


async def test_a_deadline_means_nothing_once_one_of_its_calls_was_taken() -> None:
    it = Waiting(batch=1)
    shared = Patience(it.clock() + 5)
    calls = [it.call(it.open(), value, patience=shared) for value in (1, 2)]
    it.take()
    it.clock.advance(5)
    assert (shared.taken, shared.timer) == (True, None)
    it.finish()
    it.run()
    assert [outcomes(one) for one in calls] == [[[100]], [[200]]]
    assert it.empty()


@pytest.mark.parametrize(("retry", "outcome"), [(4, DeadlineExceeded), (9, list), (None, list)])
async def test_a_call_and_its_retry_wait_until_the_later_of_their_deadlines(retry: float | None, outcome: type) -> None:
    it = Waiting()
    session = it.open()
    first = it.call(session, 1, step=0, patience=Patience(it.clock() + 4))
    again = it.call(session, 1, step=0, patience=None if retry is None else Patience(it.clock() + retry))
    it.queue.settle()
    it.clock.advance(5)
    it.run()
    assert [type(one) for one in (*outcomes(first), *outcomes(again))] == [outcome] * 2
    assert (len(it.queue._accepted.deadlines), it.empty()) == (0, True)


@pytest.mark.parametrize("retry", [9, None])
async def test_a_retry_that_came_before_the_deadline_of_its_call_passed_extends_it(retry: float | None) -> None:
    it = Waiting()
    session, late = it.open(), Patience(it.clock() + 4)
    first = it.call(session, 1, step=0, patience=late)
    it.queue.settle()
    again = it.call(session, 1, step=0, patience=None if retry is None else Patience(it.clock() + retry))
    it.clock.advance(5)
    it.queue._expire(late)  # its timer is first to see them both
    it.run()
    assert (outcomes(first), outcomes(again)) == ([[100]], [[100]])
    assert (len(it.queue._accepted.deadlines), it.empty()) == (0, True)


async def test_a_retry_of_a_call_that_runs_gives_it_no_deadline_again() -> None:
    it = Waiting()
    session, late = it.open(), Patience(it.clock() + 1)
    first = it.call(session, 1, step=0, patience=late)
    it.take()
    again = it.call(session, 1, step=0, patience=Patience(it.clock() + 2))
    it.queue.settle()
    it.clock.advance(5)
    it.queue._expire(late)
    it.finish()
    assert (outcomes(first), outcomes(again)) == ([[100]], [[100]])


async def test_a_deadline_that_was_extended_ends_no_call_when_it_would_have_passed() -> None:
    it = Waiting()
    session = it.open()
    first = it.call(session, 1, step=0, patience=Patience(it.clock()))
    it.call(session, 1, step=0)
    it.queue.settle()
    await timer(0)
    assert it.told == []
    it.run()
    assert outcomes(first) == [[100]]


async def test_a_deadline_holds_on_for_the_other_calls_when_one_of_them_is_done() -> None:
    it = Waiting()
    session, shared = it.open(), Patience(it.clock() + 1)
    it.call(session, 1, step=0)
    it.run()
    kept, waiting = it.call(session, 1, step=0, patience=shared), it.call(session, 2, patience=shared)
    it.queue.settle()
    it.clock.advance(2)
    it.run()
    assert (outcomes(kept), [type(one) for one in outcomes(waiting)]) == ([[100]], [DeadlineExceeded])


async def test_what_was_aborted_while_it_ran_is_not_finished_and_failed_no_more() -> None:
    it = Waiting()
    sessions = [it.open(), it.open()]
    calls = [it.frame(sessions, [[1], [2]], [0, 0]), it.predict([3, 4])]
    calls += [it.frame(sessions, [[1], [2]], [0, 0]), it.frame(sessions, [[5], [6]], [1, None])]
    turn = it.queue.turn(sessions[0], lambda: None)
    it.take()
    it.queue.abort(ShuttingDown())
    assert sorted(map(id, it.told)) == sorted(map(id, calls))
    assert {type(error) for one in calls for error in outcomes(one)} == {ShuttingDown}
    assert type(turn.exception()) is ShuttingDown
    it.finish()
    assert [it.how(session) for session in sessions] == [(0, 0, 0)] * 2
    assert it.take() == []
    assert it.empty()
    again = it.call(sessions[0], 7, step=0)
    it.run()
    assert (outcomes(again), it.empty()) == ([[700]], True)


async def test_an_answer_that_raises_keeps_nobody_else_from_being_told() -> None:
    it, defect = Waiting(), ZeroDivisionError()

    def raises(_: Call) -> None:
        raise defect

    it.queue.add(call([1], rows=[it.open()], ended=raises))
    other = it.call(it.open(), 2)
    it.take()
    with pytest.raises(ZeroDivisionError):
        it.finish()
    it.queue.abort(ShuttingDown())  # as the engine does when it dies of that
    assert (it.told, outcome(other, 0)) == ([other], [200])
    assert (it.gate.rows, it.gate.bytes) == (0, 0)
