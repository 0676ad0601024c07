"""Quantiles: pinball loss (Koenker & Bassett 1978), and how often the answer lies below each quantile."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training.arrays import Doubles, Floats
from training.net.heads import Band, Head
from training.tasks.regression import number_outputs
from training.tasks.task import Figures, Output, Task, mean


class QuantilesTask(Task):
    """Quantiles, one output for each target, horizon and level."""

    @property
    def levels(self) -> Doubles:
        """The levels [Q] of the quantiles, between 0 and 1."""
        return np.array(self.section.quantiles)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Named like those of a regression, with _qLEVEL."""
        return tuple(
            Output(f"{one.name}_q{level:g}", one.unit, one.target, one.horizon, level)
            for one in number_outputs(self.data)
            for level in self.section.quantiles
        )

    def head(self, hidden: int) -> Head:
        """Return a head whose quantiles cannot cross."""
        return Band(hidden, self.data.answers, self.section.quantiles)

    def errors(self, outputs: Floats, answers: Floats) -> Doubles:
        """Return pinball losses in the targets' units, mean over the levels."""
        loss = self._pinball(outputs, answers).mean(axis=-1)
        return np.asarray(loss.reshape(len(loss), -1, len(self.data.horizons)))

    def below(self, outputs: Floats, answers: Floats) -> Doubles:
        """Return the share of answers below each quantile, for each target and horizon, [M, Q]."""
        lower = answers[..., None] < self._bands(outputs, answers)
        return np.asarray(mean(np.where(np.isnan(answers)[..., None], np.nan, lower)))

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return `pinball_z`, `coverage` of the outermost band, and `below_Q`, the share of answers below Q."""
        std = np.where(self.data.answers.std > 0, self.data.answers.std, 1.0)[:, None]
        everything = answers.reshape(-1, 1)
        (below,) = self.below(outputs.reshape(len(everything), -1), everything)
        return {
            "pinball_z": float(mean(self._pinball(outputs, answers) / std, None)),
            "coverage": float(below[-1] - below[0]) if len(below) > 1 else float(below[0]),
            **{f"below_{level:g}": float(share) for level, share in zip(self.levels, below, strict=True)},
        }

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Quantiles of the training part's answers."""
        return np.nanquantile(self.learnt_answers().astype(np.float64), self.levels, axis=0).T.reshape(-1)

    def _bands(self, outputs: Floats, answers: Floats) -> Doubles:
        return outputs.reshape(*answers.shape, len(self.levels)).astype(np.float64)  # [n, M, Q]

    def _pinball(self, outputs: Floats, answers: Floats) -> Doubles:
        """Return the loss of each quantile, [n, M, Q]."""
        error = answers[..., None] - self._bands(outputs, answers)
        return np.maximum(self.levels * error, (self.levels - 1) * error)
