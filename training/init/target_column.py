"""Guess which column is to be predicted, by what kind of task, and whether its last value is a forecast already."""

import numpy as np
import polars as pl

from training.arrays import Integers
from training.data.columns import numbers, words
from training.data.sources import Table
from training.init.column_content import Guess
from training.init.column_names import LABEL, MEASURE, STATE, named

BINARY = ("0", "1")
SHARE = 0.5  # of the variance: if the mean squared change is smaller, the last value is a forecast to begin with


def target_column(table: Table, columns: list[Guess], given: str | None) -> tuple[str, Guess, str]:
    """Return task, target and why: named like a label or a measure, else the last number, else the next word."""
    usable = [one for one in columns if one.seems != "nothing"]
    if given is not None:
        table.column(given)
        one = next((one for one in columns if one.name == given), Guess(given, "nothing", reason="it orders the rows"))
        if one.seems == "nothing":
            raise table.error(f"--target {given}: {one.reason}")
        alone = len(usable) == 1 and one.seems == "words"
        return "next-symbol" if alone else _kind(one), one, "given"
    labels = [one for one in usable if one.words and named(LABEL, one.name)]  # a sequence's class is fixed within it
    usable = [one for one in usable if not one.fixed] or usable
    states = [one for one in usable if one.words and named(STATE, one.name)]
    numbers = [one for one in usable if one.seems == "numbers"]
    measures = [one for one in numbers if not one.doubt] or numbers
    ways = (
        (labels, "named like a label"),
        ([one for one in measures if named(MEASURE, one.name)], "named like a measure"),
        (states, "named like a state"),
        (measures, "the last column of numbers"),
        (usable, "the last column of words"),
    )
    for candidates, reason in ways:
        if candidates:
            one = candidates[-1]
            others = ", ".join(other.name for other in usable if other is not one)
            why = f"a guess: {reason}" + (f"; --target takes another: {others}" if others else "")
            return "next-symbol" if candidates is usable else _kind(one), one, why
    reasons = "; ".join(f"{one.name}: {one.reason}" for one in columns)
    raise table.error(f"there is nothing to learn from ({reasons})")


def _kind(target: Guess) -> str:
    """Return the kind of task for a target."""
    label = bool(target.words) and any(named(how, target.name) for how in (LABEL, STATE))
    return "classification" if label or target.seems == "words" or target.words == BINARY else "regression"


def persists(table: Table, target: str, training: Integers) -> bool:
    """Return whether the column changes little from row to row of a sequence, beside how much it varies at all.

    `training` are the rows of the training part.
    """
    ids = pl.repeat("", len(table.frame), eager=True) if table.sequence is None else words(table, table.sequence)
    frame = pl.DataFrame({"id": ids, "value": numbers(table, target)})[np.sort(training)]
    frame = frame.with_columns(pl.col("value").fill_nan(None).forward_fill().over("id"))
    found = frame.select(change=pl.col("value").diff().over("id").pow(2).mean(), variance=pl.col("value").var())
    change, variance = found.row(0)
    return bool(change is not None and variance and change < SHARE * variance)
