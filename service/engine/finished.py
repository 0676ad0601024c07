"""Rows of calls that have done all their steps: what is committed of them, and how it is written to the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.store.store import Advanced, Opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.call import Call, Places
    from service.engine.failures import Failure
    from service.models.model import Array, Index, State
    from service.sessions.digests import Digests
    from service.sessions.replay import Answers
    from service.sessions.table import Table
    from service.store.store import Change, Conflicts

_Number = TypeVar("_Number", np.float32, np.int64, np.uint64)


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


class Writes:
    """Writes steps, states and kept answers of sessions; `touch` restarts their idle clocks."""

    def __init__(self, table: Table, answers: Answers, touch: Callable[[Places], None]) -> None:
        self._table, self._answers, self._touch = table, answers, touch

    def all(self, finished: list[Finished]) -> None:
        """Write what was committed together, as few times as the order of the calls allows."""
        table, states = self._table, [(one, one.state) for one in finished if one.state is not None]
        kept = [one for one in finished if one.call.kept]
        for depth in range(1 + max((one.depth for one in kept), default=-1)):
            self._keep([one for one in kept if one.depth == depth])
        if states:
            rows = _joined([one.rows for one, _ in states])
            table.scatter(rows, {name: _joined([state[name] for _, state in states]) for name in table.state})
            self._touch(rows)
            table.step[rows] = _joined([one.starts + one.lengths for one, _ in states])  # last: see `Calls.abort`

    def one(self, one: Finished) -> None:
        """Write a step of one session: plain numbers take a fifth of the time of arrays of one row."""
        table, row, start = self._table, one.rows.item(0), one.starts.item(0)
        table.ahead[row] = start + 1
        self._answers.keep_one(row, start, one.digests()[0], one.outputs)
        for name, array in (one.state or {}).items():
            table.state[name][row] = array[0]
        self._touch(one.call.where)
        table.step[row] = start + 1  # last: see `Calls.abort`

    def _keep(self, finished: list[Finished]) -> None:
        """Keep answers; all sessions are different."""
        single = [one for one in finished if one.call.each == 1]
        if single:
            self._answers.keep(
                _joined([one.rows for one in single]),
                _joined([one.starts for one in single]),
                _joined([one.digests() for one in single]),
                _joined([one.outputs for one in single]),
            )
        for one in finished:
            if one.call.each != 1:
                outputs = one.outputs.reshape(len(one.rows), -1)
                self._answers.keep(one.rows, one.starts, one.digests(), outputs, one.call.each)


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


def _joined(arrays: list[NDArray[_Number]]) -> NDArray[_Number]:
    """Arrays one behind the other; without a copy where they are all of the rows of another array, in order."""
    if len(arrays) == 1:
        return arrays[0]
    whole = arrays[0].base
    if not isinstance(whole, np.ndarray) or any(array.base is not whole for array in arrays):
        return np.concatenate(arrays)
    all_of_it = whole.shape == (sum(map(len, arrays)), *arrays[0].shape[1:])
    return whole if all_of_it else np.concatenate(arrays)
