"""Columns of a table → raw input values and target values by row, as the recipe names them.

What is learnt of a column (its codes, its mean) comes from the training rows only. Knows no sequences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from training.columns import Vocabulary, numbers, times, words
from training.contract import Feature, Lag, Missing
from training.recipe import Calendar, Category, Classification, Constant, Multilabel, NextSymbol, Number, Recipe, Word
from training.recipe import Lag as LagOf
from training.sources import Table

Floats = NDArray[np.float32]
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CODES = {"hour": tuple(range(24)), "weekday": tuple(range(7)), "month": tuple(range(1, 13))}
LISTED = "list it in `labels`; if the training part never shows it, it counts as unknown"
CLASSED = "list it in task.labels, or move the split so that the training part shows it"


@dataclass(frozen=True)
class Target:
    """A column that is to be forecast; with `classes` its values are indices of them."""

    name: str
    unit: str | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """A table as numbers, row by row; NaN where it is empty."""

    features: tuple[Feature, ...]  # of the network: measured ones, masks and lags
    raw: Floats  # [N, R] the measured ones
    targets: tuple[Target, ...]
    answers: Floats  # [N, C]


def encode(table: Table, recipe: Recipe, training: NDArray[np.int64]) -> Columns:
    """Encode every row; `training` are the rows from which codes and means are learnt."""
    features: list[Feature] = []
    raw: list[Floats] = []
    asked = list(_expanded(table, recipe))
    lagged = {one.of for one in asked if isinstance(one, LagOf)}
    for one in asked:
        if isinstance(one, LagOf):
            features.append(Feature(one.name, lag=Lag(one.of, one.steps)))
            continue
        feature, values = _feature(table, one, training)
        gap = _gap(table, feature, values[training])
        keep = one.name in lagged or (feature.missing is not None and feature.missing.rule == "hold")
        features.append(replace(feature, initial=gap if keep else None, missing=_filled(feature.missing, gap)))
        if feature.missing is not None and feature.missing.column is not None:
            features.append(Feature(feature.missing.column, mask_of=feature.name, scale=False))
        raw.append(values)
    _check_lags(table, features)
    targets, answers = zip(*_targets(table, recipe, features, training), strict=True)
    return Columns(tuple(features), np.stack(raw, axis=1), tuple(targets), np.stack(answers, axis=1))


def matching(table: Table, name: str) -> list[str]:
    """Return the columns that a name means: itself, or those that match its `*`."""
    if "*" not in name:
        return [name]
    found = [column for column in table.frame.columns if fnmatchcase(column, name.replace("[", "[[]"))]
    if not found:
        raise table.error(f"no column matches {name!r}; it has {', '.join(table.frame.columns)}")
    return found


def _expanded(table: Table, recipe: Recipe) -> Iterator[Number | Category | Calendar | LagOf]:
    seen: set[str] = set()
    for one in recipe.features:
        for name in matching(table, one.name):
            if name in seen:
                raise table.error(f"two features are {name!r}; one of the recipe's names with * matches it again")
            seen.add(name)
            yield one if name == one.name else one.model_copy(update={"name": name})


def _feature(table: Table, one: Number | Category | Calendar, training: NDArray[np.int64]) -> tuple[Feature, Floats]:
    """Return a measured feature, as far as its own column tells, and its values [N]."""
    if isinstance(one, Calendar):
        labels = WEEKDAYS if one.name == "weekday" else ()
        feature = Feature(one.name, "code", CODES[one.name], labels, calendar=one.name)
        return feature, calendar(table, one.name)
    if isinstance(one, Number):
        missing = _rule(one, one.missing.constant if isinstance(one.missing, Constant) else None)
        return Feature(one.name, one.unit, missing=missing, scale=one.scale), numbers(table, one.name).astype(
            np.float32
        )
    stand_in = str(one.missing.constant) if isinstance(one.missing, Word) else None
    seen = words(table, one.name).gather(training)
    seen = seen if stand_in is None else seen.fill_null(stand_in)
    known = Vocabulary(one.labels) if one.labels else Vocabulary.learnt(seen)
    if not known.codes:
        raise table.error(f"{one.name} is empty in the whole training part; remove the feature")
    if stand_in is not None and stand_in not in known.words:
        raise table.error(f"{one.name} has {stand_in!r} for its gaps, which is not among its labels; list it")
    missing = _rule(one, None if stand_in is None else float(known.codes[known.words.index(stand_in)]))
    feature = Feature(one.name, "code", known.codes, known.labels, missing=missing)
    return feature, known.encode(table, one.name, fix=LISTED).astype(np.float32)


def calendar(table: Table, name: str) -> Floats:
    """Return a code of the time column: hour 0–23, weekday 0–6 from Monday, month 1–12."""
    clock = times(table, table.time) if table.time else np.zeros(0)
    if not np.issubdtype(clock.dtype, np.datetime64):
        raise table.error(f"the calendar feature {name!r} needs a time column of dates; name it as data.time")
    unit = {"hour": "h", "weekday": "D", "month": "M"}[name]
    count = clock.astype(f"datetime64[{unit}]").astype(np.int64)  # since 1970-01-01, a Thursday
    code = {"hour": count % 24, "weekday": (count + 3) % 7, "month": count % 12 + 1}[name]
    return code.astype(np.float32)


def _rule(one: Number | Category, constant: float | None) -> Missing | None:
    """Return the rule for gaps; what is learnt for it comes later, by `_filled`."""
    if constant is not None:
        return Missing("constant", value=constant)
    if one.missing is None:
        return None
    return Missing("hold") if one.missing == "hold" else Missing("mask", column=f"{one.name}_missing")


def _gap(table: Table, feature: Feature, values: Floats) -> float:
    """Return what stands for nothing at all: the mean of the training part, or a code that no table has."""
    if feature.codes:
        return float(min(feature.codes) - 1)
    if np.isnan(values).all():
        raise table.error(f"{feature.name} is empty in the whole training part; remove the feature")
    return float(np.float32(np.nanmean(values, dtype=np.float64)))


def _filled(missing: Missing | None, gap: float) -> Missing | None:
    return replace(missing, value=gap) if missing is not None and missing.rule == "mask" else missing


def _check_lags(table: Table, features: Sequence[Feature]) -> None:
    measured = [feature.name for feature in features if feature.measured and not feature.codes]
    for feature in features:
        if feature.lag is not None and feature.lag.of not in measured:
            raise table.error(f"{feature.name} lags {feature.lag.of!r}, which is no number among the features; add it")


def _targets(
    table: Table, recipe: Recipe, features: Sequence[Feature], training: NDArray[np.int64]
) -> Iterator[tuple[Target, Floats]]:
    """Yield each target with its values [N]: numbers, or indices of classes."""
    units = {feature.name: feature.unit for feature in features}
    task = recipe.task
    for name in (name for told in task.targets for name in matching(table, told)):
        if isinstance(task, Classification | NextSymbol):
            known = _classes(table, task, features, training)
            yield Target(name, classes=known.words), known.indices(table, name, fix=CLASSED)
            continue
        values = numbers(table, name).astype(np.float32)
        if isinstance(task, Multilabel) and (wrong := ~np.isin(values, (0, 1)) & ~np.isnan(values)).any():
            raise table.error(f"{name} is no label: it is neither 0 nor 1", row=int(np.argmax(wrong)))
        unit = None if isinstance(task, Multilabel) else task.unit or units.get(name)
        yield Target(name, unit), values


def _classes(
    table: Table, task: Classification | NextSymbol, features: Sequence[Feature], training: NDArray[np.int64]
) -> Vocabulary:
    """Return the classes: listed, learnt from the training rows, or those of the feature of the same name."""
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
