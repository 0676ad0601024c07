"""What was accepted and is not done: the works, their order, what waits for them, and how each ends.

It knows calls, turns and the rows whose order they keep; it decides on nothing that has just arrived, or runs next.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from service.bundle import ALL, Bundle, Places
from service.chains import Chains
from service.deadlines import Deadlines
from service.errors import CarouselError, DeadlineExceeded, StepConflict
from service.gate import Gate
from service.models.model import Array, Index
from service.rows import ZERO, Rows
from service.scheduler import Scheduler
from service.statistics import Tally
from service.work import UNCHECKED, Call, Patience, Turn
from service.works import NOBODY, Works


class Accepted:
    """Invariants: the head of a session's chain, if it is a work, is in the scheduler or in the batch that runs, and no
    other work of it is; whatever leaves gives its room and its row back.
    """

    def __init__(
        self,
        rows: Rows,
        gate: Gate,
        scheduler: Scheduler,
        *,
        tally: Tally,
        clock: Callable[[], float],
        expired: Callable[[Patience], None],
    ) -> None:
        self._rows, self._gate, self._scheduler, self._tally, self._clock = rows, gate, scheduler, tally, clock
        self.works = Works()
        self.chains = Chains(rows, self.works)
        self.deadlines = Deadlines(clock, expired)
        self.turns: dict[int, Turn] = {}  # by the work that keeps their place
        self.followers: dict[int, list[tuple[Call, int]]] = {}  # retries that wait for a work
        self.ended: deque[Call] = deque()  # to be told so
        self.freed = asyncio.Event()  # something left

    def __repr__(self) -> str:
        return f"<Accepted {self.works!r}, {len(self.turns)} turns, retries of {len(self.followers)}>"

    def __len__(self) -> int:
        return self._gate.rows + len(self.turns)

    # How things stand.

    def touch(self, session: int) -> None:
        """Restart the idle clock of a session."""
        self._rows.deadline[session] = self._clock() + self._rows.ttl[session]

    def heads(self, ids: Index) -> None:
        """These are the first of their sessions now."""
        if self.turns:
            for work in ids.tolist():
                if work in self.turns:
                    self.start(self.turns[work].session)
                else:
                    self.schedule(np.array([work]))
        else:
            self.schedule(ids)

    def schedule(self, ids: Index) -> None:
        """Let works run that have not begun."""
        for bundle, places, mine in self.works.parts(ids):
            if bundle.each:
                self._scheduler.add_equal(mine, bundle.each)
            else:
                self._scheduler.add(mine, bundle.lengths[places])

    def start(self, session: int) -> None:
        """Do the turns at the head of a session's chain, and schedule the work behind them."""
        while (turn := self.turns.pop(int(self._rows.head[session]), None)) is not None:
            work = self._rows.head[[session]]
            self._rows.waiting[session] -= 1
            self.chains.advance(work, np.array([session]))
            self.works.give(work)
            turn.answer.set_result(turn.act())  # never cancelled: callers await it shielded
        head = self._rows.head[[session]]
        if head[0] != NOBODY:
            self.schedule(head)

    def alive(self, bundle: Bundle) -> list[int]:
        """The works of a bundle that are not done."""
        return self._alive(bundle, bundle.ids)

    def of(self, call: Call) -> list[int]:
        """The works of a call that are not done."""
        if (bundle := call.bundle) is None:
            return []
        mine = slice(call.first, call.first + call.count)  # of a call with its own bundle maybe not all are works
        return self._alive(bundle, bundle.ids[mine])

    def _alive(self, bundle: Bundle, ids: Index) -> list[int]:
        alive: list[int] = ids[self.works.bundle[ids] == bundle.number].tolist()
        return alive

    def callers(self, ids: Iterable[int]) -> list[Call]:
        """Whose works these are."""
        found = [self.works.at(int(work)) for work in ids if self.works.is_alive(int(work))]
        return [bundle.of(place)[0] for bundle, place in found]

    # Ends.

    def leave(self, bundle: Bundle, places: Places) -> None:
        """Works are done, and with them perhaps their calls."""
        self.ended += bundle.end(places)
        if not bundle.left:
            self.works.bundles.pop(bundle.number, None)

    def free(self, bundle: Bundle, places: Places) -> None:
        """The running states of works that are done need no rows of their own any more."""
        own = bundle.row[places]
        for row in own[own != bundle.rows[places]].tolist():
            self._rows.free(row)

    def repeat(self, work: int) -> None:
        """Answer the retries that waited for a work."""
        bundle, place = self.works.at(work)
        at = int(bundle.at(ALL)[place])
        outputs = bundle.outputs[at : at + int(bundle.lengths[place])]
        for call, index in self.followers.pop(work):
            self.repeated(call, index, int(bundle.starts[place]), outputs)

    def repeated(self, call: Call, index: int, start: int, outputs: Array) -> None:
        """A retry is answered."""
        assert call.bundle is not None
        at = int(call.bundle.at(ALL)[index])
        call.bundle.outputs[at : at + len(outputs)] = outputs
        call.bundle.starts[index] = start
        self.leave(call.bundle, np.array([index]))

    def fail(self, works: list[tuple[int, CarouselError]]) -> None:
        """End works unapplied, and with each what cannot run any more behind it."""
        sessions = set()
        for work, error in works:
            if self.works.is_alive(work):
                bundle, place = self.works.at(work)
                sessions.add(int(bundle.rows[place]))
                self._unapplied(work, error)
        for session in sessions - {ZERO}:
            self._close_ranks(session)

    def _unapplied(self, work: int, error: CarouselError) -> None:
        """A work ends without a trace; who holds its index gives it back."""
        bundle, place = self.works.at(work)
        self._unrepeated(work, error)
        call, index = bundle.of(place)
        call.errors[index] = error
        self.free(bundle, np.array([place]))
        self.leave(bundle, np.array([place]))
        self.works.end(np.array([work]))
        self.works.suspect = True

    def _unrepeated(self, work: int, error: CarouselError) -> None:
        """The retries that waited for a work end unapplied."""
        for call, index in self.followers.pop(work, ()):
            call.errors[index] = error
            assert call.bundle is not None
            self.leave(call.bundle, np.array([index]))

    def _close_ranks(self, session: int) -> None:
        """Works of a session have ended unapplied: number what waits anew, and start what is the head now."""
        rows = self._rows
        before = self.chains.of(session)
        left, ahead = [], int(rows.step[session])
        for work in before:
            if work in self.turns:
                after = self.turns[work].step_after
                ahead = ahead if after is None else after
                left.append(work)
            elif self._fits(work, ahead):
                bundle, place = self.works.at(work)
                if bundle.starts[place] != ahead:  # whoever repeats it named the step that it had
                    self._unrepeated(work, StepConflict(int(bundle.starts[place]), ahead))
                bundle.starts[place] = ahead
                ahead += int(bundle.lengths[place])
                left.append(work)
            elif work != before[0]:  # the head lies in the scheduler, or whoever runs it gives it back
                self.works.give(np.array([work]))
        self.chains.replace(session, left)
        rows.waiting[session] -= len(before) - len(left)
        rows.ahead[session] = ahead
        if left[:1] != before[:1]:
            self.start(session)

    def _fits(self, work: int, ahead: int) -> bool:
        """Whether a work still runs where its session stands now; it ends unapplied if not."""
        if not self.works.is_alive(work):
            return False
        bundle, place = self.works.at(work)
        if bundle.asked[place] in (UNCHECKED, ahead):
            return True
        self._unapplied(work, StepConflict(int(bundle.starts[place]), ahead))
        return False

    def tell(self) -> None:
        """Tell the callers whose calls are done; where one raises, the others are told when the engine aborts."""
        while self.ended:
            call = self.ended.popleft()
            if call.errors:
                self._tally.refused.update(error.code for error in call.errors.values())
            self._gate.leave(call.count, call.size)
            if call.patience is not None:
                self.deadlines.done(call, call.patience)
            call.bundle = None  # they know each other, and nobody should wait for the collector
            self.freed.set()
            call.ended(call)

    def expire(self, patience: Patience) -> None:
        """The deadline of calls has passed; it means nothing if a first chunk of them ran."""
        if patience in self.deadlines:
            self.fail([(work, DeadlineExceeded()) for call in patience.calls for work in self.of(call)])
            self.tell()

    def abort(self, error: CarouselError) -> None:
        """End everything unapplied."""
        bundles = list(self.works.bundles.values())
        works = [work for bundle in bundles for work in self.alive(bundle)]
        for session in {int(row) for bundle in bundles for row in bundle.rows} - {ZERO}:
            self.works.give(np.array(self.chains.of(session)[1:], np.int64))  # the head is scheduled, or it runs
            self.chains.replace(session, [])
            self._rows.ahead[session] = self._rows.step[session]
            self._rows.waiting[session] = 0
        for work in works:
            self._unapplied(work, error)
        for turn in self.turns.values():
            turn.answer.set_exception(error)
            turn.answer.exception()  # nobody has to look at it: whoever asked may have left
        self.turns.clear()
        self.tell()
