"""Encode the columns that a recipe names: raw input values and target values of every row.

Codes and means are learnt from the training rows only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from training.arrays import Floats, Integers
from training.data.columns import Vocabulary, numbers, times, words
from training.data.feature import Feature, Lag, Missing
from training.data.sources import Table
from training.recipe import features as section
from training.recipe.recipe import Recipe
from training.recipe.task import Classification, Multilabel, NextSymbol, Task

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CODES = {"hour": tuple(range(24)), "weekday": tuple(range(7)), "month": tuple(range(1, 13))}
OFTEN = 5  # times that the training part has a word, for a category with `unknown = true` to learn it
LISTED = "list it in `labels`, or set unknown = true: what the training part never shows counts as unknown"
CLASSED = "list it in task.labels, or move the split so that the training part shows it"


@dataclass(frozen=True)
class Target:
    """Column to predict; with `classes` its values are indices into them."""

    name: str
    unit: str | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """All N rows of a table as numbers; NaN where the table is empty."""

    features: tuple[Feature, ...]  # F inputs of the network: measured features, masks and lags
    raw: Floats  # [N, R] values of the measured features
    targets: tuple[Target, ...]
    answers: Floats  # [N, C] values of the targets


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
        missing, substitute = feature.missing, _substitute(table, feature, values[training])
        if missing is not None and missing.rule == "mask":
            missing = replace(missing, value=substitute)
        initial = one.name in lagged or (missing is not None and missing.rule == "hold")
        features.append(replace(feature, initial=substitute if initial else None, missing=missing))
        if missing is not None and missing.column is not None:
            features.append(Feature(missing.column, mask_of=feature.name, scale=False))
        raw.append(values)
    _check(table, features)
    targets, answers = zip(*_targets(table, recipe.task, features, training), strict=True)
    return Columns(tuple(features), np.stack(raw, axis=1), tuple(targets), np.stack(answers, axis=1))


def matching(table: Table, name: str) -> list[str]:
    """Return the columns that a name with `*` matches; a name without it stands for itself."""
    if "*" not in name or name in table.frame.columns:
        return [name]
    found = [column for column in table.frame.columns if fnmatchcase(column, name.replace("[", "[[]"))]
    if not found:
        raise table.error(f"no column matches {name!r}; it has {', '.join(table.frame.columns)}")
    return found


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
    """Return a measured feature and its values [N]; `encode` completes its rule for gaps."""
    if isinstance(one, section.Calendar):
        labels = WEEKDAYS if one.name == "weekday" else ()
        return Feature(one.name, "code", CODES[one.name], labels, calendar=one.name), calendar(table, one.name)
    if isinstance(one, section.Number):
        missing = _missing(one, one.missing.constant if isinstance(one.missing, section.Constant) else None)
        values = numbers(table, one.name).astype(np.float32)
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
    missing = _missing(one, None if constant is None else float(known.codes[known.words.index(constant)]))
    feature = Feature(one.name, "code", known.codes, known.labels, missing=missing)
    unknown = min(known.codes) - 1 if one.unknown else None  # its row of the table is zero: training learns the rest
    return feature, known.encode(table, one.name, known.codes, fix=LISTED, unknown=unknown)


def calendar(table: Table, name: str) -> Floats:
    """Return codes [N] of the time column: hour 0–23, weekday 0–6 from Monday, month 1–12."""
    clock = times(table, table.time) if table.time else np.zeros(0)
    if not np.issubdtype(clock.dtype, np.datetime64):
        raise table.error(f"the calendar feature {name!r} needs a time column of dates; name it as data.time")
    unit = {"hour": "h", "weekday": "D", "month": "M"}[name]
    count = clock.astype(f"datetime64[{unit}]").astype(np.int64)  # since 1970-01-01, a Thursday
    return {"hour": count % 24, "weekday": (count + 3) % 7, "month": count % 12 + 1}[name].astype(np.float32)


def _missing(one: section.Number | section.Category, constant: float | None) -> Missing | None:
    """Return the rule for gaps; the value of a mask is still unknown."""
    if constant is not None:
        return Missing("constant", value=constant)
    if one.missing is None:
        return None
    return Missing("hold") if one.missing == "hold" else Missing("mask", column=f"{one.name}_missing")


def _substitute(table: Table, feature: Feature, values: Floats) -> float:
    """Return the value for "nothing known": the mean of the training part, or an unknown code."""
    if feature.codes:
        return float(min(feature.codes) - 1)
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


def _targets(
    table: Table, task: Task, features: Sequence[Feature], training: Integers
) -> Iterator[tuple[Target, Floats]]:
    """Yield each target with its values [N]: numbers, or indices of classes."""
    units = {feature.name: feature.unit for feature in features}
    for name in (name for target in task.targets for name in matching(table, target)):
        if isinstance(task, Classification | NextSymbol):
            known = _classes(table, task, features, training)
            yield Target(name, classes=known.words), known.encode(table, name, range(len(known.words)), fix=CLASSED)
            continue
        values = numbers(table, name).astype(np.float32)
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
        known = Vocabulary(same.labels or tuple(str(code) for code in same.codes))
    if len(known.words) < 2:
        raise table.error(f"{task.target} has {len(known.words)} classes in the training part; it needs two")
    return known
