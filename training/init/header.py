"""Refuse a header of values, one of times (a series a row), and a second line of it, such as of units."""

import re

import polars as pl

from training.data.dates import MONTHS, SAMPLE, readings
from training.data.sources import Table
from training.init import number_marks

NUMBER = r"[-+]?\d+([.,]\d+)?"
TWICE = NUMBER + r"\.\d+"  # 5.2.1 is a second 5.2
YEAR = r"(1[89]|20|21)\d\d"
CLOCK = r"\d{1,2}:\d{2}(:\d{2})?"
HOUR = r"(h|hr|hour|he)[ _]?\d{1,2}"
HOURS = 24  # columns that are hours
FEWEST = 3  # columns that are times


def check(table: Table, time: tuple[str, ...]) -> None:
    """Raise TableError unless the names of the columns are names. `time` is given, or empty to be guessed."""
    columns = table.frame.get_columns()
    numbers = [one.name for one in columns if re.fullmatch(NUMBER, one.name)]
    dates = [one for one in columns if one.name not in numbers and _are_dates(pl.Series([one.name]))]
    twice = (one.name for one in columns if re.fullmatch(TWICE, one.name))
    values = {*numbers, *twice, *(one.name for one in dates)}
    alike = (one.name in values or (one.dtype == pl.String and one.is_in([one.name]).any()) for one in columns)
    if any(map(_are_dates, dates)) or (values and all(alike)):
        raise table.error("its first line holds values; write a line of column names above it")
    _check_units(table)
    years, clocks, hours = (
        [one.name for one in columns if re.fullmatch(how, one.name.lower())] for how in (YEAR, CLOCK, HOUR)
    )
    months = [one.name for one in columns if one.name.lower() in MONTHS]
    times = years or [one.name for one in dates] or months or clocks or hours * (len(hours) >= HOURS)
    if len(times) >= FEWEST and 2 * len(times) >= len(columns) and not time:
        raise table.error(
            f"its columns {times[0]} to {times[-1]} are times: write one row for each time, with a column that tells "
            "the series apart; or say --time none if each row is a time and these are features"
        )


def _check_units(table: Table) -> None:
    """Refuse a first row that holds no value, but units or other words above numbers."""
    filled = [one for one in table.frame.get_columns() if one[0] is not None]
    words = [one for one in filled if one.dtype == pl.String and one[0].lower() not in number_marks.GAPS]
    above = [repr(one[0]) for one in words if 2 * one.str.contains(number_marks.NUMBER).sum() > one.count()]
    if above and not any(one.dtype != pl.String or _is_value(one) for one in filled):
        raise table.error(
            f"holds {', '.join(above)} above numbers: a table has one line of names, its first, and none of units",
            row=0,
        )


def _is_value(column: pl.Series) -> bool:
    """Return whether the first cell is a number or a date, or a word that other rows have."""
    first = column[:1]
    written = first.str.contains(number_marks.NUMBER).any() or _are_dates(first)
    return bool(written or (first[0].lower() not in number_marks.GAPS and column[1:].is_in([first[0]]).any()))


def _are_dates(values: pl.Series) -> bool:
    return values.dtype == pl.String and bool(readings(values.drop_nulls().head(SAMPLE)))
