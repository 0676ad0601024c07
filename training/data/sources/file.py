"""CSV and Parquet files: encodings, separators, lines. The meaning of columns is up to the recipe."""

import csv
import gzip
import hashlib
import io
import zlib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

import numpy as np
import polars as pl
from polars.exceptions import PolarsError
from pydantic import AfterValidator

from training.arrays import Integers
from training.data.sources.table import Table
from training.errors import TableError
from training.value import Value

EMPTY = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A"]  # spellings of an empty cell
SEPARATORS = ",;\t|"


def _known_zone(name: str) -> str:
    if name not in (known := available_timezones()):
        near = ", ".join(get_close_matches(name, known)) or "UTC, Europe/Paris, America/New_York"
        raise ValueError(f"there is no time zone {name!r}; did you mean {near}?")
    return name


class TableFile(Value):
    """File with a header line: CSV (separated by , ; tab or |; also .gz) or Parquet."""

    source: Literal["table"] = "table"
    path: Path
    time: str | None = None  # default: rows are in order
    sequence: str | None = None
    part: str | None = None
    gap: str | None = None  # duration such as "6h" or "2d"
    separator: str | None = None  # default: the one most frequent in the header
    decimal: Literal[".", ","] = "."
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
            parquet = self.path.suffix == ".parquet"
            frame, lines = (pl.read_parquet(io.BytesIO(content)), None) if parquet else self._text(content)
        except PolarsError as error:
            raise TableError(f"{path.name}: {error}") from None
        if frame.is_empty():
            raise TableError(f"{path.name}: it has no rows")
        settings = self.model_dump(include={"time", "sequence", "part", "gap", "decimal", "day_first", "zone"})
        return Table(frame, path.name, hashlib.sha256(content).hexdigest(), lines=lines, **settings)

    def _text(self, content: bytes) -> tuple[pl.DataFrame, Integers]:
        text = self._decoded(content)
        separator = self.separator or max(SEPARATORS, key=text.partition("\n")[0].count)
        try:
            frame = pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
        except PolarsError as error:
            raise TableError(f"{self.path.name}: {_uneven(text, separator) or error}") from None
        frame = frame.rename({name: name.strip() for name in frame.columns}).with_columns(pl.all().str.strip_chars())
        frame = frame.with_columns(pl.all().replace(EMPTY, [None] * len(EMPTY)))
        something = frame.select(~pl.all_horizontal(pl.all().is_null())).to_series()  # drop blank lines
        return frame.filter(something), _lines(text, separator, len(frame))[something.to_numpy()]

    def _decoded(self, content: bytes) -> str:
        try:
            content = gzip.decompress(content) if self.path.suffix == ".gz" else content
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise TableError(f"{self.path.name}: line {line}: it is not UTF-8; save the file as UTF-8") from None
        except (OSError, EOFError, zlib.error) as error:
            raise TableError(f"{self.path.name}: {error}") from None


def _lines(text: str, separator: str, rows: int) -> Integers:
    """Return the line number on which each row begins."""
    if text.count("\n") + (not text.endswith("\n")) == rows + 1:
        return np.arange(2, rows + 2)
    reader = csv.reader(io.StringIO(text), delimiter=separator)  # some quoted value contains line breaks
    ends = np.array([reader.line_num for _ in reader])
    return ends[:-1] + 1


def _uneven(text: str, separator: str) -> str | None:
    """Return a message about the first line with another number of columns than the header."""
    rows = csv.reader(io.StringIO(text), delimiter=separator)
    header = next(rows, [])
    for row in rows:
        if row and len(row) != len(header):
            return (
                f"line {rows.line_num}: {len(row)} columns, the header has {len(header)}; "
                f"quote a value that holds {separator!r}"
            )
    return None
