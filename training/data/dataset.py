"""Load the data of a recipe: complete input sequences and their answers, in three parts, with their scalings.

The only module that combines sequences, split, encoding and gaps.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.arrays import Doubles, Floats
from training.data.encode import Columns, encode
from training.data.feature import Feature
from training.data.gaps import GapError, complete
from training.data.sequences import Rows, sequences
from training.data.sources import Table
from training.data.split import Piece, split
from training.data.targets import Target
from training.recipe.recipe import Recipe


class Scaling(NamedTuple):
    """Mean and standard deviation of each column, in the column's unit."""

    mean: Doubles
    std: Doubles


@dataclass(frozen=True)
class Sequence:
    """One sequence of complete input rows, with the target values of each row."""

    id: str
    times: NDArray[Any]  # [T]
    inputs: Floats  # [T, F] no gaps
    targets: Floats  # [T, C] NaN where it was not measured


@dataclass(frozen=True)
class Stretch:
    """Steps of a sequence whose answers lie in rows [first, stop). Parts do not share answer rows."""

    sequence: Sequence
    first: int
    stop: int
    horizons: tuple[int, ...]

    @property
    def steps(self) -> slice:
        """The rows that have at least one answer in [first, stop)."""
        return slice(max(0, self.first - max(self.horizons)), self.stop - min(self.horizons))

    def answers(self, steps: slice | None = None) -> Floats:
        """Return the answers [n, C·H] of steps, horizons of a target side by side.

        NaN: not measured, or in a row outside [first, stop).
        """
        steps = steps or self.steps
        row = np.arange(steps.start, steps.stop)[:, None] + np.array(self.horizons)  # [n, H]
        inside = (row >= self.first) & (row < self.stop)
        values = self.sequence.targets[np.where(inside, row, 0)]  # [n, H, C]
        values = np.where(inside[..., None], values, np.float32(np.nan)).swapaxes(1, 2)
        return values.reshape(len(row), -1)


@dataclass(frozen=True)
class Dataset:
    """Data of a recipe. Scalings, codes and substitutes for gaps come from the training part only."""

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
    """Read the data of a recipe.

    Raises:
        TableError: the data do not match the recipe; the message names file, line or column, and the fix.

    """
    table, horizons = recipe.data.read(recipe.folder), recipe.task.horizons
    found = sequences(table, min(horizons) + 1)
    parts = split(table, found, recipe.split, min(horizons))
    learnt = np.concatenate([piece.rows.index[piece.first : piece.stop] for piece in parts.training])
    columns = encode(table, recipe, learnt)
    completed = {id(one): complete_sequence(table, columns, one) for one in found}

    def stretches(pieces: Iterable[Piece]) -> tuple[Stretch, ...]:
        return tuple(Stretch(completed[id(one.rows)], one.first, one.stop, horizons) for one in pieces)

    training, validation, test = (stretches(pieces) for pieces in parts)
    answers = np.concatenate([stretch.answers() for stretch in training])
    for name, part in (("training", training), ("validation", validation), ("test", test)):
        empty = np.isnan(np.concatenate([stretch.answers() for stretch in part])).all(axis=0)
        if empty.all() or (name == "training" and empty.any()):
            targets = ", ".join(recipe.task.targets)
            raise table.error(
                f"{targets}: a target is empty in the whole {name} part, or its horizon leaves it; name another target,"
                " or change split.validation or split.test"
            )
    return Dataset(
        columns.features,
        columns.targets,
        horizons,
        training,
        validation,
        test,
        inputs=_input_scaling(columns.features, training),
        answers=fit_scaling(answers),
        sha256=table.sha256,
    )


def rows(part: Iterable[Stretch]) -> Floats:
    """Return the raw input rows [N, F] of a part."""
    return np.concatenate([one.sequence.inputs[one.steps] for one in part])


def fit_scaling(values: Floats) -> Scaling:
    """Return mean and deviation of each column of values [N, F], NaN left out; pass training rows only."""
    exact = values.astype(np.float64)  # squares of 1e20 are beyond float32, those of 1e-25 are zero in it
    return Scaling(np.nanmean(exact, axis=0), np.nanstd(exact, axis=0))


def _input_scaling(features: Iterable[Feature], training: Iterable[Stretch]) -> Scaling:
    """Return the scaling of the inputs: (0, 1) for a feature with `scale = false`, unless it is constant.

    A constant column has std 0, which the encoder turns into "ignored".
    """
    scaling = fit_scaling(rows(training))
    raw = np.array([not feature.scale for feature in features]) & (scaling.std > 0)
    return Scaling(np.where(raw, 0.0, scaling.mean), np.where(raw, 1.0, scaling.std))


def complete_sequence(table: Table, columns: Columns, rows: Rows) -> Sequence:
    """Return a sequence with its inputs complete."""
    try:
        inputs = complete(columns.features, columns.raw[rows.index])
    except GapError as error:
        problem = f"{error.name} is empty; give the feature a rule, such as missing = 'hold'"
        raise table.error(problem, row=int(rows.index[error.row])) from None
    answers = columns.answers[rows.index]
    answers[: len(rows) - 1 if columns.last else 0] = np.nan
    return Sequence(rows.id, rows.times, inputs, answers)
