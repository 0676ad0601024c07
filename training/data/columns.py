"""Read one column of a table as an array of numbers or words; name the row of the first invalid value."""

import re
from fnmatch import fnmatchcase

import numpy as np
import polars as pl

from training.arrays import Doubles, Floats
from training.data.sources import Table

ROUNDING = 0.01  # largest deviation of float32's rounding errors, in deviations of the column
LARGEST = float(np.finfo(np.float32).max)
SPACES = r"[ \x{a0}\x{202f}\x{2009}]"


def column(table: Table, name: str) -> pl.Series:
    """Return a column with simple values: numbers, text or times. NaN is empty; durations and clocks are seconds.

    Raises:
        TableError: there is no such column, or it holds lists, records or bytes.

    """
    values = table.column(name)
    dtype = values.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise table.error(f"{name} holds {dtype}; a column is of numbers, words or times")
    if dtype.is_float():
        return values.fill_nan(None)
    if dtype in (pl.Categorical, pl.Enum, pl.Null):
        return values.cast(pl.String)
    if dtype in (pl.Duration, pl.Time):
        micro = values.dt.total_microseconds() if dtype == pl.Duration else values.cast(pl.Int64) // 1000
        return pl.Series(name, micro.cast(pl.Float64).to_numpy() / 1e6, nan_to_null=True)
    return values.cast(pl.Float64) if dtype.is_decimal() else values


def matching(table: Table, name: str) -> list[str]:
    """Return the columns that a name with `*` matches; a name without it stands for itself."""
    if "*" not in name or name in table.frame.columns:
        return [name]
    found = [column for column in table.frame.columns if fnmatchcase(column, name.replace("[", "[[]"))]
    if not found:
        raise table.error(f"no column matches {name!r}; it has {', '.join(table.frame.columns)}")
    return found


def numbers(table: Table, name: str) -> Doubles:
    """Return a column as finite float32-sized numbers, NaN where it is empty."""
    raw = column(table, name)
    if raw.dtype.is_temporal():
        raise table.error(f"{name} holds dates, which are no numbers; name it as data.time, or remove it")
    plain = _plain(raw, table) if raw.dtype == pl.String else raw
    values = plain.cast(pl.Float64, strict=False)
    wrong = raw.is_not_null() & (values.is_null() | ~(values.abs() <= LARGEST))
    if wrong.any():
        row = int(wrong.arg_true()[0])
        groups = " or data.thousands = ','" if re.search(r"\d,\d{3}\b", str(raw[row])) else ""
        hint = f"; data.decimal = ','{groups} reads it" if "," in str(raw[row]) and table.decimal == "." else ""
        fix = hint or "; mend it, empty it and give the feature a rule for gaps, or make it a category"
        raise table.error(f"{name} is {raw[row]!r}, which is no finite number{fix}", row=row)
    return values.fill_null(float("nan")).to_numpy()


def _plain(raw: pl.Series, table: Table) -> pl.Series:
    """Remove separators of thousands, and write the fraction after a point.

    Without `thousands` they are seen where some value has both a separator and a fraction. Points that may be either,
    in a table of decimal commas, are an error.
    """
    mark, decimal = table.thousands, table.decimal
    other = "," if decimal == "." else "."
    if mark is None and raw.str.contains(rf"^-?\d{{1,3}}([{other}]\d{{3}})+[{decimal}]\d*$").any():
        mark = other
    grouped = raw.str.contains(r"^[-+]?[1-9]\d{0,2}(\.\d{3})+$")
    if mark is None and decimal == "," and grouped.any() and (raw.str.contains(".", literal=True) == grouped).all():
        row = int(grouped.arg_true()[0])
        fix = "name data.thousands = '.' if its points are between groups of digits, or write decimal commas"
        raise table.error(f"{raw.name} is {raw[row]!r}, and data.decimal is ',': {fix}", row=row)
    if mark is not None:
        group = {" ": SPACES, "'": "['’]"}.get(mark, f"[{mark}]")
        grouped = raw.str.contains(rf"^[-+]?\d{{1,3}}({group}\d{{2,3}})*{group}\d{{3}}([{decimal}]\d*)?$")
        raw = pl.select(pl.when(grouped).then(raw.str.replace_all(group, "")).otherwise(raw)).to_series()
    return raw.str.replace(decimal, ".", literal=True)


def float32(table: Table, name: str, values: Doubles) -> Floats:
    """Return numbers [N] as float32, which a model's file takes.

    Raises:
        TableError: float32 cannot tell them apart: the rounding errors exceed 1 % of their deviation.

    """
    if not survives(values):
        raise table.error(
            f"{name} varies by {np.nanstd(values):.3g} around {np.nanmean(values):.10g}, which float32 cannot tell, "
            "and models take and give float32; subtract a constant from the column, or use the differences of its rows"
        )
    return values.astype(np.float32)


def survives(values: Doubles) -> bool:
    """Return whether float32 can tell numbers [N] apart: its rounding errors are below 1 % of their deviation."""
    known = values[~np.isnan(values)]
    if np.unique(known).size < 2:
        return True
    size = np.abs(known).max()  # squares of 1e-300 are 0
    lost = (known - known.astype(np.float32)) / size
    return float(np.std(lost)) <= ROUNDING * float(np.std(known / size))


def words(table: Table, name: str) -> pl.Series:
    """Return a column as text, null where it is empty. Whole numbers give the same text from every kind of file."""
    values = column(table, name)
    if values.dtype.is_float() and values.equals((integers := values.cast(pl.Int64, strict=False)).cast(values.dtype)):
        values = integers
    return whole(values.cast(pl.String))


def whole(text: pl.Series) -> pl.Series:
    """Return words as they are; if all are whole numbers, some written 1.0, without the fraction."""
    if bool(text.drop_nulls().str.contains(r"^-?\d+(\.0+)?$").all()):
        return text.str.replace(r"\.0+$", "")
    return text
