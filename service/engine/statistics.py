"""What an engine counts; `EngineStatistics` is a frozen view that metrics pull."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROW_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SECOND_BOUNDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Distribution:
    """Counts of values at most bounds[i] and above the bound before; the last is of those above all bounds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float  # of the values


class Histogram:
    """The mutable side of a distribution."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._total = tuple(bounds), 0.0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: float, times: int = 1) -> None:
        """Count a value so many times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._total += value * times

    def add_all(self, values: NDArray[np.float64]) -> None:
        """Count each of some values."""
        for place, count in enumerate(np.bincount(np.searchsorted(self._bounds, values)).tolist()):
            self._counts[place] += count
        self._total += float(values.sum())

    def frozen(self) -> Distribution:
        """A frozen view."""
        return Distribution(self._bounds, tuple(self._counts), self._total)


@dataclass(frozen=True)
class EngineStatistics:
    """Counts since the start, and what waits now."""

    alive: bool
    waiting_rows: int
    waiting_bytes: int
    steps: int
    padded_steps: int
    rows: Distribution  # of a tick
    queued: Distribution  # seconds from the arrival of a call to each of its ticks
    running: Distribution  # seconds of a tick in the model
    answering: Distribution  # seconds of a tick to commit, apply and tell what it answered
    refused: dict[str, int]  # by code: calls that were not accepted, and rows that ended unapplied
    done: int  # rows of calls that were answered
    done_seconds: float  # of all of them, from their arrival to their answer
    last: float  # when the newest answer was told: seconds since 1970; 0: there was none
    batches: dict[int, tuple[int, float]]  # by rows of a tick: how many there were, and seconds of them in the model


class Counters:
    """The mutable side, written by the engine."""

    def __init__(self) -> None:
        self.steps = self.padded_steps = 0
        self.rows = Histogram(ROW_BOUNDS)
        self.queued, self.running, self.answering = (Histogram(SECOND_BOUNDS) for _ in range(3))
        self.refused: Counter[str] = Counter()
        self.done, self.done_seconds, self.last = 0, 0.0, 0.0
        self._batches: dict[int, tuple[int, float]] = {}

    def tick(self, rows: int, steps: int, longest: int, seconds: float) -> None:
        """Count a run of `rows` rows padded to `longest` steps each, `steps` of them asked for."""
        self.steps += steps
        self.padded_steps += rows * longest - steps
        self.rows.add(rows)
        self.running.add(seconds)
        count, total = self._batches.get(rows, (0, 0.0))
        self._batches[rows] = count + 1, total + seconds

    def tell(self, rows: int, seconds: float) -> None:
        """Count rows that were answered so many seconds after they arrived."""
        self.done += rows
        self.done_seconds += rows * seconds
        self.last = time.time()

    def frozen(self, *, alive: bool, rows: int, size: int) -> EngineStatistics:
        """A frozen view."""
        return EngineStatistics(
            alive,
            rows,
            size,
            self.steps,
            self.padded_steps,
            self.rows.frozen(),
            self.queued.frozen(),
            self.running.frozen(),
            self.answering.frozen(),
            dict(self.refused),
            self.done,
            self.done_seconds,
            self.last,
            dict(self._batches),
        )
