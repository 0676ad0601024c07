"""Regression: mean squared error, z-scored by the training part, and mean absolute error in the target's unit."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from training.arrays import Doubles, Floats, Integers
from training.data.dataset import Dataset, Stretch, fit_scaling
from training.net.heads import Head, Values
from training.tasks.task import Figures, Output, Task, mean


class RegressionTask(Task):
    """Numbers, one output for each target and horizon."""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Named TARGET, or TARGET_hN with several horizons."""
        return number_outputs(self.data)

    def head(self, hidden: int) -> Head:
        """Return a head in the targets' units; of their changes, with `residual`: it begins with their mean."""
        how = self.section
        scaling = self.data.answers
        if how.residual:
            changes = [one.answers() - one.sequence.inputs[one.steps][:, self.added] for one in self.data.training]
            scaling = fit_scaling(np.concatenate(changes))
        head = Values(hidden, scaling, how.cap, loss=how.loss, scaled=how.scale)
        for weights in head.linear.parameters() if how.residual else ():
            nn.init.zeros_(weights)
        return head

    @property
    def added(self) -> tuple[int, ...]:
        """The column of each output's target among the inputs, with `residual`."""
        if not self.section.residual:
            return ()
        names = [feature.name for feature in self.data.features]
        return tuple(names.index(target.name) for target in self.data.targets for _ in self.data.horizons)

    def errors(self, outputs: Floats, answers: Floats) -> Doubles:
        """Return absolute errors in the targets' units."""
        error = np.abs(outputs.astype(np.float64) - answers)
        return error.reshape(len(error), -1, len(self.data.horizons))

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return `mse_z`, `mae`, `rmse` over all outputs of one unit; with several also `NAME_mse_z`, `NAME_mae`.

        With a cap also `capped_rmse`, which clips the answers to the cap.
        """
        error = outputs.astype(np.float64) - answers
        z = error / np.where(self.data.answers.std > 0, self.data.answers.std, 1.0)
        figures: Figures = {}
        if len({target.unit for target in self.data.targets}) == 1:
            figures = {
                "mse_z": mean(z**2, None),
                "mae": mean(np.abs(error), None),
                "rmse": np.sqrt(mean(error**2, None)),
            }
        for k, output in enumerate(self.outputs if len(self.outputs) > 1 else ()):
            figures |= {f"{output.name}_mse_z": mean(z[:, k] ** 2), f"{output.name}_mae": mean(np.abs(error[:, k]))}
        if self.section.cap is not None:
            capped = outputs.astype(np.float64) - self._capped(answers)
            figures["capped_rmse"] = np.sqrt(mean(capped**2, None))
        return {name: float(value) for name, value in figures.items()}

    def baselines(self, stretch: Stretch) -> dict[str, Floats]:
        """Return `persistence` and `season` where the targets are features, else `prior`.

        With `judged = "last"` and a target that is not a feature also `step`: the mean answer at the same step of the
        training sequences; behind their end, the mean at the last step.
        """
        names = [feature.name for feature in self.data.features]
        now = np.arange(stretch.steps.start, stretch.steps.stop)[:, None]  # [N, 1]
        if not all(target.name in names for target in self.data.targets):
            by_step = {}
            if self.section.judged == "last" and self.data.training:
                step = np.minimum(np.arange(len(now)), len(self._step_means) - 1)
                by_step = {"step": self._step_means[step]}
            return super().baselines(stretch) | by_step
        values = stretch.sequence.inputs[:, [names.index(target.name) for target in self.data.targets]]  # [T, C]
        back = {"persistence": np.broadcast_to(now, (len(now), len(self.data.horizons)))}
        if self.section.season is not None:
            back["season"] = now + np.array(self.data.horizons) - self.section.season
        return {name: _at(values, rows) for name, rows in back.items()}

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Means."""
        return np.asarray(mean(self._capped(self.learnt_answers())))

    @cached_property
    def _step_means(self) -> Floats:
        """The mean answer [T, K] at each step of the training sequences."""
        answers = [self._capped(stretch.answers()) for stretch in self.data.training]
        ragged = np.full((len(answers), max(map(len, answers)), answers[0].shape[1]), np.nan)
        for row, one in zip(ragged, answers, strict=True):
            row[: len(one)] = one
        return np.asarray(mean(ragged)).astype(np.float32)

    def _capped(self, answers: Floats) -> Floats:
        return answers if self.section.cap is None else np.minimum(answers, np.float32(self.section.cap))


def number_outputs(data: Dataset) -> tuple[Output, ...]:
    """Return an output for each target and horizon."""
    alone = len(data.horizons) == 1
    return tuple(
        Output(target.name if alone else f"{target.name}_h{h}", target.unit, target.name, h)
        for target in data.targets
        for h in data.horizons
    )


def _at(values: Floats, rows: Integers) -> Floats:
    """Return values [T, C] at rows [N, H] as [N, C·H]; NaN before the sequence begins."""
    found = np.where((rows >= 0)[..., None], values[np.maximum(rows, 0)], np.float32(np.nan))  # [N, H, C]
    return found.swapaxes(1, 2).reshape(len(rows), -1)
