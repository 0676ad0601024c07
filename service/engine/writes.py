"""What was committed, written to the table and the kept answers. Knows rows and steps; not stores or clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.call import Places
    from service.engine.finished import Finished
    from service.sessions.replay import Answers
    from service.sessions.table import Table

_Number = TypeVar("_Number", np.float32, np.int64, np.uint64)


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


def _joined(arrays: list[NDArray[_Number]]) -> NDArray[_Number]:
    """Arrays one behind the other; without a copy where they are all of the rows of another array, in order."""
    if len(arrays) == 1:
        return arrays[0]
    whole = arrays[0].base
    if not isinstance(whole, np.ndarray) or any(array.base is not whole for array in arrays):
        return np.concatenate(arrays)
    all_of_it = whole.shape == (sum(map(len, arrays)), *arrays[0].shape[1:])
    return whole if all_of_it else np.concatenate(arrays)
