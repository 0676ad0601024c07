"""The table that every source returns: raw columns, and where each row came from."""

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches

import polars as pl

from training.arrays import Integers
from training.errors import TableError

FIELDS = ("", "-", "-", " ", ":", ":")  # what is written before year, month, day, hour, minute, second
QUARTER, WEEK = r"^(quarter|qtr|q)$", r"^(iso_?)?(week|wk)(_?of_?year)?$"  # names of columns beside a year
WITHIN = {QUARTER: ("", " Q"), WEEK: ("", "-W")}  # what is written before a year and one of these


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
    repeats: str | None = None  # "first": leave out rows whose time is not after the one before
    shortest: int | None = None  # leave out sequences of fewer rows
    lines: Integers | None = None  # line of each row in a text file; None: places are row numbers from 0
    decimal: str = "."  # decimal separator of numbers that are still text
    thousands: str | None = None  # mark between groups of digits of numbers that are still text
    time_format: str | None = None  # of the time column
    day_first: bool | None = None  # whether 05/01 is in January; None: what other rows prove
    zone: str | None = None  # of the calendar features, such as "Europe/Paris"; None: times as they are written

    def place(self, row: int) -> str:
        """Return where a row is: "line 7" or "row 5"."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def error(self, problem: str, *, row: int | None = None) -> TableError:
        """Return an error that names the table and the place of the row."""
        where = "" if row is None else f" {self.place(row)}:"
        return TableError(f"{self.name}:{where} {problem}")

    def column(self, name: str) -> pl.Series:
        """Return a column as it was read."""
        if name not in self.frame.columns:
            near = get_close_matches(name, self.frame.columns, n=1)
            guess = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self.frame.columns)}"
            raise self.error(f"no column {name!r}; {guess}")
        return self.frame[name]

    def arranged(self, time: str | tuple[str, ...] | None, sequence: str | tuple[str, ...] | None) -> "Table":
        """Return the table with these columns as its time and its sequence; several become a new one."""
        columns = [
            (" + ".join(names), self._joined(names, clock=names is time))
            for names in (time, sequence)
            if isinstance(names, tuple)
        ]
        frame = self.frame.with_columns(values.alias(name) for name, values in columns)
        given = [" + ".join(names) if isinstance(names, tuple) else names for names in (time, sequence)]
        return replace(self, frame=frame, time=given[0], sequence=given[1])

    def _joined(self, names: tuple[str, ...], *, clock: bool) -> pl.Series:
        """Return columns side by side: year, month, day, … as one date; a date before a clock; ids before a slash."""
        parts = [_written(self.column(name)) for name in names]
        if clock and len(parts) <= len(FIELDS) and all(part.str.contains(r"^\d{1,4}$").all() for part in parts):
            within = (marks for name, marks in WITHIN.items() if re.match(name, names[1].strip().lower()))
            fields = next(within, FIELDS) if len(names) == 2 else FIELDS
            parts = [before + part.str.zfill(2) for before, part in zip(fields, parts, strict=False)]
            return pl.select(pl.concat_str(parts)).to_series()
        if clock:
            parts = [*(part.str.replace(r"[T ]00:00(:00(\.0+)?)?$", "") for part in parts[:-1]), parts[-1]]
        return pl.select(pl.concat_str(parts, separator=" " if clock else " / ")).to_series()


def _written(values: pl.Series) -> pl.Series:
    """Return values as text; whole numbers without a fraction."""
    if values.dtype.is_float() and bool((values.drop_nulls() == values.drop_nulls().round()).all()):
        values = values.cast(pl.Int64, strict=False)
    return values.cast(pl.String).str.replace(r"^(\d+)\.0+$", "$1")
