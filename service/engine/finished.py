"""Rows of a call that have done all their steps: what is committed of them, and which of them were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.store.store import Advanced, Opened

if TYPE_CHECKING:
    from service.engine.call import Call, Digests, Places
    from service.engine.failures import Failure
    from service.models.model import Array, Index, State
    from service.store.store import Change, Conflicts


@dataclass(slots=True)
class Finished:
    """Rows of a call that have done all their steps. `state` is None where the next one in the list has it."""

    call: Call
    places: Places
    rows: Index  # [n]
    starts: Index  # [n]
    lengths: Index  # [n]
    outputs: Array  # [Σlength, K]
    state: State | None  # [n, …]
    depth: int = 0  # how many calls of the batch are before it on its sessions

    def digests(self) -> Digests:
        """Digests of the inputs, [n, 2]."""
        assert self.call.digests is not None, "every call on sessions has them"
        digests: Digests = self.call.digests[self.places]
        return digests

    def change(self) -> Change:
        """What is committed of it."""
        call = self.call
        if call.opens is not None:
            return Opened(self.rows.item(0), *call.opens, self.lengths.item(0), self.state)
        inputs = call.steps_of(call.inputs, self.places)
        return Advanced(self.rows, self.starts, self.lengths, inputs, self.outputs, self.state)


def without(one: Finished, conflicts: Conflicts, failures: list[Failure]) -> Finished:
    """The rows that were written; the others are failures."""
    good = np.array([row not in conflicts for row in one.rows.tolist()])
    places = np.arange(len(one.call.rows))[one.places]
    for place, row in zip(places[~good].tolist(), one.rows[~good].tolist(), strict=True):
        failures.append((one.call, place, conflicts[row]))
    which = np.flatnonzero(good)
    outputs = one.call.steps_of(one.call.outputs, places[which]) if len(which) else one.outputs[:0]
    state = None if one.state is None else pick(one.state, which)
    rows, starts, lengths = one.rows[which], one.starts[which], one.lengths[which]
    return Finished(one.call, places[which], rows, starts, lengths, outputs, state, one.depth)


def pick(state: State, which: Index) -> State:
    """The states of some rows."""
    return {name: array[which] for name, array in state.items()}
