"""The columns that a recipe's `[task]` predicts, as numbers or as indices of classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from training.arrays import Floats, Integers
from training.data.columns import float32, matching, numbers, words
from training.data.feature import Feature
from training.data.sources import Table
from training.data.vocabulary import Vocabulary
from training.recipe.task import Classification, Multilabel, NextSymbol, Task

CLASSED = "list it in task.labels, or move the split so that the training part shows it"


@dataclass(frozen=True)
class Target:
    """Column to predict; with `classes` its values are indices into them."""

    name: str
    unit: str | None = None
    classes: tuple[str, ...] = ()


def targets_of(
    table: Table, task: Task, features: Sequence[Feature], training: Integers
) -> Iterator[tuple[Target, Floats]]:
    """Yield each target with its values [N]: numbers, or indices of classes."""
    units = {feature.name: feature.unit for feature in features}
    for name in (name for target in task.targets for name in matching(table, target)):
        if isinstance(task, Classification | NextSymbol):
            known = _classes(table, task, features, training)
            yield Target(name, classes=known.words), known.encode(table, name, range(len(known.words)), fix=CLASSED)
            continue
        values = float32(table, name, numbers(table, name))
        if isinstance(task, Multilabel) and (wrong := ~np.isin(values, (0, 1)) & ~np.isnan(values)).any():
            raise table.error(f"{name} is no label: it is neither 0 nor 1", row=int(np.argmax(wrong)))
        yield Target(name, None if isinstance(task, Multilabel) else task.unit or units.get(name)), values


def _classes(
    table: Table, task: Classification | NextSymbol, features: Sequence[Feature], training: Integers
) -> Vocabulary:
    """Return the classes: listed, learnt from the training rows, or the codes of the feature of the same name."""
    if isinstance(task, Classification):
        known = Vocabulary(task.labels or Vocabulary.learnt(words(table, task.target).gather(training)).words)
    else:
        same = next((one for one in features if one.name == task.target and one.codes), None)
        if same is None:
            raise table.error(f"{task.target!r} is to be continued, so it must be a feature of kind 'category' too")
        known = Vocabulary.of(same)
    if len(known.words) < 2:
        raise table.error(f"{task.target} has {len(known.words)} classes in the training part; it needs two")
    return known
