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
from training.data.sequences import Rows, sequences
from training.data.sources import Table, TableFile
from training.data.sources.file import EMPTY
from training.data.split import split
from training.errors import TableError
from training.init import header
from training.init.column_content import Guess, guesses, part_column, without_doubtful
from training.init.explanation import Note, column_notes, order_notes
from training.init.number_marks import gap_spellings, marks
from training.init.row_order import order
from training.init.target_column import persists, target_column
from training.recipe.read import recipe_of
from training.recipe.recipe import BySequence, ByTime
from training.templates import render

DAY = 86400.0  # seconds
LONG = 10  # a pause of so many usual pauses is a gap
ENOUGH = 10  # sequences, for a split by whole sequences
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
    refusal: str | None = None


def draft(path: Path, output: Path, given: Given | None = None) -> Draft:
    """Return a recipe for the table at `path`; its `data.path` is relative to the folder of `output`.

    Raises:
        TableError: the file is not a table, has no column to predict, or can be understood in two ways.

    """
    given = given or Given()
    table, keys = _read(path, given)
    how, part = order(table, given.time, given.sequence), part_column(table)
    keys = keys | how.data() | ({"part": part} if part else {})
    table = TableFile.model_validate(keys | {"path": path.name}).read(path.parent)
    rows, short = _rows(table)
    keys |= {"shortest": 2} if short else {}
    by, shares, training = _split(replace(table, shortest=2), rows)
    leave = {*how.time, *how.sequence, table.time, table.sequence, part}
    columns = guesses(table, how, training, {name for name in leave if name})
    kind, target, why = target_column(table, columns, given.target)
    columns = without_doubtful(columns, target, hidden=kind == "classification")
    pauses = _pauses(rows)
    usual = float(np.median(pauses)) if len(pauses) else 0.0
    keys |= {"gap": f"{max(round(LONG * usual), 1)}s"} if usual and pauses.max() > LONG * usual else {}
    text = render(
        "init/draft.toml.j2",
        name=re.sub(r"[^A-Za-z0-9_-]+", "-", path.name.split(".")[0]).strip("-_")[:LONGEST_NAME] or "model",
        data={"path": relpath(path.resolve(), output.resolve().parent)} | keys,
        usual=usual,
        columns=columns,
        calendar=_calendar(columns, rows, usual),
        kind=kind,
        target=target,
        residual=kind == "regression" and persists(table, target.name, training),
        split=by,
        shares=shares,
        longest=max(map(len, rows)),
    )
    notes = [*order_notes(table, how, rows, keys), *column_notes(columns, kind, target, why)]
    try:
        load(recipe_of(text, output.name, output.resolve().parent))
    except TableError as error:
        return Draft(text, notes, str(error))
    return Draft(text, notes)


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
    header.check(table, given.time)
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


def _pauses(rows: Sequence[Rows]) -> Doubles:
    """Return the pauses in seconds between rows of the same sequence; empty without dates."""
    if not np.issubdtype(rows[0].times.dtype, np.datetime64):
        return np.zeros(0)
    return np.concatenate([np.diff(one.times) for one in rows]).astype(np.int64) / 1e6


def _calendar(columns: list[Guess], rows: Sequence[Rows], usual: float) -> list[str]:
    """Return the calendar features that the rows go through twice and more, and that are not columns of the table."""
    if not usual:
        return []
    clock = pl.Series(np.concatenate([one.times for one in rows])).dt
    turns = {
        "hour": (clock.hour(), clock.date(), usual < DAY),
        "weekday": (clock.weekday(), clock.date(), usual < 7 * DAY),
        "month": (clock.month(), clock.year(), True),  # of one year the training part has no winter, or no summer
    }
    taken = {one.name for one in columns}
    return [
        name
        for name, (codes, turn, finer) in turns.items()
        if finer and name not in taken and pl.DataFrame([codes, turn.alias("turn")]).n_unique() > 2 * codes.n_unique()
    ]
