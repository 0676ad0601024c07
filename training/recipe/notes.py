"""What `carousel-train init` understood of a table, as lines to print: column, role, why."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table as Lines

from training.data.sequences import Rows
from training.data.sources import Table
from training.recipe.guess import Guess
from training.recipe.sequence import ticks
from training.recipe.times import Order

ROLES = {"numbers": "number", "words": "category", "nothing": "left out"}
SAID = {  # keys of `[data]` that are worth a line, and what they mean
    "decimal": "the decimal mark that every number allows",
    "thousands": "the mark between groups of digits",
    "empty": "these words stand for empty cells",
    "time_format": "how the time is written",
    "day_first": "the only reading of the dates whose order and spacing agree",
    "gap": "a longer pause begins a new sequence",
    "shortest": "sequences of fewer rows are left out",
}


class Note(NamedTuple):
    """One line: a column or a key, its role, and why."""

    column: str
    role: str
    why: str


def order_notes(table: Table, how: Order, rows: Sequence[Rows], keys: dict[str, Any]) -> list[Note]:
    """Return what is said about time, sequence and the keys of `[data]`."""
    notes = [Note(" + ".join(how.time) or "(none)", "time", _why_time(how))]
    if how.sequence:
        count = len({one.id for one in rows})
        notes.append(Note(" + ".join(how.sequence), "sequence", f"times go one way within each of its {count} values"))
    if table.part is not None:
        notes.append(Note(table.part, "part", "it says training, validation or test"))
    if how.rank == 2:
        row = _first_repeat(how)
        dropped = len(table.frame) - sum(map(len, rows))
        why = f"{dropped} rows, the first in {table.place(row)}, have a time that is not after the rows before them; "
        notes.append(Note("data.repeats", "first", why + "they are left out: a doubled row, or the end of summer time"))
    return notes + [Note(f"data.{key}", str(keys[key]), why) for key, why in SAID.items() if key in keys]


def _why_time(how: Order) -> str:
    if how.clock is None:
        return "no column holds times; rows are in order"
    what = "dates" if how.dates else "numbers"
    falls = len(how.clock) > 1 and bool(how.clock[0] > how.clock[-1]) and how.rank != 1
    return f"{what}, newest first: rows are turned round" if falls else f"{what} in order"


def _first_repeat(how: Order) -> int:
    """Return the first row whose time is not after that of the row before it."""
    assert how.clock is not None
    steps = np.diff(ticks(how.clock))
    return int(np.argmax((steps <= 0) if steps.sum() > 0 else (steps >= 0))) + 1


def column_notes(columns: Sequence[Guess], kind: str, target: Guess, why: str) -> list[Note]:
    """Return what is said about each column; the target first, and `why` it is the target."""
    notes = [Note(target.name, "target", f"{kind}; {why}")]
    hidden = (target.name,) if kind == "classification" else ()
    return notes + [Note(one.name, ROLES[one.seems], one.reason) for one in columns if one.name not in hidden]


def as_table(notes: Sequence[Note]) -> Lines:
    """Return the notes as a table for the terminal."""
    lines = Lines("column", "role", "why", box=box.SIMPLE)
    for note in notes:
        lines.add_row(*(escape("".join(c if c.isprintable() else "·" for c in cell)) for cell in note))
    return lines
