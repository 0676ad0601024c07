"""A version that is stepped beside the one that answers; how far apart their outputs are is counted.

It follows sessions from their first step on, by the rows of their engine. It knows calls and engines; not versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.engine.call import UNCHECKED, Call
from service.engine.statistics import Histogram
from service.errors import CarouselError
from service.sessions.session import Session
from service.sessions.table import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.engine import Engine
    from service.engine.statistics import Distribution
    from service.models.model import Array, Index, State

BOUNDS = (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0)  # of a step's largest |a − b| / max(1, |a|) over its outputs


class Shadow:
    """Of a live engine, by another one that is there for this alone. Its row of a session is that of the live one."""

    def __init__(self, live: Engine, engine: Engine) -> None:
        self._live, self.engine = live, engine
        self._apart = Histogram(BOUNDS)
        self.skipped = 0  # rows of calls that were not compared: begun before, or there was no room
        self._zeros: State = {
            name: np.zeros((1, *shape), np.float32) for name, shape in engine.model.state_shapes.items()
        }

    def __repr__(self) -> str:
        return f"<Shadow of {self._live!r} by {self.engine!r}>"

    @property
    def apart(self) -> Distribution:
        """How far apart each step was."""
        return self._apart.frozen()

    def watch(self, call: Call) -> None:
        """Step what a call steps, once it is told."""
        ended = call.ended

        def told(part: Call) -> None:
            ended(part)
            try:
                self._see(part)
            except CarouselError:
                self._skip(part.rows)

        call.ended = told

    def _see(self, call: Call) -> None:
        good = np.array([row not in call.errors for row in range(len(call.rows))])
        if call.commits:
            good &= self._follow(call, good)
        elif call.errors:
            return  # a predict fails whole
        self.skipped += int((~good).sum())
        places = np.flatnonzero(good)
        if not len(places):
            return
        lengths, wanted = call.lengths[places], call.steps_of(call.outputs, places)
        inputs, named = call.steps_of(call.inputs, places), np.full(len(places), UNCHECKED)
        self.engine.submit(Call(call.rows[places], lengths, named, inputs, self._compares(wanted)))

    def _follow(self, call: Call, good: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of each row, whether it goes on where the shadow stands; sessions that begin here are taken in."""
        mine, live = self.engine.table, self._live.table
        mine.reach(int(call.rows.max()))
        birth = live.birth[call.rows]
        for place in np.flatnonzero(good & (call.starts == 0) & (birth != 0)).tolist():
            row = call.rows.item(place)
            if mine.ahead.item(row) or mine.last.item(row):  # another session had the row, or this one begins anew
                self.engine.lifecycle.replace(Session("", self.engine, row, birth.item(place)), 0, self._zeros)
            mine.birth[row] = birth[place]
        same: NDArray[np.bool_] = (mine.birth[call.rows] == birth) & (mine.ahead[call.rows] == call.starts)
        return same

    def _skip(self, rows: Index) -> None:
        """These are not followed any more."""
        self.skipped += len(rows)
        self.engine.table.birth[rows[rows != ZERO]] = -1

    def _compares(self, wanted: Array) -> Callable[[Call], Any]:
        def ended(call: Call) -> None:
            apart = np.full(len(wanted), np.inf)
            if not call.errors and call.outputs.shape == wanted.shape:
                gap = np.abs(call.outputs.astype(np.float64) - wanted) / np.maximum(1.0, np.abs(wanted))
                apart = gap.max(axis=1)
            self._apart.add_all(apart)

        return ended
