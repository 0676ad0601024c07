"""What becomes of calls that have arrived: they fit and run, repeat others, or are refused."""

from collections.abc import Callable

import numpy as np

from service.accepted import Accepted
from service.bundle import ALL, Bundle, Places
from service.errors import CarouselError, StepConflict
from service.models.model import Array, Index
from service.replay import Answers, Digester, Digests
from service.rows import Rows, every
from service.work import UNCHECKED, Call

Clock = Callable[[], float]


class Acceptance:
    """Decides on calls, those on one session in the order of arrival."""

    def __init__(
        self, accepted: Accepted, rows: Rows, answers: Answers, *, digester: Digester, outputs: int, clock: Clock
    ) -> None:
        self._accepted, self._rows, self._answers, self._digester = accepted, rows, answers, digester
        self._outputs, self._clock = outputs, clock
        self._bundled = 0

    def accept(self, calls: list[Call]) -> None:
        """Calls on different sessions, or stateless ones."""
        bundle = self._bundle(calls)
        if bundle.stateless:
            self._accepted.schedule(self._accepted.works.enter(bundle))
            return
        ahead = self._rows.ahead[bundle.rows]
        fits = bundle.asked == ahead
        if not every(fits) and not every(fits := fits | (bundle.asked == UNCHECKED)):
            irregular = dict.fromkeys(bundle.of(place)[0] for place in np.flatnonzero(~fits).tolist())
            for call in irregular:
                self._decide(call)
            if regular := [call for call in calls if call not in irregular]:
                self.accept(regular)
            return
        self._begin(bundle, ahead, self._digester.of(bundle.inputs, bundle.lengths))

    def _decide(self, call: Call) -> None:
        """A call of which not every step is the next one: repeats of kept or waiting calls, or a conflict."""
        bundle = self._bundle([call])
        digests = self._digester.of(bundle.inputs, bundle.lengths)
        ahead = self._rows.ahead[bundle.rows]
        new, kept, waiting = [], {}, {}
        for index, (session, asked) in enumerate(zip(bundle.rows.tolist(), bundle.asked.tolist(), strict=True)):
            steps = int(bundle.lengths[index])
            if asked in (UNCHECKED, int(ahead[index])):
                new.append(index)
            elif (work := self._waits(session, asked, steps, digests[index])) is not None:
                waiting[index] = work
            elif (outputs := self._kept(session, asked, steps, digests[index])) is not None:
                kept[index] = outputs
            else:
                self._refuse(bundle, index, StepConflict(asked, int(ahead[index])))
                return
        self._rows.waiting[bundle.rows[[*kept, *waiting]]] -= 1
        for index, outputs in kept.items():
            self._accepted.repeated(call, index, int(bundle.asked[index]), outputs)
            self._accepted.touch(int(bundle.rows[index]))
        for index, work in waiting.items():
            self._follow(call, index, work)
        if new:
            self._begin(bundle, ahead, digests, np.array(new))

    def _refuse(self, bundle: Bundle, index: int, error: CarouselError) -> None:
        [call] = bundle.calls
        self._rows.waiting[bundle.rows] -= 1
        call.refused, call.left, call.errors = True, 0, {index: error}
        self._accepted.ended.append(call)

    def _bundle(self, calls: list[Call]) -> Bundle:
        self._bundled += 1
        return Bundle(calls, self._outputs, number=self._bundled, arrived=self._clock())

    def _begin(self, bundle: Bundle, ahead: Index, digests: Digests, places: Places = ALL) -> None:
        """Works on sessions, from where they stand, run when it is their turn."""
        rows, sessions = self._rows, bundle.rows[places]
        bundle.starts[places], bundle.digests = ahead[places], digests
        rows.ahead[sessions] = ahead[places] + bundle.lengths[places]
        rows.deadline[sessions] = self._clock() + rows.ttl[sessions]
        ids = self._accepted.works.enter(bundle, places)
        heads = self._accepted.chains.append(ids, sessions)
        if len(heads):
            self._accepted.schedule(heads)

    def _waits(self, session: int, asked: int, steps: int, digest: Digests) -> int | None:
        """The waiting work that a call repeats."""
        for work in reversed(self._accepted.chains.of(session)):
            if work in self._accepted.turns:
                if self._accepted.turns[work].step_after is not None:
                    return None  # what came before a replaced state is no call of this one
            elif self._accepted.works.is_alive(work):
                bundle, place = self._accepted.works.at(work)
                same = bundle.starts[place] == asked and bundle.lengths[place] == steps
                if same and bundle.digests is not None and (bundle.digests[place] == digest).all():
                    return work
        return None

    def _kept(self, session: int, asked: int, steps: int, digest: Digests) -> Array | None:
        """The kept answer of the call that one repeats; of none from before a state that waits to replace this one."""
        turns = self._accepted.turns
        waiting = self._accepted.chains.of(session) if turns else []
        if any(work in turns and turns[work].step_after is not None for work in waiting):
            return None
        return self._answers.find(session, asked, steps, digest)

    def _follow(self, call: Call, index: int, work: int) -> None:
        """A retry waits for the work that it repeats, until the later of their deadlines."""
        self._accepted.followers.setdefault(work, []).append((call, index))
        [first] = self._accepted.callers([work])
        if first.patience is not None:
            self._accepted.deadlines.extend(first.patience, call.patience)
