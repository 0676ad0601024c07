"""`carousel-train init`: draft a recipe for a table. Comments mark guesses; `fit` accepts the draft as it is."""

import re
from dataclasses import replace
from os.path import relpath
from pathlib import Path

import numpy as np

from training.arrays import Doubles
from training.data.sources import Table, TableFile
from training.recipe.guess import Guess, guess, pauses_between_rows, sequence_column, time_column
from training.recipe.persistence import persists
from training.templates import render

LABEL = re.compile(r"label|class|state|status|activity|target|fault|phase|mode")
MEASURE = re.compile(r"target|value|load|volume|demand|price|count|power|sales|energy|consumption|usage|wh\b|^y$")
DAY = 86400.0  # seconds
LONG = 10  # a pause of so many usual pauses is a gap
ENOUGH = 10  # sequences, for a split by whole sequences
WHOLE = 300  # longest sequence, in steps, that is not cut into windows


def draft(path: Path, output: Path) -> str:
    """Return a recipe for the table at `path`; its `data.path` is relative to the folder of `output`.

    Raises:
        TableError: the file is not a table, or has no column to predict.

    """
    table, source = _read(path, output)
    time = time_column(table)
    if time is None and (dated := time_column(replace(table, day_first=True))) is not None:
        table, time = replace(table, day_first=True), dated
    sequence = sequence_column(table, time)
    columns = [guess(table, name) for name in table.frame.columns if name not in (time, sequence)]
    kind, target = _target(table, columns)
    pauses = pauses_between_rows(table, time, sequence)
    usual = float(np.median(pauses)) if len(pauses) else 0.0
    enough = sequence is not None and table.frame[sequence].n_unique() >= ENOUGH
    return render(
        "recipe/draft.toml.j2",
        name=re.sub(r"[^A-Za-z0-9_-]+", "-", path.name.split(".")[0]).strip("-_") or "model",
        source=source,
        day_first=table.day_first,
        time=time,
        sequence=sequence,
        gap=max(round(LONG * usual), 1) if usual and pauses.max() > LONG * usual else None,
        usual=usual,
        columns=columns,
        calendar=_calendar(columns, pauses),
        kind=kind,
        target=target,
        residual=kind == "regression" and persists(table, target.name, sequence),
        split="sequence" if enough else "time",
        window=_window(table, sequence),
    )


def _read(path: Path, output: Path) -> tuple[Table, dict[str, str]]:
    """Read the table, with decimal commas if that makes more columns numeric; return it with its keys of `[data]`."""
    source = {"path": relpath(path.resolve(), output.resolve().parent)}
    table = TableFile(path=Path(path.name)).read(path.parent)
    comma = TableFile(path=Path(path.name), decimal=",").read(path.parent)
    numeric = [sum(guess(one, name).seems == "numbers" for name in one.frame.columns) for one in (table, comma)]
    return (comma, source | {"decimal": ","}) if numeric[1] > numeric[0] else (table, source)


def _target(table: Table, columns: list[Guess]) -> tuple[str, Guess]:
    """Guess task and target: classify a column named like a label, else forecast a number, else the next word."""
    labels = [one for one in columns if LABEL.search(one.name.lower()) and one.words]
    measures = [one for one in columns if one.seems == "numbers"]
    named = [one for one in measures if MEASURE.search(one.name.lower())]
    symbols = [one for one in columns if one.seems == "words"]
    for kind, candidates in (("classification", labels), ("regression", named or measures), ("next-symbol", symbols)):
        if candidates:
            return kind, candidates[-1]
    reasons = "; ".join(f"{one.name}: {one.reason}" for one in columns)
    raise table.error(f"there is nothing to learn from ({reasons})")


def _calendar(columns: list[Guess], pauses: Doubles) -> list[str]:
    """Return the calendar features that vary over the table and are not columns of it."""
    span, usual = (float(pauses.sum()), float(np.median(pauses))) if len(pauses) else (0.0, 0.0)
    varies = {
        "hour": usual < DAY and span > 2 * DAY,
        "weekday": usual < 7 * DAY and span > 14 * DAY,
        "month": span > 180 * DAY,
    }
    taken = {one.name for one in columns}
    return [name for name, does in varies.items() if does and name not in taken]


def _window(table: Table, sequence: str | None) -> int | None:
    """Return a window of a 20th of the longest sequence, 16 to 168 steps; None: short sequences are taken whole."""
    longest = len(table.frame) if sequence is None else max(table.frame[sequence].value_counts()["count"])
    return min(max(longest // 20, 16), 168) if longest > WHOLE else None
