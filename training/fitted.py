"""What a fit leaves to tell of: its test part streamed once more, beside the forecasts that need no network."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import measures
from training.dataset import Dataset
from training.evaluate import Unseen, streamed, task_of
from training.networks import Network
from training.recipe import Recipe
from training.tasks import LEAST, Task

Floats = NDArray[np.float32]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves to tell of."""

    recipe: Recipe
    data: Dataset
    network: Network
    streams: list[Unseen]  # of the test part, in the order of `data.test`
    metadata: Mapping[str, Any]
    command: str

    @cached_property
    def task(self) -> Task:
        """The task on its data."""
        return task_of(self.recipe, self.data)

    @cached_property
    def said(self) -> list[Floats]:
        """The outputs [N, K] over each stream."""
        return [streamed(self.network, one) for one in self.streams]

    @cached_property
    def errors(self) -> dict[str, list[Array]]:
        """The errors [N, C, H] over each stream: of the network (`test`), and of the baselines, the best one first.

        The best has the lowest geometric mean over targets and horizons, which needs no common unit.
        """
        names = self.streams[0].baselines
        forecasts = {"test": self.said} | {name: [one.baselines[name] for one in self.streams] for name in names}
        found = {
            name: [measures.errors(self.task, *pair) for pair in zip(own, self.answers, strict=True)]
            for name, own in forecasts.items()
        }
        mean = {name: np.log(np.maximum(measures.mean(np.concatenate(found[name])), LEAST)).sum() for name in names}
        return {name: found[name] for name in ("test", *sorted(names, key=lambda name: float(mean[name])))}

    @property
    def answers(self) -> list[Floats]:
        """The answers [N, M] over each stream."""
        return [one.answers for one in self.streams]

    @property
    def baseline(self) -> str:
        """The name of the best of the baselines."""
        return list(self.errors)[1]
