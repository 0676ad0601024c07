"""A CSV or Parquet file of the user. Knows encodings, separators and lines; not what its columns mean."""

import csv
import gzip
import hashlib
import io
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from training.errors import TableError
from training.sources.table import Table
from training.values import Value

EMPTY = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A"]  # how tables say "nothing"
SEPARATORS = ",;\t|"


class TableFile(Value):
    """A file with a header line: CSV (any of , ; tab | between columns, also .gz) or Parquet."""

    source: Literal["table"] = "table"
    path: Path
    time: str | None = None  # without it the rows are taken to be in order
    sequence: str | None = None
    part: str | None = None
    gap: str | None = None  # such as "6h" or "2d"
    separator: str | None = None  # left out: whichever the header holds most of
    decimal: Literal[".", ","] = "."
    day_first: bool | None = None  # whether 05/01/2024 is in January; left out: what other rows prove

    def read(self, folder: Path) -> Table:
        """Read the file. Every column of a CSV file stays text, so that what is wrong in it can be shown."""
        path = folder / self.path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise TableError(f"{self.path}: {error.strerror}; data.path is relative to the recipe") from None
        if self.path.suffix == ".parquet":
            frame, lines = self._parquet(content), None
        else:
            frame, lines = self._text(content)
        if frame.is_empty():
            raise TableError(f"{path.name}: it has no rows")
        return Table(
            frame,
            path.name,
            hashlib.sha256(content).hexdigest(),
            time=self.time,
            sequence=self.sequence,
            part=self.part,
            gap=self.gap,
            lines=lines,
            decimal=self.decimal,
            day_first=self.day_first,
        )

    def _parquet(self, content: bytes) -> pl.DataFrame:
        try:
            return pl.read_parquet(io.BytesIO(content))
        except PolarsError as error:
            raise TableError(f"{self.path.name}: {error}") from None

    def _text(self, content: bytes) -> tuple[pl.DataFrame, NDArray[np.int64]]:
        text = self._decoded(self._unpacked(content))
        separator = self.separator or max(SEPARATORS, key=text.partition("\n")[0].count)
        try:
            frame = pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
        except PolarsError as error:
            raise TableError(f"{self.path.name}: {_uneven(text, separator) or error}") from None
        frame = frame.rename({name: name.strip() for name in frame.columns}).with_columns(pl.all().str.strip_chars())
        frame = frame.with_columns(pl.all().replace(EMPTY, [None] * len(EMPTY)))
        something = frame.select(~pl.all_horizontal(pl.all().is_null())).to_series()  # a blank line is no row
        return frame.filter(something), _lines(text, separator, len(frame))[something.to_numpy()]

    def _unpacked(self, content: bytes) -> bytes:
        if self.path.suffix != ".gz":
            return content
        try:
            return gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise TableError(f"{self.path.name}: {error}") from None

    def _decoded(self, content: bytes) -> str:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise TableError(f"{self.path.name}: line {line}: it is not UTF-8; save the file as UTF-8") from None


def _lines(text: str, separator: str, rows: int) -> NDArray[np.int64]:
    """Return the line on which each row begins."""
    if text.count("\n") + (not text.endswith("\n")) == rows + 1:
        return np.arange(2, rows + 2)
    reader = csv.reader(io.StringIO(text), delimiter=separator)  # a quoted value spans lines
    ends = np.array([reader.line_num for _ in reader])
    return ends[:-1] + 1


def _uneven(text: str, separator: str) -> str | None:
    """Say which line has another number of columns than the header."""
    rows = csv.reader(io.StringIO(text), delimiter=separator)
    header = next(rows, [])
    for row in rows:
        if row and len(row) != len(header):
            return (
                f"line {rows.line_num}: {len(row)} columns, the header has {len(header)}; "
                f"quote a value that holds {separator!r}"
            )
    return None
