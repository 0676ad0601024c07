"""A table as every source hands it on: columns as they were read, and where each row came from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.errors import TableError


@dataclass(frozen=True)
class Table:
    """Rows in order, of one or many sequences. Numbers may still be text: what a column is, the recipe says."""

    frame: pl.DataFrame
    name: str  # of the file or source, for messages
    sha256: str  # of what was read
    time: str | None = None  # the column, dates and times or rising numbers
    sequence: str | None = None  # the column whose values tell sequences apart; without it all rows are one
    part: str | None = None  # the column of "training", "validation", "test" or empty, where the data say it themselves
    gap: str | None = None  # a longer pause than this duration begins a new sequence
    lines: NDArray[np.int64] | None = None  # the line of each row in a text file; without it places are rows, from 0
    decimal: str = "."  # what stands before the fraction of a number that is still text
    day_first: bool | None = None  # whether 05/01 is in January; left out: what other rows prove

    def place(self, row: int) -> str:
        """Say where a row is, as one would look it up."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def error(self, problem: str, *, row: int | None = None) -> TableError:
        """Return the error that names the table and, where known, the place in it."""
        where = "" if row is None else f" {self.place(row)}:"
        return TableError(f"{self.name}:{where} {problem}")


class Source(Protocol):
    """What the section `[data]` of a recipe can do."""

    def read(self, folder: Path) -> Table:
        """Read the data; paths are relative to `folder`. Raises TableError."""
