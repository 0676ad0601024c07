"""What each kind of task means: its outputs, its head, its figures, and the forecasts that need no network.

A new task is a section of `training/recipe.py`, a head, and a class here that `TASKS` names. Knows no cells, no files.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional import classification, regression

from training.contract import Output
from training.dataset import Dataset, Stretch
from training.heads import Band, Classes, Head, Labels, Values

Floats = NDArray[np.float32]
Figures = dict[str, float]
LEAST = 1e-12  # of a probability, so that its logarithm exists


class Task:
    """One kind of task on one set of data; `told` is the recipe's section."""

    def __init__(self, told: Any, data: Dataset) -> None:
        self.told, self.data = told, data

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What is served, K columns."""
        raise NotImplementedError

    def head(self, hidden: int) -> Head:
        """Return an untrained head on `hidden` values."""
        raise NotImplementedError

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return how good outputs [n,K] are for answers [n,M]; NaN on either side does not count."""
        raise NotImplementedError

    def judged(self, answers: Floats) -> Floats:
        """Return answers [N,M] of one sequence with NaN where the figures leave them out."""
        return answers

    def baselines(self, stretch: Stretch) -> dict[str, Floats]:
        """Return forecasts [N,K] for the steps of a stretch that need no network, by name."""
        N = stretch.steps.stop - stretch.steps.start
        return {"prior": np.tile(self.prior, (N, 1)).astype(np.float32)}

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Return what one would say, [K], knowing the training part's answers and nothing else."""
        raise NotImplementedError

    def learnt_answers(self) -> Floats:
        """Return all answers [n,M] of the training part."""
        return np.concatenate([stretch.answers() for stretch in self.data.training])


class RegressionTask(Task):
    """Numbers: mean squared error, z-scored by the training part, and mean absolute error in the target's unit."""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """One for each target and horizon."""
        alone = len(self.data.horizons) == 1
        return tuple(
            Output(target.name if alone else f"{target.name}_h{h}", target.unit, target.name, h)
            for target in self.data.targets
            for h in self.data.horizons
        )

    def head(self, hidden: int) -> Head:
        """Return a head that speaks the targets' units."""
        return Values(hidden, self.data.answers, self.told.cap)

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return `mse_z` and `mae` over all outputs; with several, `NAME_mse_z` and `NAME_mae` of each as well.

        With a cap there are `rmse` and `capped_rmse` too: answers above the cap as they are, and counted as it.
        """
        std = np.where(self.data.answers.std > 0, self.data.answers.std, 1.0)
        figures = _errors(outputs, answers, std) if len({target.unit for target in self.data.targets}) == 1 else {}
        if len(self.outputs) > 1:
            for k, output in enumerate(self.outputs):
                each = _errors(outputs[:, [k]], answers[:, [k]], std[[k]])
                figures |= {f"{output.name}_{measure}": value for measure, value in each.items()}
        if self.told.cap is not None:
            figures |= {"rmse": _rmse(outputs, answers), "capped_rmse": _rmse(outputs, self._capped(answers))}
        return figures

    def judged(self, answers: Floats) -> Floats:
        """Return every answer, or only those of the last step."""
        if self.told.judged == "every":
            return answers
        return np.where(np.arange(len(answers))[:, None] == len(answers) - 1, answers, np.float32(np.nan))

    def baselines(self, stretch: Stretch) -> dict[str, Floats]:
        """Return the last value and the value one season before, where the target is a feature; else the mean.

        Where the end of a sequence is judged, there is the mean at the same step of the training sequences too.
        """
        names = [feature.name for feature in self.data.features]
        if not all(target.name in names for target in self.data.targets):
            by_step = {} if self.told.judged == "every" else {"step": self._by_step(stretch)}
            return super().baselines(stretch) | by_step
        values = stretch.sequence.inputs[:, [names.index(target.name) for target in self.data.targets]]  # [T, C]
        now = np.arange(stretch.steps.start, stretch.steps.stop)[:, None]  # [N, 1]
        back = {"persistence": np.broadcast_to(now, (len(now), len(self.data.horizons)))}
        if self.told.season is not None:
            back["season"] = now + np.array(self.data.horizons) - self.told.season
        return {name: _at(values, rows) for name, rows in back.items()}

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Return the means."""
        return np.asarray(np.nanmean(self._capped(self.learnt_answers()), axis=0, dtype=np.float64))

    def _by_step(self, stretch: Stretch) -> Floats:
        """Return the mean answer [N,K] at each step of the training sequences; behind their end the last of them."""
        means = self._step_means
        N = stretch.steps.stop - stretch.steps.start
        return means[np.minimum(np.arange(N), len(means) - 1)]

    @cached_property
    def _step_means(self) -> Floats:
        learnt = [self._capped(stretch.answers()) for stretch in self.data.training]
        T = max(map(len, learnt))
        ragged = np.stack([np.pad(one, ((0, T - len(one)), (0, 0)), constant_values=np.nan) for one in learnt])
        count = (~np.isnan(ragged)).sum(axis=0)
        means = np.full(count.shape, np.nan, np.float32)
        np.divide(np.nansum(ragged, axis=0), count, out=means, where=count > 0)
        return means

    def _capped(self, answers: Floats) -> Floats:
        """Return answers with those above the cap counted as it."""
        return answers if self.told.cap is None else np.minimum(answers, np.float32(self.told.cap))


