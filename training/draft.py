"""`carousel-train init`: a first recipe for a table, its guesses in comments. `fit` takes it as it is."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from os.path import relpath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.look import Look, cadence, look, sequence_column, time_column
from training.sources import Table, TableFile

LABEL = re.compile(r"label|class|state|status|activity|target|fault|phase|mode")
MEASURE = re.compile(r"target|value|load|volume|demand|price|count|power|sales|energy|consumption|usage|wh\b|^y$")
DAY = 86400.0  # seconds
LONG = 10  # usual pauses make a gap
ENOUGH = 10  # sequences, to share them out whole
WHOLE = 300  # steps of a sequence that needs no windows


def draft(path: Path, output: Path) -> str:
    """Return a recipe for the table at `path`, to be written to `output`.

    Raises:
        TableError: it is no table, or holds nothing to learn from.

    """
    table, told = _read(path, output)
    time = time_column(table)
    if time is None and (dated := time_column(replace(table, day_first=True))) is not None:
        table, time, told = replace(table, day_first=True), dated, told | {"day_first": "true"}
    sequence = sequence_column(table, time)
    looks = [look(table, name) for name in table.frame.columns if name not in (time, sequence)]
    target = _target(table, looks)
    pauses = cadence(table, time, sequence)
    sections = (
        [f"name = {_text(_name(path))}"],
        _data(told, time, sequence, pauses),
        *_features(looks, target),
        *_calendar(looks, pauses),
        _task(target),
        _split(table, sequence),
        ["[network]", 'cell = "lstm"', "hidden = 32"],
        _training(table, sequence),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _read(path: Path, output: Path) -> tuple[Table, dict[str, str]]:
    """Read the table, with a decimal comma if that makes numbers of more of its columns."""
    told = {"path": relpath(path.resolve(), output.resolve().parent)}
    table = TableFile(path=Path(path.name)).read(path.parent)
    comma = TableFile(path=Path(path.name), decimal=",").read(path.parent)
    if _numeric(comma) > _numeric(table):
        return comma, told | {"decimal": ","}
    return table, told


def _numeric(table: Table) -> int:
    """How many columns are numbers."""
    return sum(look(table, name).seems == "numbers" for name in table.frame.columns)


def _target(table: Table, looks: list[Look]) -> tuple[str, Look]:
    """Guess the kind of task and its target: a column named like a label, else a number, else the words themselves."""
    labels = [one for one in looks if LABEL.search(one.name.lower()) and one.words]
    measures = [one for one in looks if one.seems == "numbers"]
    named = [one for one in measures if MEASURE.search(one.name.lower())]
    symbols = [one for one in looks if one.seems == "words"]
    for kind, candidates in (("classification", labels), ("regression", named or measures), ("next-symbol", symbols)):
        if candidates:
            return kind, candidates[-1]
    reasons = "; ".join(f"{one.name}: {one.reason}" for one in looks)
    raise table.error(f"there is nothing to learn from ({reasons})")


def _data(told: dict[str, str], time: str | None, sequence: str | None, pauses: NDArray[np.float64]) -> list[str]:
    lines = ["[data]", *(f"{key} = {_text(value)}" for key, value in told.items() if key != "day_first")]
    if "day_first" in told:
        lines.append("day_first = true # a guess: no date in the file says whether 05/01 is in January")
    lines.append(
        "# no time column was found: the rows are taken to be in order" if time is None else f"time = {_text(time)}"
    )
    if sequence is not None:
        lines.append(f"sequence = {_text(sequence)}")
    usual = float(np.median(pauses)) if len(pauses) else 0.0
    if usual and pauses.max() > LONG * usual:
        seconds = max(round(LONG * usual), 1)
        lines.append(f'gap = "{seconds}s" # a longer pause begins a new sequence; rows are {usual:g} s apart')
    return lines


def _features(looks: list[Look], target: tuple[str, Look]) -> Iterator[list[str]]:
    for one in looks:
        if one.seems == "nothing":
            yield [f"# {_one_line(one.name)} is left out: {_one_line(one.reason)}"]
        elif target[0] != "classification" or one.name != target[1].name:
            kind = ['kind = "category"'] if one.seems == "words" else []
            labels = [f"labels = {_list(one.words)}"] if one.seems == "words" else []
            yield ["[[features]]", *kind, f"name = {_text(one.name)}", *labels, 'missing = "hold"']


def _calendar(looks: list[Look], pauses: NDArray[np.float64]) -> Iterator[list[str]]:
    """Whatever part of the calendar the rows go through, and the table does not have itself."""
    span, usual = (float(pauses.sum()), float(np.median(pauses))) if len(pauses) else (0.0, 0.0)
    parts = {
        "hour": usual < DAY and span > 2 * DAY,
        "weekday": usual < 7 * DAY and span > 14 * DAY,
        "month": span > 180 * DAY,
    }
    taken = {one.name for one in looks}
    for name, moves in parts.items():
        if moves and name not in taken:
            yield ["[[features]]", 'kind = "calendar"', f'name = "{name}"']


def _task(target: tuple[str, Look]) -> list[str]:
    kind, one = target
    head = ["[task] # a guess: change the target to what you want to know", f'kind = "{kind}"']
    if kind == "regression":
        return [*head, f"targets = [{_text(one.name)}]", "horizons = [1] # steps ahead"]
    labels = [f"labels = {_list(one.words)}"] if kind == "classification" else []
    return [*head, f"target = {_text(one.name)}", *labels]


def _split(table: Table, sequence: str | None) -> list[str]:
    enough = sequence is not None and table.frame[sequence].n_unique() >= ENOUGH
    by = "sequence" if enough else "time"
    return ["[split]", f'by = "{by}"', "validation = 0.15", "test = 0.15"]


def _training(table: Table, sequence: str | None) -> list[str]:
    """Windows of a length that a series holds many of; sequences that are short are taken whole."""
    longest = len(table.frame) if sequence is None else max(table.frame[sequence].value_counts()["count"])
    window = min(max(longest // 20, 16), 168) if longest > WHOLE else None
    lines = ["[training]", "epochs = 30"]
    return lines if window is None else [*lines, f"window = {window}", f"stride = {max(window // 4, 1)}"]


def _name(path: Path) -> str:
    stem = path.name.split(".")[0]
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")
    return plain or "model"


def _text(word: str) -> str:
    """Return a TOML string; JSON writes it the same way."""
    return json.dumps(word, ensure_ascii=False)


def _list(words: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_text, words))}]"


def _one_line(text: str) -> str:
    return " ".join(text.split())
