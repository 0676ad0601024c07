"""Accepted work of one engine, from its arrival to its end; every decision about it, none of the waiting.

It knows works, turns and the sessions whose order they keep; not the model, nor when it runs. It is called on the
loop's thread only, and makes the futures that callers await.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from service.errors import CarouselError, DeadlineExceeded, StepConflict
from service.gate import Gate
from service.replay import Kept
from service.rows import Array, Rows
from service.scheduler import Scheduler
from service.sessions import Session, Sessions
from service.work import Answer, Call, Turn, Work

_T = TypeVar("_T")


class Queue:
    """What was accepted and is not answered. Invariants: the head of a session's pending items, if it is a work, is in
    the scheduler or in the batch that runs; whatever leaves gives its room and its row back.
    """

    def __init__(
        self,
        rows: Rows,
        sessions: Sessions,
        gate: Gate,
        *,
        outputs: int,
        batch: int,
        steps: int | None = None,
        clock: Callable[[], float],
    ) -> None:
        self._rows, self._sessions, self._gate = rows, sessions, gate
        self._outputs, self._clock = outputs, clock
        self._scheduler = Scheduler(batch=batch, steps=steps)
        self._waiting: dict[Work | Turn, None] = {}  # in the order of arrival
        self.ready = asyncio.Event()  # there is something to schedule
        self.freed = asyncio.Event()  # something left

    def __repr__(self) -> str:
        return f"<Queue {len(self._waiting)} waiting, {self._scheduler!r}>"

    def futures(self) -> "list[asyncio.Future[Any]]":
        """Of everything that waits."""
        return [item.answer for item in self._waiting]

    def predict(self, call: Call, inputs: Iterable[Array]) -> None:
        """Accept the rows [T, F] of a stateless call together."""
        for one in inputs:
            self._enter(Work(one, self._room_for(one), call, future()))
        for work in call.works:
            self._scheduler.add(work)

    def step(self, session: Session, inputs: Array, call: Call, **how: Any) -> "asyncio.Future[Answer]":
        """Accept a call on a session, behind what it has accepted before; `how` are further fields of the work."""
        work = Work(inputs, self._room_for(inputs), call, future(), session, **how)
        self._enter(work)
        if session.push(work):
            self._start(session)
        return work.answer

    def join(self, call: Call, deadline: float | None) -> None:
        """A retry waits for a call that is not done: the more patient of its callers decides, None being for ever."""
        if call.taken or call.deadline is None:
            return
        call.deadline = None if deadline is None else max(deadline, call.deadline)
        if call.timer is not None:
            call.timer.cancel()
            self._arm(call)

    def turn(self, session: Session, act: Callable[[], _T], step_after: int | None = None) -> "asyncio.Future[_T]":
        """Do `act` once what the session has accepted before is done; now, if nothing is."""
        turn = Turn(act, future(), step_after)
        self._waiting[turn] = None
        if session.push(turn):
            self._start(session)
        return turn.answer

    def next_batch(self) -> list[Work]:
        """What runs in the next tick. Empty: all that was popped had ended, or none is ready and `ready` is cleared."""
        batch = [work for work in self._scheduler.next_batch() if self._take(work)]
        if not batch and not self._scheduler:
            self.ready.clear()
        return batch

    def goes_on(self, work: Work) -> None:
        """A chunk of the work is done, and not its last one."""
        self._scheduler.add(work)

    def finish(self, work: Work) -> None:
        """A work's last chunk is done and its state is in place: state, step and kept answer change together."""
        if work not in self._waiting:
            return  # ended while its last chunk ran
        self._leave(work)
        session = work.session
        if session is not None:
            session.pending.pop(0)
            session.step = work.start + work.steps
            if work.kept:
                self._sessions.replays.keep(session, Kept(work.start, work.steps, work.digest, work.outputs))
            if session.opening:
                self._sessions.opened(session)
            else:
                self._sessions.touch(session)
            self._start(session)
        if not work.answer.done():
            work.answer.set_result(Answer(work.outputs, work.start + work.steps))

    def fail(self, works: Iterable[Work], error: CarouselError) -> None:
        """End works unapplied, and with them the later works of their sessions that cannot be next any more."""
        sessions: dict[Session, None] = {}
        for work in works:
            if work in self._waiting:
                self._reject(work, error)
                if work.session is not None:
                    sessions[work.session] = None
        for session in sessions:
            self._close_ranks(session)

    def abort(self, error: CarouselError) -> None:
        """End everything unapplied."""
        for item in list(self._waiting):
            if isinstance(item, Turn):
                _refuse(item.answer, error)
                continue
            if item.session is not None:
                item.session.pending.clear()
                item.session.ending = None  # nothing was applied, so a delete that waited was not either
                item.session.renumber()
            self._reject(item, error)
        self._waiting.clear()

    def _enter(self, work: Work) -> None:
        work.call.works.append(work)
        work.call.waiting += 1
        self._waiting[work] = None
        self._gate.enter(work.size)
        if work.call.timer is None:
            self._arm(work.call)
        self.ready.set()

    def _arm(self, call: Call) -> None:
        if call.deadline is not None:
            left = max(0.0, call.deadline - self._clock())
            call.timer = asyncio.get_running_loop().call_later(left, self._expire, call)

    def _start(self, session: Session) -> None:
        """Do the turns at the head of the session's queue, and schedule the work behind them."""
        while session.pending:
            head = session.pending[0]
            if isinstance(head, Work):
                head.row = session.row
                self._scheduler.add(head)
                self.ready.set()
                return
            session.pending.pop(0)
            del self._waiting[head]
            head.answer.set_result(head.act())  # never cancelled: callers await it shielded

    def _take(self, work: Work) -> bool:
        """Whether a popped work still runs: not if it has ended, its caller left or its deadline passed."""
        if work.answer.done():  # ended while it was queued; a predict's caller may have left
            self._leave(work)
            return False
        if not work.call.taken and work.call.deadline is not None and self._clock() >= work.call.deadline:
            self.fail(work.call.works, DeadlineExceeded())
            return False
        work.call.taken = True
        return True

    def _expire(self, call: Call) -> None:
        if not call.taken:
            self.fail(call.works, DeadlineExceeded())

    def _close_ranks(self, session: Session) -> None:
        """Works of the session have ended unapplied: number what waits anew, and start what is the head now."""
        head = session.pending[0]
        session.pending = [item for item in session.pending if item in self._waiting]
        for fallen, expected in session.renumber():
            self._reject(fallen, StepConflict(fallen.start, expected))
        if head not in self._waiting:
            self._start(session)

    def _reject(self, work: Work, error: CarouselError) -> None:
        self._leave(work)
        if not work.answer.done():
            _refuse(work.answer, error)

    def _leave(self, work: Work) -> None:
        if work in self._waiting:
            del self._waiting[work]
            self._gate.leave(work.size)
            self.freed.set()
            work.call.waiting -= 1
            if work.call.timer is not None and not work.call.waiting:
                work.call.timer.cancel()  # the loop would hold its arrays until then
            if work.owns_row:
                self._rows.free(work.row)

    def _room_for(self, inputs: Array) -> Array:
        return np.empty((len(inputs), self._outputs), np.float32)


def future() -> "asyncio.Future[Any]":
    """An answer to come."""
    return asyncio.get_running_loop().create_future()


def _refuse(answer: "asyncio.Future[Any]", error: CarouselError) -> None:
    """End with an error that nobody has to look at: whoever asked may have left."""
    answer.set_exception(error)
    answer.exception()
