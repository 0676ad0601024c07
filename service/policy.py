"""How much of the ready work one tick takes: found when a model is loaded, from a short measured curve.

It knows the Model protocol and time; not queues or sessions.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.model import Model

BATCHES, CHUNKS = (8, 16, 32, 64, 128, 256, 512, 1024), (8, 16, 32, 64)
_OWN = 0.00036  # seconds that a tick itself takes, beside the model's run (`python -m bench --only many-S-1024`)
_NEARLY = 0.9  # of the best throughput: what comes above costs latency for nothing
_SHORT = 0.025  # seconds; no tick is longer, unless the shortest one is
_ROUNDS = 3


@dataclass(frozen=True)
class Policy:
    """The most rows of a tick, the most time steps of one row in it, and the most of all together, padding included."""

    batch: int
    chunk: int
    steps: int


def measured(
    model: Model,
    *,
    batch: int | None = None,
    chunk: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Policy:
    """The policy for a model; what is given is taken.

    Of the batches of one step, and of the chunks of eight rows: the least that has nearly the best throughput.
    """

    def seconds(rows: int, steps: int) -> float:
        return _OWN + _seconds(model, rows, steps, clock)

    batch = batch or _least(BATCHES, lambda rows: rows, lambda rows: seconds(rows, 1))
    chunk = chunk or _least(CHUNKS, lambda steps: 8 * steps, lambda steps: seconds(8, steps))
    full = seconds(8, chunk) / (8 * chunk)  # of a step in company
    return Policy(batch, chunk, max(batch, chunk, min(batch * chunk, int(_SHORT / full))))


def _least(sizes: Sequence[int], work: Callable[[int], int], seconds: Callable[[int], float]) -> int:
    """The least size that does nearly as much work a second as the best of those that do not take too long."""
    rates: dict[int, float] = {}
    for size in sizes:
        took = seconds(size)
        if rates and took > _SHORT:
            break
        rates[size] = work(size) / took
    return min(size for size, rate in rates.items() if rate >= _NEARLY * max(rates.values()))


def _seconds(model: Model, rows: int, steps: int, clock: Callable[[], float]) -> float:
    inputs = np.ones((rows, steps, model.features), np.float32)
    state = {name: np.zeros((rows, *shape), np.float32) for name, shape in model.state_shapes.items()}
    lengths = np.full(rows, steps, np.int32)
    took = []
    for _ in range(_ROUNDS):
        begin = clock()
        model.run(inputs, lengths, state)
        took.append(clock() - begin)
    return min(took)
