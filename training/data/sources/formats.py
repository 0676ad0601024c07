"""Table files by their content: Parquet, Excel, or text; compressed by gzip or not."""

import gzip
import io
import json
import re
import zlib

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from training.arrays import Integers
from training.data.sources import text
from training.errors import TableError

READABLE = "what can be read: CSV (separated by , ; tab or |; also .gz), Parquet, Excel (.xlsx)"
EXCEL = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # a zip, or the older format
OTHERS = (b"%PDF", b"<", b"{")  # beginnings of files that are text, and no CSV
CONTROL = re.compile("[\0-\b\x0e-\x1f]")  # characters that text does not have
KINDS = (".parquet", ".xlsx", ".xls", ".xlsm", ".ods", ".gz")  # names of files that are no plain text


def frame(content: bytes, name: str, *, encoding: str | None, separator: str | None, sheet: str | None) -> pl.DataFrame:
    """Return the rows of a file; `line` is the line of each, if it is a text or a sheet, whose cells are all text.

    Raises:
        TableError: it is no table.

    """
    try:
        if content.startswith(b"\x1f\x8b"):
            content, name = gzip.decompress(content), name.removesuffix(".gz")
        if content.startswith(b"PAR1"):
            read = pl.read_parquet(io.BytesIO(content))
            return read.rename({name: f"column {place}" for place, name in enumerate(read.columns, 1) if not name})
        if content.startswith(EXCEL):
            return _headed(*_excel(content, sheet))
        if name.lower().endswith(KINDS):
            raise TableError(f"its content is not what its name says; {READABLE}")
        return _headed(*text.rows(_plain(content, encoding), separator))
    except (PolarsError, PanicException, OSError, EOFError, zlib.error) as error:
        raise TableError(
            f"it is damaged ({str(error).splitlines()[0] if str(error) else error!r}); {READABLE}"
        ) from None


SEEN = 100_000  # bytes that tell whether a file is text
LINE = "\0line"  # the column of line numbers


def _plain(content: bytes, encoding: str | None) -> str:
    """Return the text of a file; refuse what is no text, and text that is no CSV."""
    marked = content.startswith(tuple(mark for mark, _ in text.MARKS))
    binary = not encoding and not marked and CONTROL.search(content[:SEEN].decode("latin-1"))
    told = "" if binary or content.lstrip().startswith(OTHERS) else text.decoded(content, encoding)
    if (not told and content) or CONTROL.search(told) or (told.lstrip().startswith("[") and _is_json(told)):
        raise TableError(f"it is no table; {READABLE}")
    return told


def _is_json(told: str) -> bool:
    try:
        json.loads(told)
    except ValueError:
        return False
    return True


def _excel(content: bytes, sheet: str | None) -> tuple[pl.DataFrame, Integers]:
    """Return all rows of a sheet, the first one by default, and their row numbers in it."""
    import fastexcel  # heavy, and only this format needs it

    try:
        book = fastexcel.read_excel(content)
        if sheet is not None and sheet not in book.sheet_names:
            raise TableError(f"there is no sheet {sheet!r}; it has {', '.join(book.sheet_names)}")
        read = book.load_sheet(sheet or 0, header_row=None, dtypes="string", skip_whitespace_tail_rows=True).to_polars()
    except fastexcel.FastExcelError as error:
        raise TableError(f"it is no sheet ({str(error).splitlines()[0]}); {READABLE}") from None
    clocks = pl.all().str.replace(r"^1899-12-3[01] ", "")  # a time of day is one of the day before Excel's first
    return read.with_columns(clocks), np.arange(1, len(read) + 1)


def _headed(cells: pl.DataFrame, lines: Integers) -> pl.DataFrame:
    """Return the rows below the header under its names, with their lines."""
    if cells.is_empty():
        raise TableError("it has no rows")
    return cells.slice(1).rename(_names(cells)).with_columns(pl.Series(LINE, lines[1:]))


def _names(cells: pl.DataFrame) -> dict[str, str]:
    """Return the name of each column: a doubled one is `load.1`, one without a name is `column 3`."""
    names: dict[str, str] = {}
    for place, (key, cell) in enumerate(zip(cells.columns, cells.row(0), strict=True), start=1):
        wanted = name = (cell or "").strip() or f"column {place}"
        again = 0
        while name in names.values():
            again += 1
            name = f"{wanted}.{again}"
        names[key] = name
    return names
