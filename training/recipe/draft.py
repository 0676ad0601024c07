"""`carousel-train init`: draft a recipe that `fit` takes as it is, and say why each column of a table is what it is."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os.path import relpath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import ValidationError

from training.arrays import Doubles, Integers
from training.data.dataset import load
from training.data.dates import readings
from training.data.sequences import Rows, sequences
from training.data.sources import Table, TableFile
from training.data.sources.file import EMPTY
from training.data.split import split
from training.errors import TableError
from training.recipe.guess import BINARY, Guess, guesses, part_column, without_doubtful
from training.recipe.marks import gap_spellings, marks
from training.recipe.names import LABEL, MEASURE, STATE, named
from training.recipe.notes import Note, column_notes, order_notes
from training.recipe.order import order
from training.recipe.persistence import persists
from training.recipe.read import recipe_of
from training.recipe.recipe import BySequence, ByTime, Recipe
from training.templates import render

DAY = 86400.0  # seconds
LONG = 10  # a pause of so many usual pauses is a gap
ENOUGH = 10  # sequences, for a split by whole sequences
WHOLE = 300  # longest sequence, in steps, that is not cut into windows
LONGEST_NAME = 100  # of a model


@dataclass(frozen=True)
class Given:
    """What the user says instead of having it guessed; empty: guess."""

    time: tuple[str, ...] = ()
    sequence: tuple[str, ...] = ()
    target: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)  # other keys of `[data]`


class Draft(NamedTuple):
    """A recipe, why it is so, and why `fit` refuses it, if it does."""

    text: str
    notes: list[Note]
    refusal: str | None


def draft(path: Path, output: Path, given: Given | None = None) -> Draft:
    """Return a recipe for the table at `path`; its `data.path` is relative to the folder of `output`.

    Raises:
        TableError: the file is not a table, has no column to predict, or can be understood in two ways.

    """
    given = given or Given()
    table, keys = _read(path, given)
    how = order(table, given.time, given.sequence)
    part = part_column(table)
    keys = (
        {"path": relpath(path.resolve(), output.resolve().parent)}
        | keys
        | how.data()
        | ({"part": part} if part else {})
    )
    table = TableFile.model_validate(keys | {"path": path.name}).read(path.parent)
    rows, short = _rows(table)
    keys |= {"shortest": 2} if short else {}
    by, shares, training = _split(replace(table, shortest=2), rows)
    leave = {*how.time, *how.sequence, table.time, table.sequence, part}
    columns = guesses(table, how, training, {name for name in leave if name})
    kind, target, why = _target(table, columns, given.target)
    columns = without_doubtful(columns, target, hidden=kind == "classification")
    pauses = _pauses(rows)
    usual = float(np.median(pauses)) if len(pauses) else 0.0
    keys |= {"gap": f"{max(round(LONG * usual), 1)}s"} if usual and pauses.max() > LONG * usual else {}
    text = render(
        "recipe/draft.toml.j2",
        name=re.sub(r"[^A-Za-z0-9_-]+", "-", path.name.split(".")[0]).strip("-_")[:LONGEST_NAME] or "model",
        data=keys,
        usual=usual,
        columns=columns,
        calendar=_calendar(columns, pauses),
        kind=kind,
        target=target,
        residual=kind == "regression" and persists(table, target.name, training),
        split=by,
        shares=shares,
        window=_window(rows),
    )
    notes = [*order_notes(table, how, rows, keys), *column_notes(columns, kind, target, why)]
    return Draft(text, notes, _refusal(recipe_of(text, output.name, output.resolve().parent)))


def _refusal(recipe: Recipe) -> str | None:
    """Return why `fit` refuses the data of a recipe; None: it takes them."""
    try:
        load(recipe)
    except TableError as error:
        return str(error)
    return None


def _read(path: Path, given: Given) -> tuple[Table, dict[str, Any]]:
    """Read the table; return it with the keys of `[data]` that say how its cells are written."""
    keys = dict(given.settings)
    decimal = keys.pop("decimal", None)

    def read(**more: Any) -> Table:
        try:
            return TableFile.model_validate({"path": path.name} | keys | more).read(path.parent)
        except ValidationError as error:
            fault = error.errors()[0]
            option = "--" + str(fault["loc"][0]).replace("_", "-")
            raise TableError(f"{option}: {fault['msg'].removeprefix('Value error, ')}") from None

    table = read()
    if all(re.match(r"-?\d+([.,]\d+)?$", name) or readings(pl.Series([name])) for name in table.frame.columns):
        raise TableError(f"{path.name}: its first line holds values; write a line of column names above it")
    if gaps := gap_spellings(table):
        cells = read(empty=()).frame
        used = {word for values in cells.get_columns() if values.dtype == pl.String for word in values.unique()}
        keys["empty"] = [*gaps, *(word for word in EMPTY[1:] if word in used)]
        table = read()
    keys |= marks(table, decimal)
    return read(), keys


def _rows(table: Table) -> tuple[list[Rows], bool]:
    """Return the sequences, and whether some are too short to be learnt from."""
    rows = sequences(replace(table, shortest=2), 2)
    if not rows:
        raise table.error("no sequence has two rows with different times; there is nothing to learn from")
    every = 1 if table.sequence is None else table.frame[table.sequence].n_unique()
    return rows, every > len({one.id for one in rows})


def _split(table: Table, rows: Sequence[Rows]) -> tuple[str, tuple[float, float], Integers]:
    """Return how to split, the shares of validation and test part, and the rows [n] of the training part."""
    parts, count = {one.part for one in rows}, len({one.id for one in rows})
    shares = (0.0 if "validation" in parts else 0.15, 0.0 if "test" in parts else 0.15)
    ways = (ByTime(by="time"), BySequence(by="sequence", validation=shares[0], test=shares[1]))
    for how in ways[::-1] if count >= ENOUGH or parts != {None} else ways[: 2 if count > 2 else 1]:
        with suppress(TableError):  # if there is no way, `load` raises it again, unless there is nothing to learn from
            pieces = split(table, rows, how, 1).training
            return how.by, shares, np.concatenate([piece.rows.index[piece.first : piece.stop] for piece in pieces])
    return "time", shares, np.arange(len(table.frame))


def _target(table: Table, columns: list[Guess], given: str | None) -> tuple[str, Guess, str]:
    """Return task, target and why: named like a label or a measure, else the last number, else the next word."""
    usable = [one for one in columns if one.seems != "nothing"]
    if given is not None:
        table.column(given)
        one = next((one for one in columns if one.name == given), Guess(given, "nothing", reason="it orders the rows"))
        if one.seems == "nothing":
            raise table.error(f"--target {given}: {one.reason}")
        alone = len(usable) == 1 and one.seems == "words"
        return "next-symbol" if alone else _kind(one), one, "given"
    usable = [one for one in usable if not one.fixed] or usable
    labels, states = ([one for one in usable if one.words and named(how, one.name)] for how in (LABEL, STATE))
    numbers = [one for one in usable if one.seems == "numbers"]
    measures = [one for one in numbers if not one.doubt] or numbers
    likely = [one for one in measures if named(MEASURE, one.name)]
    ways = (
        (labels, "named like a label"),
        (likely, "named like a measure"),
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


def _pauses(rows: Sequence[Rows]) -> Doubles:
    """Return the pauses in seconds between rows of the same sequence; empty without dates."""
    if not np.issubdtype(rows[0].times.dtype, np.datetime64):
        return np.zeros(0)
    return np.concatenate([np.diff(one.times) for one in rows]).astype(np.int64) / 1e6


def _calendar(columns: list[Guess], pauses: Doubles) -> list[str]:
    """Return the calendar features that the table has twice round and more, and that are not columns of it."""
    span, usual = (float(pauses.sum()), float(np.median(pauses))) if len(pauses) else (0.0, 0.0)
    varies = {
        "hour": usual < DAY and span > 2 * DAY,
        "weekday": usual < 7 * DAY and span > 2 * 7 * DAY,
        "month": span > 2 * 365 * DAY,  # of one year the training part has no winter, or no summer
    }
    taken = {one.name for one in columns}
    return [name for name, does in varies.items() if does and name not in taken]


def _window(rows: Sequence[Rows]) -> int | None:
    """Return a window of a 20th of the longest sequence, 16 to 168 steps; None: short sequences are taken whole."""
    longest = max(len(one) for one in rows)
    return min(max(longest // 20, 16), 168) if longest > WHOLE else None
