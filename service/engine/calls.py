"""Accepted calls and operations, from their arrival to their end.

It keeps their order, lets them run when it is their turn, and tells them. It knows rows and steps; not models, stores
or clients.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from service.engine.call import Call, Entry, Operation, Places, Repeat
from service.engine.deadlines import Deadlines
from service.engine.failures import Failures
from service.engine.order import Order
from service.errors import CarouselError, SessionMoved

if TYPE_CHECKING:
    from service.engine.admission import Admission
    from service.engine.reruns import Reruns
    from service.engine.scheduler import Scheduler
    from service.models.model import Index
    from service.sessions.table import Table

_log = logging.getLogger("carousel.engine")


class Calls:
    """Invariants: an entry is told once; it gives its place up after it was told, when it is its turn."""

    def __init__(
        self,
        table: Table,
        admission: Admission,
        scheduler: Scheduler,
        *,
        reruns: Reruns,
        clock: Callable[[], float],
        operate: Callable[[Operation], None],
    ) -> None:
        self._table, self._admission, self._scheduler = table, admission, scheduler
        self._clock, self._operate, self._reruns = clock, operate, reruns
        self._accepted: set[Call] = set()  # calls that were admitted and not told
        self._over, self._releasing = deque[Entry](), False  # told, and to give up their places
        self.order = Order(table)
        self.failures = Failures(self.order, done=self.done, tell=self.tell, release=self.release)
        self.deadlines = Deadlines(clock, self.failures.fail)
        self.ready = asyncio.Event()  # the scheduler has something to run
        self.freed = asyncio.Event()  # something that was accepted has left

    def __repr__(self) -> str:
        return f"<Calls {self._admission!r}, {self.order!r}, {self._scheduler!r}>"

    @property
    def idle(self) -> bool:
        """Whether everything that was accepted has ended."""
        return not (self._admission.rows or self.order.open or self._reruns)

    def close(self) -> None:
        """Let go of what refers back: nothing is accepted any more, and nothing waits."""
        del self.failures, self.deadlines, self._operate

    # Beginnings.

    def admit(self, call: Call) -> None:
        """Count a call that is accepted."""
        call.arrived = self._clock()
        self._admission.enter(call)
        self._accepted.add(call)

    def begin(self, call: Call) -> None:
        """Let a call run when it is its turn, from the steps in `starts`, unless its deadline passes before."""
        call.arrived = self._clock()
        if call.deadline is not None:
            self.deadlines.add(call, call.deadline)
        if not call.commits or self._place(call):
            self._schedule(call)

    def enter(self, call: Call) -> None:
        """Admit a call that has run already, and wait for its commit."""
        self.admit(call)
        self._place(call)

    def _place(self, call: Call) -> bool:
        """Put a call into the order → whether it is its turn."""
        table, where = self._table, call.where
        table.ahead[where] = call.starts + call.lengths
        table.waiting[where] += 1
        self.touch(where)
        return self.order.add(call)

    def operate(self, operation: Operation) -> None:
        """Let an operation act when it is its turn."""
        self._table.waiting[operation.where] += 1
        if operation.step_after is not None:
            self._table.ahead[operation.where] = operation.step_after
        if self.order.add(operation):
            self._operate(operation)

    def follow(self, first: Call, repeat: Repeat) -> None:
        """Let a retry wait for the call that it repeats, until the later of their deadlines."""
        first.repeats.append(repeat)
        if first.deadline is not None:
            self.deadlines.extend(first.deadline, repeat.call.deadline)

    def touch(self, rows: Places) -> None:
        """Restart the idle clocks of sessions."""
        self._table.deadline[rows] = self._clock() + self._table.ttl[rows]

    # Ends.

    def done(self, call: Call, count: int) -> bool:
        """So many rows of a call are done → whether all are; then it is told."""
        call.left -= count
        if call.left:
            return False
        self.tell(call)
        return True

    def tell(self, call: Call) -> None:
        """Tell a call that has ended, and the retries that waited for it."""
        call.told = True
        self._accepted.discard(call)
        for part in call.parts:
            self.abandon(part)
        self._admission.leave(call, self._clock() - call.arrived)
        if call.deadline is not None:
            self.deadlines.done(call, call.deadline)
        if call.serial:
            self._table.waiting[call.where] -= 1
        if call.errors:
            self._reruns.settle(call, self._table.birth, self._answer)
        else:
            self._answer(call)

    def _answer(self, call: Call) -> None:
        """Tell the client of a call what came of it, and the retries that waited for it."""
        if call.commits or len(call.tags or ()) < 2:  # else each is run by itself now, and counted then: see Predicts
            for error in call.errors.values():
                self._admission.refuse(error)
        self.freed.set()
        try:
            call.ended(call)
        except Exception:
            _log.exception("an answer was lost")
        repeats, call.repeats = call.repeats, []
        for repeat in repeats:
            self._repeat(call, repeat)

    def join(self, call: Call, places: Index, part: Call) -> None:
        """A part of a call, which is its rows at these places, has ended."""
        if call.told:
            return
        for index, place in enumerate(places.tolist()):
            call.take(place, part, index)
        if part.errors and not call.commits:
            self.tell(call)  # a predict fails whole
        else:
            self.done(call, len(places))

    def release(self, entries: Iterable[Entry]) -> None:
        """Give up the places of entries that were told, and begin those whose turn has come."""
        self._over.extend(entries)
        if self._releasing:
            return  # an operation that begins below ends at once, maybe; a thousand of them are no thousand frames deep
        self._releasing = True
        try:
            while self._over:
                for entry in self.order.release(self._over.popleft()):
                    if entry.told:
                        self._over.append(entry)
                    elif isinstance(entry, Operation):
                        self._operate(entry)
                    elif isinstance(entry, Call):
                        self._schedule(entry)
        finally:
            self._releasing = False

    def acted(self, operation: Operation, error: CarouselError | None) -> None:
        """An operation whose turn it was is committed, or it failed."""
        if operation.told:
            return  # aborted meanwhile
        self._end(operation)
        try:
            if error is not None:
                raise error
            operation.answer.set_result(operation.act())  # never cancelled: clients await it shielded
        except Exception as refusal:
            self._refuse(operation, refusal)
            if operation.step_after is not None:
                row = operation.rows.item(0)
                self.failures.end(self.failures.behind(operation, row, self._table.step.item(row)))
        self.freed.set()
        self.release([operation])

    def end_waiting(self, row: int, error: CarouselError) -> None:
        """End what waits on a session unapplied. What has begun, or ran along with it, ends when its commit does."""
        calls: list[tuple[Call, int, CarouselError]] = []
        for entry in (one for one in [*self.order.waiting(row)][-2::-1] if not (one.told or one.pending)):
            if isinstance(entry, Operation) and not entry.stays:
                self._end(entry)
                self._refuse(entry, error)
            elif isinstance(entry, Call):
                calls.append((entry, entry.place(row), error))
        self.failures.fail(calls)

    def _end(self, operation: Operation) -> None:
        operation.told = True
        self._table.waiting[operation.where] -= self._table.birth[operation.where] != 0  # else its row was freed before

    def _refuse(self, operation: Operation, error: Exception) -> None:
        """An operation was not applied: it is told so, or asked again."""
        if isinstance(error, SessionMoved) and operation.again is not None:
            session, again = operation.again
            self._reruns.add(session.id, session.birth, operation.serial, again)
        else:
            operation.answer.set_exception(error)
            operation.answer.exception()  # the client may have left

    def abandon(self, call: Call) -> None:
        """The client of a predict has left: what of it did not run does not."""
        if not call.told:
            call.ended = _ignore
            self.tell(call)

    def abort(self, error: Callable[[Entry], CarouselError]) -> None:
        """End everything unapplied."""
        self._scheduler.clear()
        calls = [*(entry for entry in self.order.open.values() if isinstance(entry, Call)), *self._accepted]
        unapplied = [self._unapplied(call) for call in calls]
        entries = self.order.clear()
        for call, rows in zip(calls, unapplied, strict=True):  # parts of calls come first, and tell them
            if not call.told:
                call.errors = dict.fromkeys(rows, error(call)) | call.errors
                self.tell(call)
        for entry in entries:
            if isinstance(entry, Operation):
                self.acted(entry, error(entry))

    def _schedule(self, call: Call) -> None:
        self._scheduler.add(call)
        self.ready.set()

    def _unapplied(self, call: Call) -> list[int]:
        """The rows of a call that are not done."""
        waits = call.before or not call.commits
        return [row for row, step in enumerate(self._table.step[call.rows]) if waits or step == call.starts[row]]

    def _repeat(self, call: Call, repeat: Repeat) -> None:
        """Answer a retry as the call that it waited for was answered."""
        if not repeat.call.told:
            repeat.call.take(repeat.row, call, repeat.place)
            self.done(repeat.call, 1)


def _ignore(call: Call) -> None:
    """Tell nothing."""
