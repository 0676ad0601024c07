"""Guess what the columns of a table are: times, sequence ids, numbers, words. Used by `draft` only."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from training.arrays import Doubles
from training.data import columns
from training.data.sources import Table
from training.errors import TableError

IDENTITY = re.compile(
    r"(^|[^a-z])(id|ids|unit|engine|machine|device|sensor|patient|subject|session|series|run|trip)($|[^a-z])"
)
FEW = 50  # most words of a category
RARE = 0.95  # a column that is empty more often is left out


@dataclass(frozen=True)
class Guess:
    """Content of one column: `numbers`, `words`, or `nothing` with the reason to leave it out."""

    name: str
    seems: str
    words: tuple[str, ...] = ()  # the different values, if they are few words or whole numbers
    reason: str = ""


def guess(table: Table, name: str) -> Guess:
    """Guess the content of a column."""
    try:
        values = columns.column(table, name)
    except TableError as error:
        return Guess(name, "nothing", reason=str(error))
    seen = values.drop_nulls()
    if len(seen) <= (1 - RARE) * len(values):
        return Guess(name, "nothing", reason="it is nearly always empty")
    if seen.n_unique() == 1:
        return Guess(name, "nothing", reason=f"it is always {seen[0]}")
    known = columns.Vocabulary.learnt(columns.words(table, name))
    try:
        columns.numbers(table, name)
    except TableError as error:
        fault = str(error).split(", which")[0].removeprefix(f"{table.name}: ")
    else:
        few = not known.labels and len(known.words) <= FEW
        return Guess(name, "numbers", known.words if few else ())
    if len(known.words) <= min(FEW, len(seen) // 2):
        return Guess(name, "words", known.words)
    return Guess(name, "nothing", reason=f"it has {len(known.words)} different words ({fault})")


def time_column(table: Table) -> str | None:
    """Return the first column of dates; else a mostly rising column of numbers with a name like time or cycle."""
    numeric = None
    for name in table.frame.columns:
        try:
            clock = columns.times(table, name)
        except TableError:
            continue
        if np.issubdtype(clock.dtype, np.datetime64):
            return name
        rises = (np.diff(clock) >= 0).mean() > 0.5
        if numeric is None and rises and re.search(r"time|date|cycle|step|tick|epoch", name.lower()):
            numeric = name
    return numeric


def sequence_column(table: Table, time: str | None) -> str | None:
    """Return the column that separates the sequences: within each of its values, the times rise.

    None if the times rise over the whole table. Of several columns, prefer one named like an id, then the one with the
    fewest values.
    """
    clock = columns.times(table, time) if time else None
    if clock is not None and bool((clock[1:] > clock[:-1]).all()):
        return None
    found = []
    for name in table.frame.columns:
        values = columns.words(table, name)
        count = values.n_unique()
        if name == time or values.has_nulls() or not 1 < count <= len(values) // 2:
            continue
        identity = bool(IDENTITY.search(name.lower()))
        if identity if clock is None else bool((_pauses(values, clock) > 0).all()):
            found.append((not identity, count, name))
    return min(found)[2] if found else None


def pauses_between_rows(table: Table, time: str | None, sequence: str | None) -> Doubles:
    """Return the pauses in seconds between rows of the same sequence; empty without dates."""
    clock = columns.times(table, time) if time else np.zeros(0)
    if not np.issubdtype(clock.dtype, np.datetime64):
        return np.zeros(0)
    ids = columns.words(table, sequence) if sequence else pl.repeat("", len(clock), eager=True)
    return _pauses(ids, clock).to_numpy() / 1e6


def _pauses(ids: pl.Series, clock: columns.Times) -> pl.Series:
    """Return the differences of times within each id; dates in microseconds."""
    ticks = clock.astype(np.int64) if np.issubdtype(clock.dtype, np.datetime64) else clock
    return pl.DataFrame({"id": ids, "t": ticks}).select(pl.col("t").diff().over("id")).to_series().drop_nulls()
