"""Accepted work of one engine, from its arrival to its end; every decision about it, none of the waiting.

It knows calls, turns and the rows whose order they keep; not the model, nor when it runs. What arrives between two
ticks is decided on together, in the order of arrival. It is called on the loop's thread only.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from service.arrivals import alike, misfits
from service.bundle import ENDED, NOBODY, Bundle, Works
from service.chains import Chains
from service.errors import CarouselError, DeadlineExceeded, StepConflict
from service.gate import Gate
from service.replay import Answers, Digester, Digests
from service.rows import ZERO, Array, Index, Rows
from service.scheduler import Scheduler
from service.statistics import Tally
from service.work import UNCHECKED, Call, Patience, Turn

_T = TypeVar("_T")


class Queue:
    """What was accepted and is not answered. Invariants: the head of a session's chain, if it is a work, is in the
    scheduler or in the batch that runs, and no other work of it is; whatever leaves gives its room and its row back.
    """

    def __init__(
        self,
        rows: Rows,
        answers: Answers,
        gate: Gate,
        scheduler: Scheduler,
        *,
        tally: Tally,
        features: int,
        outputs: int,
        clock: Callable[[], float],
    ) -> None:
        self._rows, self._answers, self._gate, self._scheduler = rows, answers, gate, scheduler
        self._tally, self._digester, self._outputs, self._clock = tally, Digester(features), outputs, clock
        self.works = Works()
        self._chains = Chains(rows, self.works)
        self._arrived: list[Call] = []
        self._calls: dict[Call, None] = {}  # accepted and not done, in the order of arrival
        self._turns: dict[int, Turn] = {}  # by the work that keeps their place
        self._followers: dict[int, list[tuple[Call, int]]] = {}  # retries that wait for a work
        self._impatient: set[Patience] = set()  # deadlines that may still pass
        self._ended: list[Call] = []  # to be told so
        self._bundled = 0
        self.ready = asyncio.Event()  # there is something to do
        self.freed = asyncio.Event()  # something left

    def __repr__(self) -> str:
        return f"<Queue {len(self._calls)} calls, {len(self._turns)} turns, {self._scheduler!r}>"

    def __len__(self) -> int:
        return len(self._calls) + len(self._turns)

    # From the doors.

    def add(self, call: Call) -> None:
        """A call for which there is room has arrived."""
        call.left = len(call.rows)
        call.size = call.inputs.nbytes + 4 * len(call.inputs) * self._outputs
        self._gate.enter(call.left, call.size)
        if not call.stateless:
            self._rows.waiting[call.rows] += 1
        self._calls[call] = None
        self._arrived.append(call)
        if call.patience is not None:
            call.patience.calls[call] = None
            self._arm(call.patience)
        self.ready.set()

    def turn(self, session: int, act: Callable[[], _T], step_after: int | None = None) -> "asyncio.Future[_T]":
        """Do `act` once what the session has accepted before is done; now, if nothing is."""
        self.settle()
        turn = Turn(session, act, asyncio.get_running_loop().create_future(), step_after)
        if step_after is not None:
            self._rows.ahead[session] = step_after
        work = self.works.take(1)
        self.works.session[work], self.works.steps[work], self.works.bundle[work] = session, 0, ENDED
        self._turns[int(work[0])] = turn
        self._rows.waiting[session] += 1
        if len(self._chains.append(work, np.array([session]))):
            self._start(session)
        return turn.answer

    def abandon(self, call: Call) -> None:
        """The caller of a predict has left: what of it did not run does not."""
        if call in self._calls:
            self.settle()
            self._fail([(work, CarouselError()) for work in self._of(call)])
            call.errors.clear()  # nobody was refused
            self._tell()

    def abort(self, error: CarouselError) -> None:
        """End everything unapplied."""
        self.settle()
        works = [work for call in self._calls for work in self._of(call)]
        for session in {int(self.works.session[work]) for work in works} - {ZERO}:
            self.works.give(np.array(self._chains.of(session)[1:], np.int64))  # the head is scheduled, or it runs
            self._chains.replace(session, [])
            self._rows.ahead[session] = self._rows.step[session]
            self._rows.waiting[session] = 0
        for work in works:
            self._unapplied(work, error)
        for turn in self._turns.values():
            turn.answer.set_exception(error)
            turn.answer.exception()  # nobody has to look at it: whoever asked may have left
        self._turns.clear()
        self._tell()

    def settle(self) -> None:
        """Decide on what has arrived."""
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            for together in alike(arrived):
                self._accept(together)
            self._tell()

    # From the loop.

    def next_batch(self) -> Index:
        """What runs in the next tick. Empty: all that was popped had ended, or none is ready and `ready` is cleared."""
        self.settle()
        ids = self._scheduler.next_batch()
        if not len(ids):
            self.ready.clear()
            self.works.suspect = False  # nothing is queued, and nothing runs
        if self._impatient:
            self._hurry(ids)
        return self.running(ids)

    def running(self, ids: Index) -> Index:
        """Those of the works that did not end while they were queued or ran; the others leave now."""
        if not self.works.suspect or (alive := self.works.alive(ids)).all():
            return ids
        self.works.give(ids[~alive])
        return ids[alive]

    def goes_on(self, ids: Index) -> None:
        """A chunk of each is done, and not its last one."""
        self._scheduler.add(ids, self.works.steps[ids] - self.works.done[ids])

    def finish(self, ids: Index) -> None:
        """The last chunk of each is done and its state in place: state, step and kept answer change together."""
        works, rows = self.works, self._rows
        sessions, starts = works.session[ids], works.start[ids]
        own = ids if sessions.all() else ids[sessions != ZERO]
        heads = own[:0]
        if len(own):
            mine = sessions if len(own) == len(ids) else sessions[sessions != ZERO]
            rows.step[mine] = works.start[own] + works.steps[own]
            rows.waiting[mine] -= 1
            rows.deadline[mine] = self._clock() + rows.ttl[mine]
            heads = self._chains.advance(own, mine)
        for work in self._followers.keys() & set(ids.tolist()) if self._followers else ():
            self._repeat(work)
        for bundle, part in works.by_bundle(ids):
            places = works.place[ids[part]]
            bundle.begun(places, starts[part])
            if bundle.kept:
                self._keep(bundle, ids[part], sessions[part], starts[part])
            self._leave(bundle, places)
        for row in works.row[ids[works.row[ids] != works.session[ids]]].tolist():
            rows.free(row)
        works.end(ids)
        works.give(ids)
        if len(heads):
            self._heads(heads)
        self._tell()

    def fail(self, work: int, error: CarouselError) -> None:
        """End a work that just ran unapplied, and with it what cannot be wanted any more: the later works of its
        session that named a step, the other sequences of its predict.
        """
        self.settle()
        if self.works.bundle[work] != ENDED:  # else another sequence of its predict failed in the same batch
            bundle = self.works.bundles[int(self.works.bundle[work])]
            call, _ = bundle.of(int(self.works.place[work]))
            self._fail([(one, error) for one in (self._of(call) if bundle.stateless else [work])])
        self.works.give(np.array([work]))
        self._tell()

    # Arrivals.

    def _accept(self, calls: list[Call]) -> None:
        """Calls on different sessions, or stateless ones."""
        if not calls[0].stateless:
            irregular = dict.fromkeys(misfits(calls, self._rows.ahead))
            for call in irregular:
                self._decide(call)
            calls = [call for call in calls if call not in irregular] if irregular else calls
        if calls:
            bundle = self._bundle(calls)
            self._enter(bundle, None if bundle.stateless else self._digester.of(bundle.inputs, bundle.lengths))

    def _decide(self, call: Call) -> None:
        """A call of which not every step is the next one: repeats of kept or waiting calls, or a conflict."""
        digests = self._digester.of(call.inputs, call.lengths)
        new, kept, waiting = [], {}, {}
        for index, (session, asked) in enumerate(zip(call.rows.tolist(), call.asked.tolist(), strict=True)):
            ahead, steps = int(self._rows.ahead[session]), int(call.lengths[index])
            if asked in (UNCHECKED, ahead):
                new.append(index)
            elif (work := self._waits(session, asked, steps, digests[index])) is not None:
                waiting[index] = work
            elif (outputs := self._answers.find(session, asked, steps, digests[index])) is not None:
                kept[index] = outputs
            else:
                self._refuse(call, index, StepConflict(asked, ahead))
                return
        bundle = self._bundle([call])
        self._rows.waiting[call.rows[[*kept, *waiting]]] -= 1
        for index, outputs in kept.items():
            self._repeated(call, index, int(call.asked[index]), outputs)
            self._touch(int(call.rows[index]))
        for index, work in waiting.items():
            self._follow(call, index, work)
        if new:
            places = np.array(new)
            bundle.narrow(places)
            self._enter(bundle, digests[places])

    def _refuse(self, call: Call, index: int, error: CarouselError) -> None:
        self._rows.waiting[call.rows] -= 1
        call.refused, call.left, call.errors = True, 0, {index: error}
        self._ended.append(call)

    def _bundle(self, calls: list[Call]) -> Bundle:
        self._bundled += 1
        return Bundle(calls, self._outputs, number=self._bundled, arrived=self._clock())

    def _enter(self, bundle: Bundle, digests: Digests | None) -> None:
        """Make works of a bundle, and schedule those that nothing of their sessions comes before."""
        works, rows = self.works, self._rows
        ids = bundle.ids = works.enter(bundle)
        if digests is not None:
            starts = rows.ahead[bundle.rows]
            rows.ahead[bundle.rows] = starts + bundle.lengths
            rows.deadline[bundle.rows] = self._clock() + rows.ttl[bundle.rows]
            works.start[ids], works.digest[ids] = starts, digests
            ids = self._chains.append(ids, bundle.rows)
        if bundle.single:
            self._scheduler.add_single(ids)
        elif len(ids):
            self._scheduler.add(ids, works.steps[ids])

    def _waits(self, session: int, asked: int, steps: int, digest: Digests) -> int | None:
        """The waiting work that a call repeats."""
        works = self.works
        for work in reversed(self._chains.of(session)):
            if work in self._turns:
                if self._turns[work].step_after is not None:
                    return None  # what came before a replaced state is no call of this one
            elif works.start[work] == asked and works.steps[work] == steps and (works.digest[work] == digest).all():
                return work
        return None

    def _follow(self, call: Call, index: int, work: int) -> None:
        """A retry waits for the work that it repeats, until the later of their deadlines."""
        self._followers.setdefault(work, []).append((call, index))
        first = self.works.bundles[int(self.works.bundle[work])].of(int(self.works.place[work]))[0]
        if first.patience is not None and not first.patience.taken:
            later = call.patience.deadline if call.patience is not None else float("inf")
            first.patience.deadline = max(first.patience.deadline, later)
            self._arm(first.patience)

    def _repeated(self, call: Call, index: int, start: int, outputs: Array) -> None:
        """A retry is answered."""
        at = int(call.lengths[:index].sum())
        call.outputs[at : at + len(outputs)] = outputs
        call.starts[index] = start
        self._one_less(call)

    def _repeat(self, work: int) -> None:
        """Answer the retries that waited for a work."""
        works = self.works
        at, start = int(works.at[work]), int(works.start[work])
        outputs = works.bundles[int(works.bundle[work])].outputs[at : at + int(works.steps[work])]
        for call, index in self._followers.pop(work):
            self._repeated(call, index, start, outputs)

    # Ends.

    def _keep(self, bundle: Bundle, ids: Index, sessions: Index, starts: Index) -> None:
        works = self.works
        at = works.at[ids]
        if bundle.single:
            self._answers.keep(sessions, starts, works.digest[ids], bundle.outputs[at])
            return
        for work, session, start, first in zip(ids, sessions.tolist(), starts.tolist(), at.tolist(), strict=True):
            outputs = bundle.outputs[first : first + int(works.steps[work])]
            self._answers.keep_long(session, start, works.digest[work], outputs)

    def _leave(self, bundle: Bundle, places: Index) -> None:
        self._ended += bundle.end(places)
        if not bundle.left:
            del self.works.bundles[bundle.number]

    def _one_less(self, call: Call) -> None:
        call.left -= 1
        if not call.left:
            self._ended.append(call)

    def _unapplied(self, work: int, error: CarouselError) -> None:
        """A work ends without a trace; who holds its index gives it back."""
        works = self.works
        bundle, place = works.bundles[int(works.bundle[work])], int(works.place[work])
        if works.row[work] != works.session[work]:
            self._rows.free(int(works.row[work]))
        for call, index in self._followers.pop(work, ()):
            call.errors[index] = error
            self._one_less(call)
        bundle.fail(place, error)
        self._leave(bundle, np.array([place]))
        works.bundle[work], works.suspect = ENDED, True

    def _fail(self, works: list[tuple[int, CarouselError]]) -> None:
        for work, error in works:
            self._unapplied(work, error)
        for session in {int(self.works.session[work]) for work, _ in works} - {ZERO}:
            self._close_ranks(session)

    def _close_ranks(self, session: int) -> None:
        """Works of a session have ended unapplied: number what waits anew, and start what is the head now."""
        works, rows = self.works, self._rows
        chain = self._chains.of(session)
        left, ahead = [], int(rows.step[session])
        for work in chain:
            if work in self._turns:
                after = self._turns[work].step_after
                ahead = ahead if after is None else after
            elif works.bundle[work] != ENDED and works.asked[work] not in (UNCHECKED, ahead):
                self._unapplied(work, StepConflict(int(works.start[work]), ahead))
            elif works.bundle[work] != ENDED:
                works.start[work] = ahead
                ahead += int(works.steps[work])
            if work in self._turns or works.bundle[work] != ENDED:
                left.append(work)
            elif work != chain[0]:  # the head lies in the scheduler, or whoever runs it gives it back
                works.give(np.array([work]))
        self._chains.replace(session, left)
        rows.waiting[session] -= len(chain) - len(left)
        rows.ahead[session] = ahead
        if left[:1] != chain[:1]:
            self._start(session)

    def _touch(self, session: int) -> None:
        self._rows.deadline[session] = self._clock() + self._rows.ttl[session]

    def _heads(self, ids: Index) -> None:
        """These are the first of their sessions now."""
        if self._turns:
            for work in ids.tolist():
                self._start(int(self.works.session[work]))
        else:
            self._scheduler.add(ids, self.works.steps[ids])

    def _start(self, session: int) -> None:
        """Do the turns at the head of a session's chain, and schedule the work behind them."""
        while (turn := self._turns.pop(int(self._rows.head[session]), None)) is not None:
            work = self._rows.head[[session]]
            self._rows.waiting[session] -= 1
            self._chains.advance(work, np.array([session]))
            self.works.give(work)
            turn.answer.set_result(turn.act())  # never cancelled: callers await it shielded
        head = self._rows.head[[session]]
        if head[0] != NOBODY:
            self._scheduler.add(head, self.works.steps[head])

    def _tell(self) -> None:
        """Tell the callers whose calls are done."""
        while self._ended:
            ended, self._ended = self._ended, []
            for call in ended:
                del self._calls[call]
                call.bundle = None  # they know each other, and nobody should wait for the collector
                self._tally.refused.update(error.code for error in call.errors.values())
                self._gate.leave(len(call.rows), call.size)
                if call.patience is not None:
                    self._calm(call.patience, call)
                call.ended(call)
            self.freed.set()

    def _of(self, call: Call) -> list[int]:
        """The works of a call that are not done."""
        if call.bundle is None:
            return []
        ids = call.bundle.ids[call.first : call.first + len(call.rows)]
        return [int(work) for work in ids if self.works.bundle[work] == call.bundle.number]

    # Deadlines.

    def _arm(self, patience: Patience) -> None:
        if patience.timer is not None:
            patience.timer.cancel()
        self._impatient.add(patience)
        left = max(0.0, patience.deadline - self._clock())
        if left < float("inf"):
            patience.timer = asyncio.get_running_loop().call_later(left, self._expire, patience)

    def _expire(self, patience: Patience) -> None:
        deadline = patience.deadline
        self.settle()
        if patience in self._impatient and patience.deadline == deadline:  # else a retry has extended it just now
            self._fail([(work, DeadlineExceeded()) for call in patience.calls for work in self._of(call)])
            self._tell()

    def _hurry(self, ids: Index) -> None:
        """These are about to run: those whose deadline has passed do not, and for the others it means nothing more."""
        for work in ids.tolist():
            number = int(self.works.bundle[work])
            if number == ENDED:
                continue
            patience = self.works.bundles[number].of(int(self.works.place[work]))[0].patience
            if patience in self._impatient:
                if self._clock() >= patience.deadline:
                    self._expire(patience)
                else:
                    self._calm(patience)

    def _calm(self, patience: Patience, call: Call | None = None) -> None:
        """Its deadline means nothing any more, or for a call that is done."""
        if call is not None:
            del patience.calls[call]
        if call is None or not patience.calls:
            patience.taken = patience.taken or call is None
            self._impatient.discard(patience)
            if patience.timer is not None:
                patience.timer.cancel()  # the loop would hold its arrays until then
                patience.timer = None
