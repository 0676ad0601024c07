"""Base class of the tasks. Outputs are [n, K], answers [n, M]; an answer that is NaN does not count."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.arrays import Doubles, Floats
from training.data.dataset import Dataset, Stretch
from training.net.heads import Head

Figures = dict[str, float]


@dataclass(frozen=True)
class Output:
    """One output column: a number in the target's unit, or the probability of what it is named for."""

    name: str
    unit: str | None = None
    target: str | None = None  # column of the table
    horizon: int | None = None  # rows ahead
    quantile: float | None = None


class Task(ABC):
    """One kind of task on one data set; `section` is the recipe's `[task]`."""

    def __init__(self, section: Any, data: Dataset) -> None:
        self.section, self.data = section, data

    @property
    @abstractmethod
    def outputs(self) -> tuple[Output, ...]:
        """The K outputs."""

    @abstractmethod
    def head(self, hidden: int) -> Head:
        """Return an untrained head for `hidden` inputs."""

    @abstractmethod
    def errors(self, outputs: Floats, answers: Floats) -> Doubles:
        """Return the error of each step [n, C, H], lower is better; NaN where an answer or an output is NaN."""

    @abstractmethod
    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return the metrics by name."""

    @property
    def added(self) -> tuple[int, ...]:
        """The input column that is added to each of the K outputs; empty: none."""
        return ()

    @cached_property
    @abstractmethod
    def prior(self) -> NDArray[np.floating]:
        """The best constant output [K], from the answers of the training part."""

    def judged(self, answers: Floats) -> Floats:
        """Return answers [N, M] of one sequence, NaN where the metrics leave them out: all but the last step's with
        `judged = "last"`.
        """
        if getattr(self.section, "judged", "every") == "every":
            return answers
        return np.where(np.arange(len(answers))[:, None] == len(answers) - 1, answers, np.float32(np.nan))

    def baselines(self, stretch: Stretch) -> dict[str, Floats]:
        """Return outputs [N, K] for the steps of a stretch that need no network, by name."""
        N = stretch.steps.stop - stretch.steps.start
        return {"prior": np.tile(self.prior, (N, 1)).astype(np.float32)}

    def learnt_answers(self) -> Floats:
        """Return all answers [n, M] of the training part."""
        return np.concatenate([stretch.answers() for stretch in self.data.training])


def mean(values: NDArray[Any], axis: int | None = 0) -> Any:
    """Return the mean without NaN, in float64; NaN where all are NaN."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=axis, dtype=np.float64), known.sum(axis=axis)
    return np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0)[()]
