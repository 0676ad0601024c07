"""Measure a model: the batch and the chunk that reach nearly its best throughput. Knows the Model protocol only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from service.models.model import Model

BATCHES, CHUNKS = (8, 16, 32, 64, 128, 256, 512, 1024), (8, 16, 32, 64)
_MOST_NUMBERS = 2**24  # in the arrays of one run, inputs, outputs and states together: 64 MiB
_TICK = 0.00036  # seconds of a tick beside the model's run (`python -m bench --only many-S-1024`)
_NEARLY = 0.9  # of the best throughput: more rows or steps would only add latency
_LONGEST = 0.025  # seconds of a tick, unless the smallest one takes longer
_REPEATS = 3


@dataclass(frozen=True)
class Policy:
    """Bounds of one tick: rows, time steps of a row, and time steps of all rows together, padding included."""

    batch: int = 64
    chunk: int = 32
    steps: int = 2048


def measured(
    model: Model,
    *,
    batch: int | None = None,
    chunk: int | None = None,
    clock: Callable[[], float] = time.thread_time,
) -> Policy:
    """Measure the policy of a model: the smallest batch and the smallest chunk that reach nearly the best throughput.

    By CPU time, since others may want the core; a model that does not run on this thread needs another clock. A given
    batch or chunk is taken, not measured. Both are bounded so that no run holds more than 64 MiB of arrays.
    """
    state = 2 * sum(math.prod(shape) for shape in model.state_shapes.values())
    step = model.features + model.outputs
    most_rows = max(1, _MOST_NUMBERS // (step + state))
    rows = min(8, most_rows)
    most_steps = max(1, (_MOST_NUMBERS - rows * state) // (rows * step))

    def seconds(rows: int, steps: int) -> float:
        return _TICK + seconds_of(model, rows, steps, clock)

    batch = min(batch or _least(_up_to(most_rows, BATCHES), lambda size: seconds(size, 1)), most_rows)
    chunk = min(chunk or _least(_up_to(most_steps, CHUNKS), lambda size: seconds(rows, size)), most_steps)
    each = seconds(rows, chunk) / (rows * chunk)
    return Policy(batch, chunk, max(batch, chunk, min(batch * chunk, int(_LONGEST / each), _MOST_NUMBERS // step)))


def _up_to(most: int, sizes: Sequence[int]) -> Sequence[int]:
    return [size for size in sizes if size <= most] or [most]


def _least(sizes: Sequence[int], seconds: Callable[[int], float]) -> int:
    """The smallest size whose throughput is nearly the best; none is tried after one that takes too long."""
    rates: dict[int, float] = {}
    for size in sizes:
        took = seconds(size)
        if rates and took > _LONGEST:
            break
        rates[size] = size / took
    return min(size for size, rate in rates.items() if rate >= _NEARLY * max(rates.values()))


def seconds_of(model: Model, rows: int, steps: int, clock: Callable[[], float]) -> float:
    """The shortest of a few runs of `rows` rows of `steps` steps."""
    inputs = np.ones((rows, steps, model.features), np.float32)
    state = {name: np.zeros((rows, *shape), np.float32) for name, shape in model.state_shapes.items()}
    lengths = np.full(rows, steps, np.int32)
    took = []
    for _ in range(_REPEATS):
        begin = clock()
        model.run(inputs, lengths, state)
        took.append(clock() - begin)
    return min(took)
