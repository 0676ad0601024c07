"""Predicts of one short sequence each: those that one turn of the loop brings are run as one call for each length.

To run each as a call of its own takes a tenth more of CPU.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from service.engine.call import UNCHECKED, Call
from service.errors import CarouselError

if TYPE_CHECKING:
    from service.api.http.request import Asked
    from service.engine.engine import Engine
    from service.models.model import Array

SHORT = 2**16  # bytes of inputs; a longer sequence gains nothing by company


class Predict(NamedTuple):
    """A request for the outputs of a sequence [T, F]; `encode` answers it with them, and does not raise."""

    asked: Asked
    inputs: Array
    encode: Callable[[Array], None]

    def call(self, ended: Callable[[Call], None]) -> Call:
        """The call of it alone."""
        return _call([self], ended)


class Predicts:
    """What a turn of the loop has brought; `alone` runs one by itself, and tells what is wrong or that it has left."""

    def __init__(self, alone: Callable[[Engine, Predict], None]) -> None:
        self._alone = alone
        self._came: dict[tuple[Engine, int], list[Predict]] = defaultdict(list)

    def add(self, engine: Engine, one: Predict) -> None:
        """Run a predict with those that this turn brings."""
        if not self._came:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._came[engine, len(one.inputs)].append(one)

    def _end_turn(self) -> None:
        came, self._came = self._came, defaultdict(list)
        for (engine, _), group in came.items():
            alone = [one for one in group if one.asked.left]
            stay = [one for one in group if not one.asked.left]
            try:
                if len(stay) > 1:
                    engine.submit(_call(stay, partial(self._ended, engine)))
                else:
                    alone += stay
            except CarouselError:
                alone += stay  # there may be room for some of them
            for one in alone:
                self._alone(engine, one)

    def _ended(self, engine: Engine, call: Call) -> None:
        """Answer all of them; if one of them fails, each is run by itself."""
        group = cast("list[Predict]", call.tags)
        for one, outputs in zip(group, call.outputs.reshape(len(group), call.each, -1), strict=True):
            if call.errors:
                self._alone(engine, one)
            else:
                one.encode(outputs)


def _call(group: list[Predict], ended: Callable[[Call], None]) -> Call:
    """A call of predicts of one length."""
    count, length = len(group), len(group[0].inputs)
    inputs = np.concatenate([one.inputs for one in group])
    return Call(np.zeros(count, np.int64), np.full(count, length), np.full(count, UNCHECKED), inputs, ended, tags=group)
