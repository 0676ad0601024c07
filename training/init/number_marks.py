"""Guess how a text file writes its numbers and its empty cells. A reading is taken if it explains every value."""

from typing import Any

import polars as pl

from training.data.columns import SPACES, numbers
from training.data.sources import Table
from training.errors import TableError

# Decimal mark and mark of thousands, the plainest first.
READINGS = ((".", None), (",", None), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
GROUP = {",": ",", ".": r"\.", " ": SPACES, "'": "['’]"}
NUMBER = rf"^[-+]?(\d|[.,'’]|{SPACES})*\d[.,]?([eE][-+]?\d+)?$"
GAPS = {
    *("?", "-", "--", "---", ".", "..", "...", "*", "nil", "none", "missing", "unknown", "n.a.", "n/a", "na", "nan"),
    *("null", "nd", "n.d.", "nat", "<na>", "(null)", "-nan", "#div/0!", "#value!", "#ref!", "#num!", "#n/a", "\\n"),
}


def gap_spellings(table: Table) -> list[str]:
    """Return the words that stand for empty cells in columns that are numbers otherwise."""
    found: set[str] = set()
    for values in _texts(table):
        number = values.str.contains(NUMBER)
        others = values.filter(~number).unique().to_list()
        if 2 * number.sum() >= len(values) and all(word.lower() in GAPS for word in others):
            found.update(others)
    return sorted(found)


def marks(table: Table, decimal: str | None) -> dict[str, Any]:
    """Return `decimal` and `thousands` of `[data]`; empty if numbers are written plainly. `decimal` is given or None.

    Raises:
        TableError: two readings explain equally many columns, and give different numbers.

    """
    texts = [values for values in _texts(table) if values.str.contains(NUMBER).all()]
    explained = {
        reading: [values for values in texts if _explains(values, *reading)]
        for reading in READINGS
        if decimal in (None, reading[0])
        and (reading[1] is None or any(values.str.contains(rf"\d{GROUP[reading[1]]}\d").any() for values in texts))
    }
    most = max(map(len, explained.values()))
    best = [reading for reading, columns in explained.items() if len(columns) == most]
    chosen = best[0] if most else (decimal or ".", None)
    if chosen != (".", None):
        for other in best[1:]:
            _same(table, explained[chosen], chosen, other)
    return ({"decimal": ","} if chosen[0] == "," else {}) | ({"thousands": chosen[1]} if chosen[1] else {})


def _texts(table: Table) -> list[pl.Series]:
    columns = (column.drop_nulls() for column in table.frame.get_columns() if column.dtype == pl.String)
    return [values for values in columns if len(values)]


def _explains(values: pl.Series, decimal: str, mark: str | None) -> bool:
    """Return whether every value is a number in this reading."""
    point = GROUP[decimal]
    grouped = "" if mark is None else rf"|[1-9]\d{{0,2}}({GROUP[mark]}\d{{2,3}})*{GROUP[mark]}\d{{3}}"
    if not values.str.contains(rf"^[-+]?(\d*{grouped})({point}\d*)?([eE][-+]?\d+)?$").all():
        return False
    # 1,520 beside 987: a table with a fraction's last zero has 987,000. So the mark is of thousands.
    cut = values.str.contains(point)
    three = values.filter(cut).str.contains(rf"^[-+]?[1-9]\d{{0,2}}{point}\d{{3}}$")
    plain = values.filter(~cut)
    return not (
        len(three) > 0
        and three.all()
        and len(plain) > 0
        and plain.str.contains(r"^[-+]?\d{1,3}$").all()
        and values.filter(cut).str.ends_with("0").any()
    )


def _same(table: Table, columns: list[pl.Series], one: tuple[str, str | None], other: tuple[str, str | None]) -> None:
    """Refuse two readings that give different numbers."""
    for values in columns:
        parts = [Table(values.to_frame(), table.name, "", decimal=how[0], thousands=how[1]) for how in (one, other)]
        try:
            read = [numbers(part, values.name) for part in parts]
        except TableError:
            return
        for row in (read[0] != read[1]).nonzero()[0][:1]:
            a, b = (f"{own[row]:.10g} (--decimal '{part.decimal}')" for own, part in zip(read, parts, strict=True))
            raise table.error(f"{values.name} is {values[int(row)]!r}, which is {a} or {b}; say which")
