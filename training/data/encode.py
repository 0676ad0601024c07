"""Encode the columns that a recipe names: raw input values and target values of every row.

Codes and means are learnt from the training rows only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.arrays import Floats, Integers
from training.data.clock import calendar
from training.data.columns import float32, matching, numbers, words
from training.data.feature import Feature, Lag, Missing
from training.data.sources import Table
from training.data.targets import Target, targets_of
from training.data.vocabulary import Vocabulary
from training.recipe import features as section
from training.recipe.recipe import Recipe
from training.recipe.task import Task

OFTEN = 5  # times that the training part has a word, for a category with `unknown = true` to learn it
LISTED = "list it in `labels`, or set unknown = true: what the training part never shows counts as unknown"


@dataclass(frozen=True)
class Columns:
    """All N rows of a table as numbers; NaN where the table is empty."""

    features: tuple[Feature, ...]  # F inputs of the network: measured features, masks and lags
    raw: Floats  # [N, R] values of the measured features
    targets: tuple[Target, ...]
    answers: Floats  # [N, C] values of the targets
    last: bool = False  # whether only the last row of a sequence has an answer


def encode(table: Table, recipe: Recipe, training: Integers) -> Columns:
    """Encode every row; codes and means are learnt from the rows `training`."""
    features: list[Feature] = []
    raw: list[Floats] = []
    sections = list(_expanded(table, recipe))
    lagged = {one.of for one in sections if isinstance(one, section.Lag)}
    for one in sections:
        if isinstance(one, section.Lag):
            features.append(Feature(one.name, lag=Lag(one.of, one.steps)))
            continue
        feature, values = _measured(table, one, training)
        rule, nothing = getattr(one, "missing", None), _nothing_known(table, feature, values[training])
        if rule == "hold" or one.name in lagged:
            feature = replace(feature, initial=nothing)
        if rule == "hold":
            feature = replace(feature, missing=Missing("hold"))
        if rule == "mask":
            mask = Feature(f"{one.name}_missing", mask_of=one.name, scale=False)
            features += [replace(feature, missing=Missing("mask", nothing, mask.name)), mask]
        else:
            features.append(feature)
        raw.append(values)
    _check(table, features)
    targets, answers = zip(*targets_of(table, recipe.task, features, training), strict=True)
    learnt = getattr(recipe.task, "learnt", "every")
    return Columns(tuple(features), np.stack(raw, axis=1), targets, np.stack(answers, axis=1), learnt == "last")


def encode_known(table: Table, features: Sequence[Feature], task: Task | None) -> Columns:
    """Encode every row for a network that has learnt already: words that it does not know get an unknown code.

    Without a task there are no answers.
    """
    raw = np.stack([_known(table, one) for one in features if one.measured], axis=1)
    found = [] if task is None else list(targets_of(table, task, features, np.zeros(0, np.int64)))
    answers = np.stack([values for _, values in found], axis=1) if found else np.empty((len(raw), 0), np.float32)
    last = getattr(task, "learnt", "every") == "last"
    return Columns(tuple(features), raw, tuple(target for target, _ in found), answers, last)


def _known(table: Table, one: Feature) -> Floats:
    """Return the values [N] of a measured feature of a file."""
    if one.calendar is not None:
        now, codes = calendar(table, one.calendar)
        if one.offsets and not now.offsets:
            raise table.error(
                f"{table.time} has no offsets, and {one.name} is read in {one.zone}; write times with them"
            )
        return codes
    if not one.codes:
        return numbers(table, one.name).astype(np.float32)
    return Vocabulary.of(one).encode(table, one.name, one.codes, fix="", unknown=unknown_code(one))


def _expanded(
    table: Table, recipe: Recipe
) -> Iterator[section.Number | section.Category | section.Calendar | section.Lag]:
    """Yield the recipe's features, one for each column that a `*` matches."""
    seen: set[str] = set()
    for one in recipe.features:
        for name in matching(table, one.name):
            if name in seen:
                raise table.error(f"two features are {name!r}; one of the recipe's names with * matches it again")
            seen.add(name)
            yield one if name == one.name else one.model_copy(update={"name": name})


def _measured(
    table: Table, one: section.Number | section.Category | section.Calendar, training: Integers
) -> tuple[Feature, Floats]:
    """Return a measured feature and its values [N]; `encode` adds the rules that are not constants."""
    if isinstance(one, section.Calendar):
        return calendar(table, one.name)
    if isinstance(one, section.Number):
        missing = Missing("constant", one.missing.constant) if isinstance(one.missing, section.Constant) else None
        values = float32(table, one.name, numbers(table, one.name))
        return Feature(one.name, one.unit, missing=missing, scale=one.scale), values
    return _category(table, one, training)


def _category(table: Table, one: section.Category, training: Integers) -> tuple[Feature, Floats]:
    constant = str(one.missing.constant) if isinstance(one.missing, section.Word) else None
    seen = words(table, one.name).gather(training)
    seen = seen if constant is None else seen.fill_null(constant)
    often = OFTEN if one.unknown else 1
    known = Vocabulary(one.labels) if one.labels else Vocabulary.learnt(seen, often=often)
    if not known.codes:
        rare = f"has no word {OFTEN} times" if seen.drop_nulls().len() else "is empty"
        raise table.error(f"{one.name} {rare} in the whole training part; remove the feature")
    if constant is not None and constant not in known.words:
        raise table.error(f"{one.name} has {constant!r} for its gaps, which is not among its labels; list it")
    missing = None if constant is None else Missing("constant", float(known.codes[known.words.index(constant)]))
    feature = Feature(one.name, "code", known.codes, known.labels, missing=missing)
    unknown = unknown_code(feature) if one.unknown else None
    return feature, known.encode(table, one.name, known.codes, fix=LISTED, unknown=unknown)


def unknown_code(category: Feature) -> int:
    """Return the code of what training never saw: no row of the table, so the network gets zeros."""
    return min(category.codes) - 1


def _nothing_known(table: Table, feature: Feature, values: Floats) -> float:
    """Return the value for "nothing known": the mean of the training part, or an unknown code."""
    if feature.codes:
        return float(unknown_code(feature))
    if np.isnan(values).all():
        raise table.error(f"{feature.name} is empty in the whole training part; remove the feature")
    return float(np.float32(np.nanmean(values, dtype=np.float64)))


def _check(table: Table, features: Sequence[Feature]) -> None:
    """Refuse two features of one name, and a lag of what is no number among the features."""
    names = [feature.name for feature in features]
    if twins := {name for name in names if names.count(name) > 1}:
        name = min(twins)
        raise table.error(f"two features are {name!r}; rename one (a mask is named NAME_missing)")
    measured = [feature.name for feature in features if feature.measured and not feature.codes]
    for feature in features:
        if feature.lag is not None and feature.lag.of not in measured:
            raise table.error(f"{feature.name} lags {feature.lag.of!r}, which is no number among the features; add it")
