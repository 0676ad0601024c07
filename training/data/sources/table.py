"""The table that every source returns: raw columns, and where each row came from."""

from dataclasses import dataclass

import polars as pl

from training.arrays import Integers
from training.errors import TableError


@dataclass(frozen=True)
class Table:
    """Rows of one or several sequences, in order. Numbers may still be text; the recipe says what a column is."""

    frame: pl.DataFrame
    name: str  # of the file or source, for messages
    sha256: str  # of what was read
    time: str | None = None  # column of dates or rising numbers
    sequence: str | None = None  # column whose values separate the sequences; None: all rows are one sequence
    part: str | None = None  # column of "training", "validation", "test" or null
    gap: str | None = None  # duration; a longer pause starts a new sequence
    lines: Integers | None = None  # line of each row in a text file; None: places are row numbers from 0
    decimal: str = "."  # decimal separator of numbers that are still text
    day_first: bool | None = None  # whether 05/01 is in January; None: what other rows prove
    zone: str | None = None  # of the calendar features, such as "Europe/Paris"; None: times as they are written

    def place(self, row: int) -> str:
        """Return where a row is: "line 7" or "row 5"."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def error(self, problem: str, *, row: int | None = None) -> TableError:
        """Return an error that names the table and the place of the row."""
        where = "" if row is None else f" {self.place(row)}:"
        return TableError(f"{self.name}:{where} {problem}")
