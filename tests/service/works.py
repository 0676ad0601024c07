"""Calls and works without an engine: for the parts that know no asyncio."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np

from service.bundle import Bundle
from service.models.model import Index
from service.rows import ZERO
from service.work import UNCHECKED, Call
from service.works import Works
from tests.fakes import column

_numbers = count(1)


def call(
    *sequences: Sequence[float],
    rows: Sequence[int] | None = None,
    asked: Sequence[int | None] | None = None,
    ended: Callable[[Call], None] = lambda _: None,
    **how: Any,
) -> Call:
    """A call of these sequences on these rows, or a predict of them; `asked` names the step of each, or None."""
    return Call(
        np.full(len(sequences), ZERO, np.int64) if rows is None else np.array(rows, np.int64),
        np.array([len(one) for one in sequences], np.int64),
        np.array([UNCHECKED if step is None else step for step in asked or [None] * len(sequences)], np.int64),
        np.concatenate([column(*one) for one in sequences]),
        ended,
        **how,
    )


def enter(works: Works, *calls: Call) -> Index:
    """The works of calls that were accepted together."""
    return works.enter(Bundle(calls, 1, number=next(_numbers), arrived=0.0))


def outcome(done: Call, index: int) -> Any:
    """What a row of a call came to: its outputs, or its error."""
    end = int(done.lengths[: index + 1].sum())
    if index in done.errors:
        return done.errors[index]
    values: list[float] = done.outputs[end - int(done.lengths[index]) : end, 0].tolist()
    return values


def idle(works: Works) -> bool:
    """Whether every index is free, once."""
    every = list(range(1, len(works.next)))
    return works._count == len(every) and sorted(works._free[: works._count].tolist()) == every
