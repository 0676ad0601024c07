"""CSV text: encoding, separator, header, and the line of each row. Every cell stays text."""

import csv
import io
import re
from collections import Counter

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from training.arrays import Integers
from training.errors import TableError

SEPARATORS = ",;\t|"
LOOKED_AT = 50  # rows from which the separator is guessed
# Byte order marks, the longest first.
MARKS = (
    *((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xef\xbb\xbf", "utf-8-sig")),
    *((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")),
)
EXCEL = re.compile(r'"?sep=(.)"?$', re.IGNORECASE)  # a line that Excel reads and does not show


def decoded(content: bytes, encoding: str | None) -> str:
    """Return the text of a file, lines ended by a newline. Without `encoding` it has a byte order mark or is UTF-8.

    Raises:
        TableError: the bytes are not in that encoding; the message names the line.

    """
    marked = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding or marked)
    except UnicodeError as error:
        line = content[: getattr(error, "start", 0)].count(b"\n") + 1
        advice = "save the file as UTF-8, or name its encoding as data.encoding (--encoding), such as 'cp1252'"
        raise TableError(f"line {line}: it is not {(encoding or marked).upper()}; {advice}") from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def rows(text: str, separator: str | None) -> tuple[pl.DataFrame, Integers]:
    """Return all rows of a CSV, the header among them, and the line on which each begins."""
    body, skipped = text, 0
    first, _, rest = text.partition("\n")
    if told := EXCEL.match(first):
        body, skipped, separator = rest, 1, separator or told[1]
    skipped += len(body) - len(body := body.lstrip("\n"))
    comments = body.count("\n") - (body := _uncommented(body, separator)).count("\n")
    skipped, separator = skipped + comments, separator or _separator(body)
    try:
        frame = pl.read_csv(io.StringIO(body), separator=separator, has_header=False, infer_schema=False)
    except PolarsError as error:
        quote = "a quoted value is not closed, or goes on behind its closing quote" if "escaped" in str(error) else ""
        reason = _uneven(body, separator, skipped) or quote or str(error).partition("\n")[0]
        raise TableError(reason) from None
    return frame, _lines(body, separator, skipped, len(frame))


def _uncommented(text: str, separator: str | None) -> str:
    """Leave out lines that begin with # before the header; one that is as wide as the line behind it is the header."""
    table = re.sub(r"\A(#.*\n)+", "", text)
    last = text[: len(text) - len(table)].rpartition("\n")[0].rpartition("\n")[2]
    mark = separator or _separator(table)
    width = table.partition("\n")[0].count(mark)
    return f"{last}\n{table}" if last and width and last.count(mark) == width else table or text


def _separator(text: str) -> str:
    """Return the separator that cuts the first rows into the most columns, equally many in each."""
    lines = "\n".join(text.split("\n", LOOKED_AT)[:LOOKED_AT])
    widths = {}
    for separator in SEPARATORS:
        try:
            counted = Counter(len(row) for row in csv.reader(io.StringIO(lines), delimiter=separator) if row)
        except csv.Error:
            counted = Counter()
        widths[separator] = next(iter(counted), 1) if len(counted) == 1 else 1
    best = max(SEPARATORS, key=lambda separator: widths[separator])
    first = lines.partition("\n")[0]
    told = first if any(separator in first for separator in SEPARATORS) else lines  # a title is above the header
    return best if widths[best] > 1 else max(SEPARATORS, key=told.count)


def _lines(text: str, separator: str, skipped: int, rows: int) -> Integers:
    """Return the line number on which each row begins; `skipped` lines are above the text.

    Raises:
        TableError: rows have become one, since a quote inside of a quoted value is not doubled.

    """
    if text.count("\n") + (not text.endswith("\n")) == rows:
        return np.arange(1, rows + 1) + skipped
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)  # some quoted value contains line breaks
    try:
        begins = np.array([1, *(reader.line_num + 1 for _ in reader)][:-1])
    except csv.Error:
        where = f"line {reader.line_num + skipped}: a value goes on behind its closing quote"
        raise TableError(f'{where}; write a quote inside of a quoted value as ""') from None
    return (begins if len(begins) == rows else np.arange(1, rows + 1)) + skipped


def _uneven(text: str, separator: str, skipped: int) -> str | None:
    """Return a message about the first line with more columns than the header."""
    read = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        header = next(read, [])
        for row in read:
            if len(row) > len(header):
                fix = "remove the lines above the header, or " if len(header) < 2 else ""
                return (
                    f"line {read.line_num + skipped}: {len(row)} columns, the header has {len(header)}; "
                    f"{fix}quote a value that holds {separator!r}"
                )
    except csv.Error as error:
        return f"line {read.line_num + skipped}: {error}"
    return None
