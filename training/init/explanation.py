"""What `carousel-train init` understood of a table, as lines to print: column, role, why."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table as Lines

from training.data.sequences import Rows
from training.data.sources import Table
from training.init.column_content import Guess
from training.init.time_column import Order

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
    falls = len(how.clock) > 1 and bool(how.ticks[0] > how.ticks[-1]) and how.rank != 1
    what = f"{'dates' if how.dates else 'numbers'}{', newest first: rows are turned round' if falls else ' in order'}"
    why = what if how.time else "no column holds times; rows are in order"
    notes = [Note(" + ".join(how.time) or "(none)", "time", why)]
    if how.sequence:
        count = len({one.id for one in rows})
        notes.append(Note(" + ".join(how.sequence), "sequence", f"times go one way within each of its {count} values"))
    if table.part is not None:
        notes.append(Note(table.part, "part", "it says training, validation or test"))
    if how.repeats:
        left = np.setdiff1d(np.arange(len(table.frame)), np.concatenate([one.index for one in rows]))
        why = f"{len(left)} rows, the first in {table.place(int(left[0]))}, have a time that is not after the "
        why += "rows before them; they are left out: a doubled row, or the end of summer time"
        notes.append(Note("data.repeats", "first", why))
    return notes + [Note(f"data.{key}", str(keys[key]), why) for key, why in SAID.items() if key in keys]


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