class QuantilesTask(RegressionTask):
    """Bands: pinball loss, the error of the median, and how often the truth lies below each quantile."""

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles."""
        return tuple(self.told.quantiles)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """One for each target, horizon and quantile."""
        return tuple(
            Output(f"{one.name}_q{level:g}", one.unit, one.target, one.horizon, level)
            for one in super().outputs
            for level in self.levels
        )

    def head(self, hidden: int) -> Head:
        """Return a head whose quantiles cannot cross."""
        return Band(hidden, self.data.answers, self.levels)

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return `pinball_z`, `coverage` of the outermost band, and `below_Q`, the share of truths below quantile Q."""
        bands = outputs.reshape(*answers.shape, len(self.levels)).astype(np.float64)  # [n, M, Q]
        counts = ~np.isnan(answers)
        std = np.where(self.data.answers.std > 0, self.data.answers.std, 1.0)[:, None]
        error = ((answers[..., None] - bands) / std)[counts]  # [n', Q]
        levels = np.array(self.levels)
        below = (error < 0).mean(axis=0)
        figures = {
            "pinball_z": float(np.maximum(levels * error, (levels - 1) * error).mean()),
            "coverage": float(below[-1] - below[0]) if len(levels) > 1 else float(below[0]),
        }
        return figures | {f"below_{level:g}": float(share) for level, share in zip(self.levels, below, strict=True)}

    def judged(self, answers: Floats) -> Floats:
        """Return every answer."""
        return answers

    def baselines(self, stretch: Stretch) -> dict[str, Floats]:
        """Return the quantiles of the training part."""
        return Task.baselines(self, stretch)

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Return the quantiles of the training part's answers."""
        return np.nanquantile(self.learnt_answers().astype(np.float64), self.levels, axis=0).T.reshape(-1)


class ClassesTask(Task):
    """One of several classes (or symbols): accuracy, F1 over the classes, nats."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What there is to choose from."""
        return self.data.targets[0].classes

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The probability of each class, named for it."""
        (target,), (horizon,) = self.data.targets, self.data.horizons
        return tuple(Output(name, "probability", target.name, horizon) for name in self.classes)

    def head(self, hidden: int) -> Head:
        """Return a head of probabilities that add up to one."""
        return Classes(hidden, len(self.classes))

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return `accuracy`, `f1` (each class counts the same) and `nll`, nats a step."""
        counts = ~np.isnan(answers[:, 0])
        said, truth = _tensor(outputs[counts]), torch.from_numpy(answers[counts, 0]).long()
        C = len(self.classes)
        likelihood = said.gather(1, truth[:, None]).clamp(min=LEAST)
        return {
            "accuracy": float(classification.multiclass_accuracy(said, truth, C, average="micro")),
            "f1": float(classification.multiclass_f1_score(said, truth, C, average="macro")),
            "nll": float(-likelihood.log().mean()),
        }

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Return the share of each class in the training part."""
        answers = self.learnt_answers()
        index = answers[~np.isnan(answers)].astype(np.int64)
        return np.bincount(index, minlength=len(self.classes)) / len(index)


class LabelsTask(Task):
    """Any number of labels: F1 and nats a step, summed over the labels."""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The probability of each label, named for its column."""
        (horizon,) = self.data.horizons
        return tuple(Output(target.name, "probability", target.name, horizon) for target in self.data.targets)

    def head(self, hidden: int) -> Head:
        """Return a head of independent probabilities."""
        answers = self.learnt_answers()
        seen = (~np.isnan(answers)).sum(axis=0)
        return Labels(hidden, (np.nansum(answers, axis=0) + 0.5) / (seen + 1))  # what never was is still possible

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return `f1` over all labels and `nll`, nats a step summed over its labels, where every answer is known."""
        counts = ~np.isnan(answers).any(axis=1)
        said, truth = _tensor(outputs[counts]), torch.from_numpy(answers[counts]).long()
        likelihood = torch.where(truth == 1, said, 1 - said).clamp(min=LEAST)
        return {
            "f1": float(classification.binary_f1_score(said.flatten(), truth.flatten())),
            "nll": float(-likelihood.log().sum(1).mean()),
        }

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Return how often each label was set in the training part."""
        return np.asarray(np.nanmean(self.learnt_answers(), axis=0, dtype=np.float64))


TASKS: Mapping[str, type[Task]] = {
    "regression": RegressionTask,
    "quantiles": QuantilesTask,
    "classification": ClassesTask,
    "multilabel": LabelsTask,
    "next-symbol": ClassesTask,
}


def _errors(outputs: Floats, answers: Floats, std: NDArray[np.float64]) -> Figures:
    counts = ~np.isnan(answers) & ~np.isnan(outputs)
    said, truth = _tensor(outputs), _tensor(answers)
    unit, where = torch.from_numpy(std), torch.from_numpy(counts)
    return {
        "mse_z": float(regression.mean_squared_error((said / unit)[where], (truth / unit)[where])),
        "mae": float(regression.mean_absolute_error(said[where], truth[where])),
    }


def _rmse(outputs: Floats, answers: Floats) -> float:
    counts = ~np.isnan(answers)
    said, truth = _tensor(outputs[counts]), _tensor(answers[counts])
    return float(regression.mean_squared_error(said, truth, squared=False))


def _at(values: Floats, rows: NDArray[np.int64]) -> Floats:
    """Return values [T, C] at rows [N, H] as [N, C·H]; NaN before the sequence began."""
    found = np.where((rows >= 0)[..., None], values[np.maximum(rows, 0)], np.float32(np.nan))  # [N, H, C]
    return found.swapaxes(1, 2).reshape(len(rows), -1)


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(array.astype(np.float64))
