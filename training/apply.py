"""Apply a model's file to a table, offline: the outputs of every row, as a server streams them, and their figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import TypeAdapter
from torch import from_numpy
from torch.nn.utils.rnn import pad_sequence

from training.arrays import Floats, States
from training.data.dataset import Dataset, Scaling, Stretch, complete_sequence
from training.data.encode import encode_known
from training.data.feature import Feature
from training.data.outside import outside
from training.data.sequences import Rows, sequences
from training.data.sources import Table, TableFile
from training.errors import RecipeError, TableError
from training.file.contract import read_metadata
from training.file.verify import MIN_BATCH, Exported
from training.net.evaluate import forecasts, scores, unseen
from training.recipe.read import recipe_of
from training.recipe.recipe import Recipe
from training.tasks import Figures, task_of

ROWS, STEPS = 64, 512  # of a run; any other numbers give the same bits
Told = Callable[[int], None]  # called with the number of steps that were run


@dataclass(frozen=True)
class Applied:
    """A model's file, and a table that is prepared as the training's was: each sequence begins with a zero state."""

    metadata: dict[str, Any]
    recipe: Recipe
    features: tuple[Feature, ...]
    table: Table
    rows: list[Rows]  # the sequences of the table
    run: Exported

    @classmethod
    def of(cls, model: Path, table: Path) -> "Applied":
        """Read both.

        Raises:
            TrainingError: the file has no recipe, or one whose data are generated; or the table does not fit it.

        """
        if not model.is_file():
            raise RecipeError(f"{model}: no such file; give a model.onnx that `carousel-train fit` wrote")
        metadata = read_metadata(model)
        if "recipe_toml" not in metadata:
            raise RecipeError(f"{model}: does not say how its table was prepared; fit it again")
        recipe = recipe_of(metadata["recipe_toml"], model.name, table.parent)
        if not isinstance(recipe.data, TableFile):
            raise RecipeError(f"{model}: was trained on the source {recipe.data.source!r}, not on a table")
        given = replace(recipe.data.model_copy(update={"path": Path(table.name)}).read(table.parent), part=None)
        told = [one | metadata["categories"].get(one["name"], {}) for one in metadata["features"]]
        features = TypeAdapter(tuple[Feature, ...]).validate_python(told)
        run = Exported(model.read_bytes(), MIN_BATCH.get(metadata["cell"], 1))
        return cls(metadata, recipe, features, given, sequences(given, 1), run)

    @cached_property
    def inputs(self) -> list[Floats]:
        """Complete input rows [T, F] of each sequence."""
        columns = encode_known(self.table, self.features, None)
        return [complete_sequence(self.table, columns, one).inputs for one in self.rows]

    @cached_property
    def outside(self) -> dict[str, float]:
        """The share of rows in which a feature is clipped or unknown."""
        return outside(self.features, np.concatenate(self.inputs))

    def predict(self, told: Told = lambda steps: None) -> pl.DataFrame:
        """Return the table's time and sequence columns with the outputs, a row for each; NaN for those left out."""
        names = [one["name"] for one in self.metadata["outputs"]]
        values = np.full((len(self.table.frame), len(names)), np.nan, np.float32)
        for one, outputs in zip(self.rows, self.outputs(told), strict=True):
            values[one.index] = outputs
        kept = [name for name in self.table.frame.columns if name in (self.table.time, self.table.sequence)]
        columns = [
            pl.Series(name if name not in kept else f"{name}_output", values[:, k]) for k, name in enumerate(names)
        ]
        return pl.DataFrame([*self.table.frame.select(kept).get_columns(), *columns])

    def outputs(self, told: Told = lambda steps: None) -> list[Floats]:
        """Return the outputs [T, K] of each sequence, streamed from the zero state."""
        longest = 2**63 if not self.metadata.get("streamable", True) else STEPS
        return stream(self.run, self.inputs, longest, told)

    def evaluate(self, told: Told = lambda steps: None) -> dict[str, Figures]:
        """Return the metrics of the model and of its baselines over the whole table.

        Raises:
            TableError: the table has no answers.

        """
        section, horizons = self.recipe.task, self.recipe.task.horizons
        if section.kind == "classification":  # its classes are those of the file
            section = section.model_copy(update={"labels": tuple(one["name"] for one in self.metadata["outputs"])})
        columns = encode_known(self.table, self.features, section)
        whole = [complete_sequence(self.table, columns, one) for one in self.rows]
        stretches = [Stretch(one, 0, len(one.times), horizons) for one in whole]
        told_of = [one for one in zip(stretches, self.outputs(told), strict=True) if one[0].stop > min(horizons)]
        if not told_of or all(np.isnan(one.answers()).all() for one, _ in told_of):
            raise TableError(f"{self.table.name}: there is no answer to compare with; `predict` needs none")
        fitted = self.metadata["fitted"]
        answers = Scaling(np.array(fitted["mean"]), np.array(fitted["std"]))
        parts = tuple(one for one, _ in told_of)
        data = Dataset(self.features, columns.targets, horizons, (), (), parts, answers, answers, self.table.sha256)
        task = task_of(self.recipe.model_copy(update={"task": section}), data)
        task.prior = np.array(fitted["prior"])
        own = [outputs[one.steps] for one, outputs in told_of]
        streams = unseen(self.recipe, data, parts, task)
        return scores(task, streams, forecasts(self.run, streams, own))


def stream(run: Exported, inputs: Sequence[Floats], longest: int, told: Told = lambda steps: None) -> list[Floats]:
    """Return the outputs [T, K] of sequences [T, F], ROWS of them side by side, up to `longest` steps a run."""
    found: list[list[Floats]] = [[] for _ in inputs]
    order = sorted(range(len(inputs)), key=lambda i: -len(inputs[i]))
    for first in range(0, len(order), ROWS):
        going = order[first : first + ROWS]
        state: States = {}
        for start in range(0, len(inputs[going[0]]), longest):
            going = [i for i in going if len(inputs[i]) > start]  # the longest come first, so their states do
            pieces = [inputs[i][start : start + longest] for i in going]
            lengths = np.array([len(piece) for piece in pieces], np.int32)
            x = pad_sequence([from_numpy(piece) for piece in pieces], batch_first=True).numpy()
            y, state = run(x, lengths, {name: value[: len(going)] for name, value in state.items()} or None)
            for i, row, length in zip(going, y, lengths, strict=True):
                found[i].append(row[:length])
            told(int(lengths.sum()))
    return [np.concatenate(parts) for parts in found]
