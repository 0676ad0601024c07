"""Accepted work of one engine, from its arrival to its end; every decision about it, none of the waiting.

It knows calls, turns and the rows whose order they keep; not the model, nor when it runs. What arrives between two
ticks is decided on together, calls on one session in the order of arrival. It is called on the loop's thread only.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TypeVar

import numpy as np

from service.arrivals import alike
from service.bundle import ALL, Batch, Bundle, Part, Places, Round
from service.chains import Chains
from service.deadlines import Deadlines
from service.errors import CarouselError, DeadlineExceeded, StepConflict
from service.gate import Gate
from service.replay import Answers, Digester, Digests
from service.rows import ZERO, Array, Index, Rows, every
from service.scheduler import Scheduler
from service.statistics import Tally
from service.work import UNCHECKED, Call, One, Patience, Turn
from service.works import ENDED, NOBODY, Works

_T = TypeVar("_T")
_ONE = np.ones(1, np.int64)


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
        self._deadlines = Deadlines(clock, self._expire)
        self._arrived: list[Call] = []
        self._turns: dict[int, Turn] = {}  # by the work that keeps their place
        self._followers: dict[int, list[tuple[Call, int]]] = {}  # retries that wait for a work
        self._ended: list[Call] = []  # to be told so
        self._bundled = 0
        self.ready = asyncio.Event()  # there is something to do
        self.freed = asyncio.Event()  # something left

    def __repr__(self) -> str:
        return f"<Queue {self._gate!r}, {len(self._turns)} turns, {self._scheduler!r}>"

    def __len__(self) -> int:
        return self._gate.rows + len(self._turns)

    # From the doors.

    def add(self, call: Call) -> None:
        """A call for which there is room has arrived."""
        call.size = call.inputs.nbytes + 4 * len(call.inputs) * self._outputs
        self._gate.enter(call.left, call.size)
        if isinstance(call, One):
            self._rows.waiting[call.row] += not call.stateless
        elif not call.stateless:
            self._rows.waiting[call.rows] += 1
        self._arrived.append(call)
        if call.patience is not None:
            self._deadlines.add(call, call.patience)
        self.ready.set()

    def turn(self, session: int, act: Callable[[], _T], step_after: int | None = None) -> "asyncio.Future[_T]":
        """Do `act` once what the session has accepted before is done; now, if nothing is."""
        self.settle()
        turn = Turn(session, act, asyncio.get_running_loop().create_future(), step_after)
        if step_after is not None:
            self._rows.ahead[session] = step_after
        work = self.works.take(1)
        self.works.end(work)
        self._turns[int(work[0])] = turn
        self._rows.waiting[session] += 1
        if len(self._chains.append(work, np.array([session]))):
            self._start(session)
        return turn.answer

    def abandon(self, call: Call) -> None:
        """The caller of a predict has left: what of it did not run does not."""
        if call.left:
            self.settle()
            self._fail([(work, CarouselError()) for work in self._of(call)])
            call.errors.clear()  # nobody was refused
            self._tell()

    def abort(self, error: CarouselError) -> None:
        """End everything unapplied."""
        self.settle()
        bundles = list(self.works.bundles.values())
        works = [work for bundle in bundles for work in self._alive(bundle)]
        for session in {int(row) for bundle in bundles for row in bundle.rows} - {ZERO}:
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
            if self._ended:
                self._tell()

    # From the loop.

    def alone(self) -> One | None:
        """The one call there is, if it is a plain next step: it needs no order, no batch and no deadline."""
        if len(self) != 1 or not self._arrived or len(self._scheduler):  # there may lie what has ended
            return None
        call = self._arrived[0]
        if not isinstance(call, One) or call.stateless or not call.kept or call.patience or len(call.inputs) != 1:
            return None
        return call if call.step in (UNCHECKED, self._rows.ahead[call.row]) else None

    def answered(self, call: One, outputs: Array) -> None:
        """The call that was alone is done and its state in place: state, step and kept answer change together."""
        rows, row, start = self._rows, call.row, int(self._rows.ahead[call.row])
        rows.step[row] = rows.ahead[row] = start + 1
        rows.waiting[row] = 0
        self._touch(row)
        self._answers.keep_one(row, start, self._digester.of(call.inputs, _ONE, each=1), outputs)
        call.outputs, call.start, call.left = outputs, start, 0
        self._arrived.clear()
        self._ended.append(call)
        self.ready.clear()
        self._tell()

    def next_batch(self) -> Batch:
        """What runs in the next tick. Empty: all that was popped had ended, or none is ready and `ready` is cleared."""
        self.settle()
        ids = self._scheduler.next_batch()
        if not len(ids):
            self.ready.clear()
            self.works.suspect = False  # nothing is queued, and nothing runs
            return []
        if self._deadlines:
            self._deadlines.run(self._callers(ids))
        ids = self.running(ids)
        return self._rounds(Round(ALL, self.works.parts(ids))) if len(ids) else []

    def _rounds(self, heads: Round) -> Batch:
        """What waits behind single steps runs with them, as long as half of the batch is not padding."""
        batch, ids = [heads], heads.ids
        if self._deadlines or not _single(heads):
            return batch  # a deadline may pass before a work is a head
        rows = steps = len(ids)
        most, where = self._scheduler.rounds(rows), ALL
        while len(batch) < most:
            behind = self.works.next[ids]
            goes_on = self.works.bundle[behind] != ENDED  # neither nobody nor a turn
            if not every(goes_on):
                behind, where = behind[goes_on], np.arange(rows)[where][goes_on]
            steps += len(behind)
            if not len(behind) or 2 * steps < rows * (len(batch) + 1):
                break
            ids, round = behind, Round(where, self.works.parts(behind))
            if not _single(round):
                break
            batch.append(round)
        return batch

    def running(self, ids: Index) -> Index:
        """Those of the works that did not end while they were queued or ran; the others leave now."""
        if not self.works.suspect or every(alive := self.works.alive(ids)):
            return ids
        self.works.give(ids[~alive])
        return ids[alive]

    def goes_on(self, parts: list[Part]) -> None:
        """A chunk of each is done, and not its last one."""
        for bundle, places, ids in parts:
            self._scheduler.add(ids, bundle.ahead(places))

    def finish(self, rounds: list[list[Part]]) -> None:
        """The last chunk of each is done and its state in place: state, step and kept answer change together."""
        sessions = [part.bundle.rows[part.places] for part in rounds[0] if not part.bundle.stateless]
        for part in chain.from_iterable(rounds):
            bundle, places, ids = part
            if self._followers:
                for work in self._followers.keys() & set(ids.tolist()):
                    self._repeat(work)
            if not bundle.stateless:
                self._stand(part)
            self._leave(bundle, places)
            if bundle.row is not bundle.rows:
                self._free(bundle, places)
            self.works.end(ids)
            self.works.give(ids)
        for some in sessions:
            heads = self._chains.heads(some)
            if len(heads):
                self._heads(heads)
        self._tell()

    def _stand(self, part: Part) -> None:
        """Sessions have done these works."""
        rows, (bundle, places, ids) = self._rows, part
        sessions, starts = bundle.rows[places], bundle.starts[places]
        rows.step[sessions] = starts + bundle.lengths[places]
        rows.waiting[sessions] -= 1
        rows.deadline[sessions] = self._clock() + rows.ttl[sessions]
        if bundle.kept:
            self._keep(bundle, places, sessions, starts)
        self._chains.advance(ids, sessions)

    def fail(self, work: int, error: CarouselError) -> None:
        """End a work that just ran unapplied, and with it what cannot be wanted any more: the later works of its
        session that named a step, the other sequences of its predict.
        """
        self.settle()
        if self.works.is_alive(work):  # else another sequence of its predict failed in the same batch
            bundle, place = self.works.at(work)
            call, _ = bundle.of(place)
            self._fail([(one, error) for one in (self._of(call) if bundle.stateless else [work])])
        self.works.give(np.array([work]))
        self._tell()

    # Arrivals.

    def _accept(self, calls: list[Call]) -> None:
        """Calls on different sessions, or stateless ones."""
        bundle = self._bundle(calls)
        if bundle.stateless:
            self._enter(bundle)
            return
        ahead = self._rows.ahead[bundle.rows]
        fits = bundle.asked == ahead
        if not every(fits) and not every(fits := fits | (bundle.asked == UNCHECKED)):
            irregular = dict.fromkeys(bundle.of(place)[0] for place in np.flatnonzero(~fits).tolist())
            for call in irregular:
                self._decide(call)
            if regular := [call for call in calls if call not in irregular]:
                self._accept(regular)
            return
        self._begin(bundle, ahead, self._digester.of(bundle.inputs, bundle.lengths, bundle.each))

    def _decide(self, call: Call) -> None:
        """A call of which not every step is the next one: repeats of kept or waiting calls, or a conflict."""
        bundle = self._bundle([call])
        digests = self._digester.of(bundle.inputs, bundle.lengths, bundle.each)
        ahead = self._rows.ahead[bundle.rows]
        new, kept, waiting = [], {}, {}
        for index, (session, asked) in enumerate(zip(bundle.rows.tolist(), bundle.asked.tolist(), strict=True)):
            steps = int(bundle.lengths[index])
            if asked in (UNCHECKED, int(ahead[index])):
                new.append(index)
            elif (work := self._waits(session, asked, steps, digests[index])) is not None:
                waiting[index] = work
            elif (outputs := self._answers.find(session, asked, steps, digests[index])) is not None:
                kept[index] = outputs
            else:
                self._refuse(bundle, index, StepConflict(asked, int(ahead[index])))
                return
        self._rows.waiting[bundle.rows[[*kept, *waiting]]] -= 1
        for index, outputs in kept.items():
            self._repeated(call, index, int(bundle.asked[index]), outputs)
            self._touch(int(bundle.rows[index]))
        for index, work in waiting.items():
            self._follow(call, index, work)
        if new:
            self._begin(bundle, ahead, digests, np.array(new))

    def _refuse(self, bundle: Bundle, index: int, error: CarouselError) -> None:
        [call] = bundle.calls
        self._rows.waiting[bundle.rows] -= 1
        call.refused, call.left, call.errors = True, 0, {index: error}
        self._ended.append(call)

    def _bundle(self, calls: list[Call]) -> Bundle:
        self._bundled += 1
        return Bundle(calls, self._outputs, number=self._bundled, arrived=self._clock())

    def _begin(self, bundle: Bundle, ahead: Index, digests: Digests, places: Places = ALL) -> None:
        """Works on sessions, from where they stand, run when it is their turn."""
        rows, sessions = self._rows, bundle.rows[places]
        bundle.starts[places], bundle.digests = ahead[places], digests
        rows.ahead[sessions] = ahead[places] + bundle.lengths[places]
        rows.deadline[sessions] = self._clock() + rows.ttl[sessions]
        ids = self.works.enter(bundle, places)
        heads = self._chains.append(ids, sessions)
        if len(heads):
            self._schedule(bundle, heads)

    def _enter(self, bundle: Bundle) -> None:
        """Works of no session can run at once."""
        self._schedule(bundle, self.works.enter(bundle))

    def _schedule(self, bundle: Bundle, ids: Index) -> None:
        """Let works of a bundle run that have not begun."""
        if bundle.each:
            self._scheduler.add_equal(ids, bundle.each)
        else:
            self._scheduler.add(ids, bundle.lengths[self.works.place[ids]])

    def _waits(self, session: int, asked: int, steps: int, digest: Digests) -> int | None:
        """The waiting work that a call repeats."""
        for work in reversed(self._chains.of(session)):
            if work in self._turns:
                if self._turns[work].step_after is not None:
                    return None  # what came before a replaced state is no call of this one
            elif self.works.is_alive(work):
                bundle, place = self.works.at(work)
                same = bundle.starts[place] == asked and bundle.lengths[place] == steps
                if same and bundle.digests is not None and (bundle.digests[place] == digest).all():
                    return work
        return None

    def _follow(self, call: Call, index: int, work: int) -> None:
        """A retry waits for the work that it repeats, until the later of their deadlines."""
        self._followers.setdefault(work, []).append((call, index))
        [first] = self._callers([work])
        if first.patience is not None:
            self._deadlines.extend(first.patience, call.patience)

    def _repeated(self, call: Call, index: int, start: int, outputs: Array) -> None:
        """A retry is answered."""
        assert call.bundle is not None
        at = int(call.bundle.at(ALL)[index])
        call.bundle.outputs[at : at + len(outputs)] = outputs
        call.bundle.starts[index] = start
        self._leave(call.bundle, np.array([index]))

    def _repeat(self, work: int) -> None:
        """Answer the retries that waited for a work."""
        bundle, place = self.works.at(work)
        at = int(bundle.at(ALL)[place])
        outputs = bundle.outputs[at : at + int(bundle.lengths[place])]
        for call, index in self._followers.pop(work):
            self._repeated(call, index, int(bundle.starts[place]), outputs)

    # Ends.

    def _keep(self, bundle: Bundle, places: Places, sessions: Index, starts: Index) -> None:
        assert bundle.digests is not None
        digests = bundle.digests[places]
        if bundle.each == 1:
            self._answers.keep(sessions, starts, digests, bundle.outputs[places])
        else:
            self._answers.keep_long(sessions, starts, digests, bundle.answers(places))

    def _leave(self, bundle: Bundle, places: Places) -> None:
        self._ended += bundle.end(places)
        if not bundle.left:
            self.works.bundles.pop(bundle.number, None)

    def _free(self, bundle: Bundle, places: Places) -> None:
        """The running states of works that are done need no rows of their own any more."""
        own = bundle.row[places]
        for row in own[own != bundle.rows[places]].tolist():
            self._rows.free(row)

    def _unapplied(self, work: int, error: CarouselError) -> None:
        """A work ends without a trace; who holds its index gives it back."""
        bundle, place = self.works.at(work)
        for call, index in self._followers.pop(work, ()):
            call.errors[index] = error
            assert call.bundle is not None
            self._leave(call.bundle, np.array([index]))
        call, index = bundle.of(place)
        call.errors[index] = error
        self._free(bundle, np.array([place]))
        self._leave(bundle, np.array([place]))
        self.works.end(np.array([work]))
        self.works.suspect = True

    def _fail(self, works: list[tuple[int, CarouselError]]) -> None:
        sessions = set()
        for work, error in works:
            if self.works.is_alive(work):
                bundle, place = self.works.at(work)
                sessions.add(int(bundle.rows[place]))
                self._unapplied(work, error)
        for session in sessions - {ZERO}:
            self._close_ranks(session)

    def _close_ranks(self, session: int) -> None:
        """Works of a session have ended unapplied: number what waits anew, and start what is the head now."""
        rows = self._rows
        before = self._chains.of(session)
        left, ahead = [], int(rows.step[session])
        for work in before:
            if work in self._turns:
                after = self._turns[work].step_after
                ahead = ahead if after is None else after
                left.append(work)
            elif self._fits(work, ahead):
                bundle, place = self.works.at(work)
                bundle.starts[place] = ahead
                ahead += int(bundle.lengths[place])
                left.append(work)
            elif work != before[0]:  # the head lies in the scheduler, or whoever runs it gives it back
                self.works.give(np.array([work]))
        self._chains.replace(session, left)
        rows.waiting[session] -= len(before) - len(left)
        rows.ahead[session] = ahead
        if left[:1] != before[:1]:
            self._start(session)

    def _fits(self, work: int, ahead: int) -> bool:
        """Whether a work still runs where its session stands now; it ends unapplied if not."""
        if not self.works.is_alive(work):
            return False
        bundle, place = self.works.at(work)
        if bundle.asked[place] in (UNCHECKED, ahead):
            return True
        self._unapplied(work, StepConflict(int(bundle.starts[place]), ahead))
        return False

    def _touch(self, session: int) -> None:
        self._rows.deadline[session] = self._clock() + self._rows.ttl[session]

    def _heads(self, ids: Index) -> None:
        """These are the first of their sessions now."""
        if self._turns:
            for work in ids.tolist():
                if work in self._turns:
                    self._start(self._turns[work].session)
                else:
                    self._ready(np.array([work]))
        else:
            self._ready(ids)

    def _ready(self, ids: Index) -> None:
        for bundle, places, mine in self.works.parts(ids):
            if bundle.each:
                self._scheduler.add_equal(mine, bundle.each)
            else:
                self._scheduler.add(mine, bundle.lengths[places])

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
            self._ready(head)

    def _tell(self) -> None:
        """Tell the callers whose calls are done."""
        while self._ended:
            ended, self._ended = self._ended, []
            for call in ended:
                if call.errors:
                    self._tally.refused.update(error.code for error in call.errors.values())
                self._gate.leave(call.count, call.size)
                if call.patience is not None:
                    self._deadlines.done(call, call.patience)
                call.bundle = None  # they know each other, and nobody should wait for the collector
                call.ended(call)
            self.freed.set()

    def _alive(self, bundle: Bundle) -> list[int]:
        """The works of a bundle that are not done."""
        return [int(work) for work in bundle.ids if self.works.bundle[work] == bundle.number]

    def _of(self, call: Call) -> list[int]:
        """The works of a call that are not done."""
        if call.bundle is None:
            return []
        bundle = call.bundle
        return [work for work in self._alive(bundle) if bundle.of(int(self.works.place[work]))[0] is call]

    def _callers(self, ids: Iterable[int]) -> list[Call]:
        """Whose works these are."""
        found = [self.works.at(int(work)) for work in ids if self.works.is_alive(int(work))]
        return [bundle.of(place)[0] for bundle, place in found]

    def _expire(self, patience: Patience) -> None:
        deadline = patience.deadline
        self.settle()
        if patience in self._deadlines and patience.deadline == deadline:  # else a retry has extended it just now
            self._fail([(work, DeadlineExceeded()) for call in patience.calls for work in self._of(call)])
            self._tell()


def _single(round: Round) -> bool:
    """Whether all of it are steps of sessions, one each."""
    return all(part.bundle.each == 1 and not part.bundle.stateless for part in round.parts)
