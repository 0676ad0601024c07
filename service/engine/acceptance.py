"""What becomes of a call when it arrives: it fits and runs, repeats another, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.engine.call import UNCHECKED, Call, Operation, Repeat
from service.errors import StepConflict
from service.sessions.table import Table, every

if TYPE_CHECKING:
    from service.engine.calls import Calls
    from service.models.model import Array, Index
    from service.sessions.digests import Digester
    from service.sessions.replay import Answers

Flags = NDArray[np.bool_]


class Acceptance:
    """Decides on calls in the order of their arrival, before anything of them runs."""

    def __init__(self, calls: Calls, table: Table, answers: Answers, digester: Digester) -> None:
        self._calls, self._table, self._answers, self._digester = calls, table, answers, digester

    def accept(self, call: Call) -> None:
        """Accept a call for which there is room. It may be told before this returns."""
        if not call.commits:
            call.starts = np.zeros_like(call.rows)
            self._calls.admit(call)
            self._begin(call, np.arange(len(call.rows)))
            return
        call.starts = self._table.ahead[call.where].copy()
        call.digests = self._digester.of(call.inputs, call.lengths)
        fits = call.asked == call.starts
        if not every(fits):
            fits |= call.asked == UNCHECKED
        if call.tags is not None and len(call.rows) > 1:
            self._accept_merged(call, fits)
        elif every(fits):
            self._calls.admit(call)
            self._begin(call, np.arange(len(call.rows)))
        else:
            self._accept_with_repeats(call, fits)

    def alone(self, call: Call) -> bool:
        """Whether a call is one plain step that is the next one of its session, on which nothing waits."""
        if len(call.inputs) != 1 or call.deadline is not None or not (call.commits and call.kept):
            return False
        row, asked = call.rows.item(0), call.asked.item(0)
        if self._table.last.item(row) or asked not in (UNCHECKED, self._table.ahead.item(row)):
            return False
        call.starts = self._table.ahead[call.where].copy()
        call.digests = self._digester.of(call.inputs, call.lengths)
        return True

    def _accept_merged(self, call: Call, fits: Flags) -> None:
        """Accept the rows of a merged call, apart where they wait for different calls or do not fit."""
        before = self._table.last[call.where]
        if every(fits) and every(before == before[0]):
            self._calls.admit(call)
            self._calls.begin(call)
            return
        for serial in np.unique(before[fits]).tolist():
            together = call.part(np.flatnonzero(fits & (before == serial)))
            self._calls.admit(together)
            self._calls.begin(together)
        for index in np.flatnonzero(~fits).tolist():
            self._accept_with_repeats(call.part(np.array([index])), fits[[index]])

    def _accept_with_repeats(self, call: Call, fits: Flags) -> None:
        """Accept a call of which not every step is the next one: repeats of kept or waiting calls, or a conflict."""
        found: dict[int, tuple[Call, int] | Array] = {}
        for index in np.flatnonzero(~fits).tolist():
            repeated = self._repeated(call, index)
            if repeated is None:
                error = StepConflict(call.asked.item(index), call.starts.item(index))
                call.refused, call.errors = True, {index: error}
                self._calls.tell(call)
                return
            found[index] = repeated
        self._calls.admit(call)
        call.outputs = np.empty((len(call.inputs), self._answers.width), np.float32)
        kept = []
        for index, repeated in found.items():
            call.starts[index] = call.asked[index]
            if isinstance(repeated, tuple):
                first, place = repeated
                self._calls.follow(first, Repeat(place, call, index))
            else:
                call.outputs[call.span(index)] = repeated
                kept.append(index)
        call.left -= len(kept)
        self._calls.touch(call.rows[kept])
        if fits.any():
            self._begin(call, np.flatnonzero(fits))
        elif not call.left:
            self._calls.tell(call)

    def _begin(self, call: Call, places: Index) -> None:
        """Let rows of a call run: as they are if they are all of it and equally long, else in parts of one length."""
        if call.each and len(places) == len(call.rows):
            self._calls.begin(call)
            return
        if not len(call.outputs):
            call.outputs = np.empty((len(call.inputs), self._answers.width), np.float32)
        lengths = call.lengths[places]
        for length in np.unique(lengths).tolist():
            self._begin_part(call, places[lengths == length])

    def _begin_part(self, call: Call, places: Index) -> None:
        part = call.part(places, lambda part: self._calls.join(call, places, part))
        call.parts.append(part)
        self._calls.begin(part)

    def _repeated(self, call: Call, index: int) -> tuple[Call, int] | Array | None:
        """The waiting call that a row repeats, and its row there; or the kept answer; or None."""
        assert call.digests is not None
        digest = call.digests[index]
        row, asked, steps = call.rows.item(index), call.asked.item(index), call.lengths.item(index)
        for entry in self._calls.order.waiting(row):
            if isinstance(entry, Operation):
                if entry.step_after is not None:
                    return None  # what came before a replaced state is no call of this one
            elif isinstance(entry, Call) and not entry.told and entry.digests is not None and entry.kept:
                place = entry.place(row)
                same = entry.starts[place] == asked and entry.lengths[place] == steps and place not in entry.errors
                if same and (entry.digests[place] == digest).all():
                    return entry, place
        return self._answers.find(row, asked, steps, digest)
