"""`[data]` of a recipe for a file of your own. The meaning of its columns is up to `[[features]]` and `[task]`."""

import codecs
import hashlib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

import polars as pl
from pydantic import AfterValidator, Field

from training.data.sources.formats import LINE, frame
from training.data.sources.table import Table
from training.errors import TableError
from training.value import Value

EMPTY = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A")  # spellings of an empty cell
Names = str | Annotated[tuple[str, ...], Field(min_length=1)]  # a column, or several that are read as one


def _encoding(name: str) -> str:
    try:
        b"".decode(name)
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise ValueError(f"there is no encoding {name!r}; try utf-8, cp1252, latin-1 or utf-16") from None


def _separator(given: str) -> str:
    mark = "\t" if given == r"\t" else given  # as a shell passes it on
    if len(mark) != 1 or not mark.isascii() or mark in '\0\n\r"':
        raise ValueError(rf"{given!r} is no separator: one ASCII character; write ';', '|' or '\t'")
    return mark


def _known_zone(name: str) -> str:
    if name not in (known := available_timezones()):
        near = ", ".join(get_close_matches(name, known)) or "UTC, Europe/Paris, America/New_York"
        raise ValueError(f"there is no time zone {name!r}; did you mean {near}?")
    return name


class TableFile(Value):
    """File with a header line: CSV (separated by , ; tab or |; also .gz), Parquet or Excel."""

    source: Literal["table"] = "table"
    path: Path
    time: Names | None = None  # default: rows are in order
    time_format: str | None = (
        None  # of strptime, or "epoch s", "epoch ms", "epoch us", "epoch ns"; default: see `dates`
    )
    sequence: Names | None = None
    part: str | None = None
    gap: str | None = None  # duration such as "6h" or "2d"
    repeats: Literal["first"] | None = None  # first: leave out rows whose time is not after the one before
    shortest: int | None = (
        None  # leave out sequences of fewer rows; default: those too short for the horizon are errors
    )
    separator: Annotated[str, AfterValidator(_separator)] | None = None  # default: seen from the first rows
    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'"] | None = None  # mark between groups of digits
    empty: tuple[str, ...] = EMPTY  # spellings of an empty cell
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None  # default: UTF-8, or what a byte order mark says
    sheet: str | None = None  # of an Excel file; default: the first
    day_first: bool | None = None  # whether 05/01/2024 is in January; default: what other rows prove
    zone: Annotated[str, AfterValidator(_known_zone)] | None = None  # of the calendar features; default: as written

    def read(self, folder: Path) -> Table:
        """Read the file. CSV columns stay text, so that errors can quote the cell."""
        path = folder / self.path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise TableError(f"{self.path}: {error.strerror}; data.path is relative to the recipe") from None
        try:
            rows = frame(content, path.name, encoding=self.encoding, separator=self.separator, sheet=self.sheet)
        except TableError as error:
            raise TableError(f"{path.name}: {error}") from None
        lines = None
        if LINE in rows.columns:
            rows = self._without_blanks(rows)
            lines = rows[LINE].to_numpy()
            rows = rows.drop(LINE)
        if rows.is_empty():
            raise TableError(f"{path.name}: it has no rows")
        settings = self.model_dump(
            include={"part", "gap", "repeats", "shortest", "decimal", "thousands", "time_format", "day_first", "zone"}
        )
        table = Table(rows, path.name, hashlib.sha256(content).hexdigest(), lines=lines, **settings)
        return table.arranged(self.time, self.sequence)

    def _without_blanks(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Strip text, empty the cells that say nothing, and drop rows of nothing."""
        empty = list({"", *self.empty})
        cells = pl.exclude(LINE)
        rows = rows.with_columns(cells.str.strip_chars()).with_columns(cells.replace(empty, [None] * len(empty)))
        return rows.filter(~pl.all_horizontal(cells.is_null()))
