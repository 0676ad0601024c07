"""Result of a training run, for the report: outputs and errors on the test part, of the model and of the baselines."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from training.arrays import Doubles, Floats
from training.data.dataset import Dataset
from training.net.evaluate import Outputs, Unseen
from training.net.networks import Network
from training.recipe.recipe import Recipe
from training.tasks import Task
from training.tasks.task import mean

LEAST = 1e-12  # smallest error, so that its logarithm is finite
PANELS = 4  # most panels of a figure


@dataclass(frozen=True)
class Fitted:
    """Result of a training run."""

    recipe: Recipe
    data: Dataset
    network: Network
    task: Task
    streams: list[Unseen]  # of the test part, in the order of `data.test`
    forecasts: Outputs  # of the model (`test`) and others
    metadata: Mapping[str, Any]
    command: str

    @property
    def outputs(self) -> list[Floats]:
        """The model's outputs [N, K] for each stream."""
        return self.forecasts["test"]

    @property
    def answers(self) -> list[Floats]:
        """The answers [N, M] of each stream."""
        return [one.answers for one in self.streams]

    @cached_property
    def errors(self) -> dict[str, list[Doubles]]:
        """The errors [N, C, H] in each stream: of the model (`test`), then of the baselines, the best one first.

        The best has the lowest geometric mean over targets and horizons, which needs no common unit.
        """
        names = self.streams[0].baselines
        found = {
            name: [self.task.errors(*pair) for pair in zip(self.forecasts[name], self.answers, strict=True)]
            for name in ("test", *names)
        }
        means = {name: np.log(np.maximum(mean(np.concatenate(found[name])), LEAST)).sum() for name in names}
        return {name: found[name] for name in ("test", *sorted(names, key=lambda name: float(means[name])))}

    @property
    def baseline(self) -> str:
        """The name of the best baseline."""
        return list(self.errors)[1]


def some(count: int) -> list[int]:
    """Return up to PANELS of `count` indices, evenly from the first to the last."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, PANELS).round())]
