"""What becomes of a call when it arrives: it fits and runs, repeats another, or is refused."""

import numpy as np

from service.engine.call import UNCHECKED, Call, Digests, Operation, Repeat
from service.engine.calls import Calls
from service.engine.replay import Answers, Digester
from service.engine.table import Table, every
from service.errors import StepConflict
from service.models.model import Array, Index


class Acceptance:
    """Decides on calls in the order of their arrival, before anything of them runs."""

    def __init__(self, calls: Calls, table: Table, answers: Answers, digester: Digester) -> None:
        self._calls, self._table, self._answers, self._digester = calls, table, answers, digester

    def accept(self, call: Call) -> None:
        """Accept a call for which there is room. It may be told before this returns."""
        if not call.commits:
            call.starts = np.zeros_like(call.rows)
            self._calls.admit(call)
            self._calls.begin(call)
            return
        ahead = self._table.ahead[call.rows]
        call.digests = self._digester.of(call.inputs, call.lengths)
        fits = call.asked == ahead
        if not every(fits):
            fits |= call.asked == UNCHECKED
        if call.tags is not None:
            self._accept_merged(call, ahead, fits)
        elif every(fits):
            self._start(call, ahead)
        else:
            self._accept_with_repeats(call, ahead)

    def _start(self, call: Call, ahead: Index) -> None:
        self._calls.admit(call)
        call.starts = ahead
        self._calls.begin(call)

    def _accept_merged(self, call: Call, ahead: Index, fits: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> None:
        """Accept the rows of a merged call, apart where they wait for different calls or do not fit."""
        before = self._table.last[call.rows]
        if every(fits) and every(before == before[0]):
            self._start(call, ahead)
            return
        for serial in np.unique(before[fits]).tolist():
            together = np.flatnonzero(fits & (before == serial))
            self._start(call.part(together), ahead[together])
        for index in np.flatnonzero(~fits).tolist():
            alone = np.array([index])
            self._accept_with_repeats(call.part(alone), ahead[alone])

    def _accept_with_repeats(self, call: Call, ahead: Index) -> None:
        """Accept a call of which not every step is the next one: repeats of kept or waiting calls, or a conflict."""
        assert call.digests is not None
        new, kept, waiting = [], dict[int, Array](), dict[int, tuple[Call, int]]()
        for index, (asked, expected) in enumerate(zip(call.asked.tolist(), ahead.tolist(), strict=True)):
            if asked in (UNCHECKED, expected):
                new.append(index)
            elif (found := self._repeated(call, index, call.digests[index])) is None:
                call.refused, call.errors = True, {index: StepConflict(asked, expected)}
                self._calls.tell(call)
                return
            elif isinstance(found, tuple):
                waiting[index] = found
            else:
                kept[index] = found
        self._calls.admit(call)
        call.starts = call.asked.copy()
        call.outputs = np.empty((len(call.inputs), self._answers.width), np.float32)
        for index, outputs in kept.items():
            call.outputs[call.span(index)] = outputs
            self._calls.touch(call.rows[[index]])
        call.left -= len(kept)
        for index, (first, place) in waiting.items():
            self._calls.follow(first, Repeat(place, call, index))
        if new:
            places = np.array(new)
            part = call.part(places, lambda part: self._join(call, places, part))
            part.starts = ahead[places]
            self._calls.begin(part)
        elif not call.left:
            self._calls.tell(call)

    def _join(self, call: Call, places: Index, part: Call) -> None:
        """The rows of a call that did not repeat anything have ended."""
        for index, place in enumerate(places.tolist()):
            if index in part.errors:
                call.errors[place] = part.errors[index]
            else:
                call.outputs[call.span(place)] = part.outputs[part.span(index)]
            call.starts[place] = part.starts[index]
        self._calls.done(call, len(places))

    def _repeated(self, call: Call, index: int, digest: Digests) -> tuple[Call, int] | Array | None:
        """The waiting call that a row repeats, and its row there; or the kept answer; or None."""
        row, asked, steps = call.rows.item(index), call.asked.item(index), call.lengths.item(index)
        for entry in self._calls.order.waiting(row):
            if isinstance(entry, Operation):
                if entry.step_after is not None:
                    return None  # what came before a replaced state is no call of this one
            elif isinstance(entry, Call) and not entry.told and entry.digests is not None and entry.kept:
                place = int((entry.rows == row).argmax())
                same = entry.starts[place] == asked and entry.lengths[place] == steps and place not in entry.errors
                if same and (entry.digests[place] == digest).all():
                    return entry, place
        return self._answers.find(row, asked, steps, digest)
