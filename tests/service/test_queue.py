"""Accepted work, decided upon without an engine: the test takes, finishes and fails it."""

import asyncio

import pytest

from service.errors import DeadlineExceeded, NonFiniteOutput, ShuttingDown
from service.gate import Gate
from service.queue import Queue
from service.replay import Replays
from service.rows import Rows
from service.sessions import Session, Sessions
from service.work import Call
from tests.fakes import FakeClock, column


class Waiting:
    """A queue with what it keeps books on."""

    def __init__(self) -> None:
        self.clock, self.rows = FakeClock(), Rows({"sum": (1,)})
        self.gate = Gate(most_rows=9, most_bytes=999)
        self.sessions = Sessions(Replays(each=4, most_bytes=9999), most=9, most_bytes=999, clock=self.clock)
        self.queue = Queue(self.rows, self.sessions, self.gate, outputs=1, batch=8, clock=self.clock)

    def open(self) -> Session:
        session = self.sessions.create(None, "model", "1", self.rows, 60)
        self.sessions.opened(session)
        return session

    async def timer(self, seconds: float) -> None:
        """Return when a timer of this length, and all shorter ones set before, went off."""
        passed = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, passed.set)
        await passed.wait()


async def test_only_the_head_of_a_session_is_ready() -> None:
    it = Waiting()
    one, other = it.open(), it.open()
    for session in (one, one, other):
        it.queue.step(session, column(1), Call())
    first, second = it.queue.next_batch()
    assert [first.session, second.session] == [one, other]
    assert it.queue.next_batch() == []
    it.queue.finish(first)
    assert [work.session for work in it.queue.next_batch()] == [one]


async def test_a_queue_is_ready_until_nothing_can_be_taken() -> None:
    it = Waiting()
    assert not it.queue.ready.is_set()
    it.queue.predict(Call(), [column(1), column(1, 2)])
    assert it.queue.ready.is_set()
    assert [len(it.queue.next_batch()) for _ in range(2)] == [1, 1]
    assert it.queue.ready.is_set()
    assert it.queue.next_batch() == []
    assert not it.queue.ready.is_set()


async def test_what_ends_gives_its_room_back_and_says_so() -> None:
    it = Waiting()
    answers = [it.queue.step(it.open(), column(1, 2), Call()) for _ in range(2)]
    assert (it.gate.rows, it.gate.bytes, it.queue.futures()) == (2, 32, answers)
    finished, failed = it.queue.next_batch()
    it.queue.finish(finished)
    it.queue.fail([failed], NonFiniteOutput())
    assert (it.gate.rows, it.gate.bytes, it.queue.futures()) == (0, 0, [])
    assert it.queue.freed.is_set()
    assert (await answers[0]).step == 2
    with pytest.raises(NonFiniteOutput):
        await answers[1]


async def test_a_deadline_ends_a_call_that_waits_and_not_one_that_was_taken() -> None:
    it = Waiting()
    session = it.open()
    calls = [Call(it.clock() + 1e-6) for _ in range(2)]
    running, waiting = (it.queue.step(session, column(1), call) for call in calls)
    [work] = it.queue.next_batch()
    await it.timer(2e-6)
    with pytest.raises(DeadlineExceeded):
        await waiting
    assert not running.done()
    it.queue.finish(work)
    assert (await running).step == session.step == session.ahead == 1


async def test_what_was_aborted_while_it_ran_is_not_finished_and_failed_no_more() -> None:
    it = Waiting()
    finished, failed = it.open(), it.open()
    answers = [it.queue.step(session, column(1), Call()) for session in (finished, failed)]
    works = it.queue.next_batch()
    it.queue.abort(ShuttingDown())
    it.queue.finish(works[0])
    it.queue.fail([works[1]], NonFiniteOutput())
    for answer in answers:
        with pytest.raises(ShuttingDown):
            await answer
    assert [(session.step, session.ahead, session.kept, session.pending) for session in (finished, failed)] == [
        (0, 0, [], [])
    ] * 2
    assert (it.gate.rows, it.gate.bytes) == (0, 0)
