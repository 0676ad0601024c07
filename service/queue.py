"""The work of one engine, from its arrival to its end: what the doors and the loop see of it.

It knows calls, turns and the rows whose order they keep; not the model, nor when it runs. What arrives between two
ticks is decided on together, calls on one session in the order of arrival. It is called on the loop's thread only.
"""

import asyncio
from collections.abc import Callable
from itertools import chain
from typing import TypeVar

import numpy as np

from service.acceptance import Acceptance
from service.accepted import Accepted
from service.arrivals import alike
from service.bundle import ALL, Batch, Bundle, Part, Places, Round
from service.errors import CarouselError
from service.gate import Gate
from service.models.model import Array, Index
from service.replay import Answers, Digester
from service.rows import Rows, every
from service.scheduler import Scheduler
from service.statistics import Tally
from service.work import UNCHECKED, Call, One, Patience, Turn
from service.works import ENDED

_T = TypeVar("_T")
_ONE = np.ones(1, np.int64)


class Queue:
    """What the doors bring, what the loop takes, and what it says of that."""

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
        self._digester, self._outputs, self._clock = Digester(features), outputs, clock
        self._accepted = Accepted(rows, gate, scheduler, tally=tally, clock=clock, expired=self._expire)
        self._acceptance = Acceptance(
            self._accepted, rows, answers, digester=self._digester, outputs=outputs, clock=clock
        )
        self._arrived: list[Call] = []
        self.works = self._accepted.works
        self.ready = asyncio.Event()  # there is something to do
        self.freed = self._accepted.freed  # something left

    def __repr__(self) -> str:
        return f"<Queue {self._gate!r}, {self._accepted!r}, {self._scheduler!r}>"

    def __len__(self) -> int:
        return len(self._accepted)

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
            self._accepted.deadlines.add(call, call.patience)
        self.ready.set()

    def turn(self, session: int, act: Callable[[], _T], step_after: int | None = None) -> "asyncio.Future[_T]":
        """Do `act` once what the session has accepted before is done; now, if nothing is."""
        self.settle()
        turn = Turn(session, act, asyncio.get_running_loop().create_future(), step_after)
        if step_after is not None:
            self._rows.ahead[session] = step_after
        work = self.works.take(1)
        self.works.end(work)
        self._accepted.turns[int(work[0])] = turn
        self._rows.waiting[session] += 1
        if len(self._accepted.chains.append(work, np.array([session]))):
            self._accepted.start(session)
        return turn.answer

    def abandon(self, call: Call) -> None:
        """The caller of a predict has left: what of it did not run does not."""
        if call.left:
            self.settle()
            self._accepted.fail([(work, CarouselError()) for work in self._accepted.of(call)])
            call.errors.clear()  # nobody was refused
            self._accepted.tell()

    def abort(self, error: CarouselError) -> None:
        """End everything unapplied."""
        self.settle()
        self._accepted.abort(error)

    def settle(self) -> None:
        """Decide on what has arrived."""
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            for together in alike(arrived):
                self._acceptance.accept(together)
            if self._accepted.ended:
                self._accepted.tell()

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
        self._accepted.touch(row)
        self._answers.keep_one(row, start, self._digester.of(call.inputs, _ONE), outputs)
        call.outputs, call.start, call.left = outputs, start, 0
        self._arrived.clear()
        self._accepted.ended.append(call)
        self.ready.clear()
        self._accepted.tell()

    def next_batch(self) -> Batch:
        """What runs in the next tick. Empty: all that was popped had ended, or none is ready and `ready` is cleared."""
        self.settle()
        ids = self._scheduler.next_batch()
        if not len(ids):
            self.ready.clear()
            self.works.suspect = False  # nothing is queued, and nothing runs
            return []
        if self._accepted.deadlines:
            self._accepted.deadlines.run(self._accepted.callers(ids))
        ids = self.running(ids)
        return self._rounds(Round(ALL, self.works.parts(ids))) if len(ids) else []

    def _rounds(self, heads: Round) -> Batch:
        """What waits behind single steps runs with them, as long as half of the batch is not padding."""
        batch, ids = [heads], heads.ids
        if self._accepted.deadlines or not _single(heads):
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
            if self._accepted.followers:
                for work in self._accepted.followers.keys() & set(ids.tolist()):
                    self._accepted.repeat(work)
            if not bundle.stateless:
                self._stand(part)
            self._accepted.leave(bundle, places)
            if bundle.row is not bundle.rows:
                self._accepted.free(bundle, places)
            self.works.end(ids)
            self.works.give(ids)
        for some in sessions:
            heads = self._accepted.chains.heads(some)
            if len(heads):
                self._accepted.heads(heads)
        self._accepted.tell()

    def _stand(self, part: Part) -> None:
        """Sessions have done these works."""
        rows, (bundle, places, ids) = self._rows, part
        sessions, starts = bundle.rows[places], bundle.starts[places]
        rows.step[sessions] = starts + bundle.lengths[places]
        rows.waiting[sessions] -= 1
        rows.deadline[sessions] = self._clock() + rows.ttl[sessions]
        if bundle.kept:
            self._keep(bundle, places, sessions, starts)
        self._accepted.chains.advance(ids, sessions)

    def _keep(self, bundle: Bundle, places: Places, sessions: Index, starts: Index) -> None:
        assert bundle.digests is not None
        digests = bundle.digests[places]
        if bundle.each == 1:
            self._answers.keep(sessions, starts, digests, bundle.outputs[places])
        else:
            self._answers.keep_long(sessions, starts, digests, bundle.answers(places))

    def fail(self, work: int, error: CarouselError) -> None:
        """End a work that just ran unapplied, and with it what cannot be wanted any more: the later works of its
        session that named a step, the other sequences of its predict.
        """
        self.settle()
        if self.works.is_alive(work):  # else another sequence of its predict failed in the same batch
            bundle, place = self.works.at(work)
            call, _ = bundle.of(place)
            self._accepted.fail([(one, error) for one in (self._accepted.of(call) if bundle.stateless else [work])])
        self.works.give(np.array([work]))
        self._accepted.tell()

    def _expire(self, patience: Patience) -> None:
        """A deadline has passed, unless a retry that has arrived extends it."""
        deadline = patience.deadline
        self.settle()
        if patience.deadline == deadline:
            self._accepted.expire(patience)


def _single(round: Round) -> bool:
    """Whether all of it are steps of sessions, one each."""
    return all(part.bundle.each == 1 and not part.bundle.stateless for part in round.parts)
