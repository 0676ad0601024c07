"""Recipe and table → sequences of complete inputs and their answers, in three parts, with what was learnt of them.

The one place that knows the order of things: sequences, split, columns, gaps. Knows neither networks nor training.
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.contract import Feature
from training.encode import Columns, Target, encode
from training.layout import Rows, sequences
from training.prepare import GapError, complete, first
from training.recipe import Recipe
from training.sources import Table
from training.split import Piece, split

Floats = NDArray[np.float32]


class Scaling(NamedTuple):
    """Mean and standard deviation of each column, in its own unit."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


@dataclass(frozen=True)
class Sequence:
    """One sequence as the network meets it."""

    id: str
    times: NDArray[Any]  # [T]
    inputs: Floats  # [T, F] complete
    targets: Floats  # [T, C] of the row itself; NaN where it was not measured
    gaps: NDArray[np.bool_]  # [T] a feature was empty


@dataclass(frozen=True)
class Stretch:
    """The steps of a sequence whose answers lie in rows [first, stop): no row is an answer in two parts."""

    sequence: Sequence
    first: int
    stop: int
    horizons: tuple[int, ...]

    @property
    def steps(self) -> slice:
        """The rows from which at least one answer is asked."""
        return slice(max(0, self.first - max(self.horizons)), self.stop - min(self.horizons))

    def answers(self, steps: slice | None = None) -> Floats:
        """Return the answers [n, C·H] of steps, horizons of a target side by side; NaN: not measured, or not ours."""
        steps = steps or self.steps
        row = np.arange(steps.start, steps.stop)[:, None] + np.array(self.horizons)  # [n, H]
        ours = (row >= self.first) & (row < self.stop)
        values = self.sequence.targets[np.where(ours, row, 0)]  # [n, H, C]
        values = np.where(ours[..., None], values, np.float32(np.nan)).swapaxes(1, 2)
        return values.reshape(len(row), -1)


@dataclass(frozen=True)
class Dataset:
    """What a recipe's data come to. The scalings were fitted on the training part only."""

    features: tuple[Feature, ...]
    targets: tuple[Target, ...]
    horizons: tuple[int, ...]
    training: tuple[Stretch, ...]
    validation: tuple[Stretch, ...]
    test: tuple[Stretch, ...]
    inputs: Scaling  # [F]
    answers: Scaling  # [C·H]
    sha256: str


def load(recipe: Recipe) -> Dataset:
    """Read, check and arrange the data of a recipe.

    Raises:
        TableError: they are not what the recipe says; the message names file, line or column, and the fix.

    """
    return arrange(recipe.data.read(recipe.folder), recipe)


def arrange(table: Table, recipe: Recipe) -> Dataset:
    """Arrange a table that was read already."""
    horizons = recipe.task.horizons
    rows = sequences(table, min(horizons) + 1)
    parts = split(table, rows, recipe.split, min(horizons))
    learnt = np.concatenate([piece.rows.index[piece.first : piece.stop] for piece in parts.training])
    columns = encode(table, recipe, learnt)
    completed = {id(one): _sequence(table, columns, one) for one in rows}

    def stretches(pieces: Many[Piece]) -> tuple[Stretch, ...]:
        return tuple(Stretch(completed[id(one.rows)], one.first, one.stop, horizons) for one in pieces)

    training = stretches(parts.training)
    answers = np.concatenate([stretch.answers() for stretch in training])
    if np.isnan(answers).all(axis=0).any():
        raise table.error(
            f"{', '.join(recipe.task.targets)}: a target is empty in the whole training part, or its horizon leaves it"
        )
    return Dataset(
        columns.features,
        columns.targets,
        horizons,
        training,
        stretches(parts.validation),
        stretches(parts.test),
        inputs=_input_scaling(columns.features, training),
        answers=fit_scaling(answers),
        sha256=table.sha256,
    )


def fit_scaling(values: Floats) -> Scaling:
    """Return mean and deviation of each column of values [N, F], gaps left out; pass the training part only."""
    return Scaling(np.nanmean(values, axis=0, dtype=np.float64), np.nanstd(values, axis=0, dtype=np.float64))


def _input_scaling(features: Many[Feature], training: Many[Stretch]) -> Scaling:
    scaling = fit_scaling(np.concatenate([stretch.sequence.inputs[stretch.steps] for stretch in training]))
    raw = np.array([not feature.scale for feature in features])
    # A column that enters as it is keeps its numbers, unless it never varied: then nothing was learnt of it.
    mean = np.where(raw & (scaling.std > 0), 0.0, scaling.mean)
    return Scaling(mean, np.where(raw & (scaling.std > 0), 1.0, scaling.std))


def _sequence(table: Table, columns: Columns, rows: Rows) -> Sequence:
    raw = columns.raw[rows.index]
    try:
        inputs, _ = complete(columns.features, raw, first(columns.features))
    except GapError as error:
        problem = f"{error.name} is empty; give the feature a rule, such as missing = 'hold'"
        raise table.error(problem, row=int(rows.index[error.row])) from None
    return Sequence(rows.id, rows.times, inputs, columns.answers[rows.index], np.asarray(np.isnan(raw).any(axis=1)))
