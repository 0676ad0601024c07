"""What a table seems to hold, column by column: times, identities, numbers, words. Guesses only; knows no recipes."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training import columns
from training.errors import TableError
from training.sources import Table

IDENTITY = re.compile(
    r"(^|[^a-z])(id|ids|unit|engine|machine|device|sensor|patient|subject|session|series|run|trip)($|[^a-z])"
)
FEW = 50  # words that make a category
RARE = 0.95  # a column that is empty more often than this is left out


@dataclass(frozen=True)
class Look:
    """One column as it seems: `numbers`, `words`, or `nothing` with the reason to leave it out."""

    name: str
    seems: str
    words: tuple[str, ...] = ()  # if they are few; of numbers too, if they are whole
    reason: str = ""


def look(table: Table, name: str) -> Look:
    """Say what a column seems to hold."""
    try:
        read = columns.column(table, name)
    except TableError as error:
        return Look(name, "nothing", reason=str(error))
    seen = read.drop_nulls()
    if len(seen) <= (1 - RARE) * len(read):
        return Look(name, "nothing", reason="it is nearly always empty")
    if seen.n_unique() == 1:
        return Look(name, "nothing", reason=f"it is always {seen[0]}")
    try:
        columns.numbers(table, name)
    except TableError as error:
        numbers_fault = str(error).split(", which")[0].removeprefix(f"{table.name}: ")
    else:
        return Look(name, "numbers", _classes(table, name))
    known = columns.Vocabulary.learnt(columns.words(table, name)).words
    if len(known) <= min(FEW, len(seen) // 2):
        return Look(name, "words", known)
    return Look(name, "nothing", reason=f"it has {len(known)} different words ({numbers_fault})")


def _classes(table: Table, name: str) -> tuple[str, ...]:
    known = columns.Vocabulary.learnt(columns.words(table, name))
    return () if known.labels or len(known.words) > FEW else known.words


def time_column(table: Table) -> str | None:
    """Return the first column of dates; else a column of whole numbers that is named like a clock."""
    numeric = None
    for name in table.frame.columns:
        try:
            clock = columns.times(table, name)
        except TableError:
            continue
        if np.issubdtype(clock.dtype, np.datetime64):
            return name
        if numeric is None and re.search(r"time|date|cycle|step|tick|epoch", name.lower()) and _rises(clock):
            numeric = name
    return numeric


def sequence_column(table: Table, time: str | None) -> str | None:
    """Return the column that tells sequences apart, if the times want one: within each of its values they rise.

    Of several the one that is named like an identity, then the one with the fewest values.
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
        if identity if clock is None else _apart(values, clock):
            found.append((not identity, count, name))
    return min(found)[2] if found else None


def cadence(table: Table, time: str | None, sequence: str | None) -> NDArray[np.float64]:
    """Return the pauses in seconds between rows of one sequence; empty where there are no dates."""
    clock = columns.times(table, time) if time else np.zeros(0)
    if not np.issubdtype(clock.dtype, np.datetime64):
        return np.zeros(0)
    seconds = clock.astype("datetime64[us]").astype(np.int64) / 1e6
    ids = columns.words(table, sequence).to_list() if sequence else [""] * len(seconds)
    frame = pl.DataFrame({"id": ids, "t": seconds})
    return frame.select(pl.col("t").diff().over("id")).to_series().drop_nulls().to_numpy()


def _rises(clock: columns.Times) -> bool:
    return bool((np.diff(clock) >= 0).mean() > 0.5)


def _apart(values: pl.Series, clock: columns.Times) -> bool:
    ticks = clock.astype(np.int64) if np.issubdtype(clock.dtype, np.datetime64) else clock
    pauses = pl.DataFrame({"id": values, "t": ticks}).select(pl.col("t").diff().over("id")).to_series().drop_nulls()
    return bool((pauses > 0).all())
