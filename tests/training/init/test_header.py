"""Names of columns that are none: a first line of values, a second header, and times as columns."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.training.init.drafts import START, drafted, features, hours, table, value
from training.errors import TableError

DAYS = [START + timedelta(days=i) for i in range(40)]


@pytest.mark.parametrize(
    "rows",
    [
        [(i, value(i)) for i in range(60)],
        [(t, value(i)) for i, t in enumerate(hours())],
        [(t, value(i), f"note {i}") for i, t in enumerate(hours())],
        [(value(i), value(2 * i), "ab"[i % 2]) for i in range(60)],
    ],
)
def test_a_first_line_of_values_stops_it(rows: list[tuple[object, ...]], tmp_path: Path) -> None:
    header = ",".join(map(str, rows[0]))
    with pytest.raises(TableError, match="its first line holds values; write a line of column names above it"):
        drafted(tmp_path, table(header, rows[1:]))


@pytest.mark.parametrize(
    "names",
    [
        *([f"{1990 + i}" for i in range(30)], [f"{day:%Y-%m-%d}" for day in DAYS], [f"{day:%m/%d/%y}" for day in DAYS]),
        *(["Jan", "Feb", "Mar", "Apr"], [f"{hour}:00" for hour in range(24)], [f"h{hour}" for hour in range(24)]),
    ],
)
def test_times_as_columns_stop_it_and_an_option_takes_them_as_features(names: list[str], tmp_path: Path) -> None:
    rows = [(f"c{row}", *(value(row + i) for i in range(len(names)))) for row in range(60)]
    text = table(",".join(["country", *names]), rows)
    with pytest.raises(TableError, match=f"its columns {names[0]} to {names[-1]} are times: write one row for each"):
        drafted(tmp_path, text)
    assert features(drafted(tmp_path, text, time=("none",))) == names


@pytest.mark.parametrize("first", [("", "°C", "", "kW"), ("UTC", "°C", "-", "kW"), ("time", "temp", "wx", "load")])
def test_a_line_of_units_or_names_above_numbers_stops_it(first: tuple[str, ...], tmp_path: Path) -> None:
    rows = [(t, value(2 * i), "ab"[i % 2], value(i)) for i, t in enumerate(hours())]
    with pytest.raises(
        TableError, match=f"line 2: holds '{first[1]}', '{first[3]}' above numbers: a table has one line of names"
    ):
        drafted(tmp_path, table("time,temp,wx,load", [first, *rows]))
    with pytest.raises(TableError, match="line 2: holds 'kW' above numbers"):
        drafted(tmp_path, table("load", [("kW",), *[row[3:] for row in rows]]))


def test_a_first_row_with_a_gap_or_a_word_of_other_rows_is_no_line_of_units(tmp_path: Path) -> None:
    rows = [(value(i), "ab"[i % 2], value(2 * i)) for i in range(60)]
    for first in (("-", "-", "?"), ("", "a", "error"), (5, "", "error")):
        assert "y" in features(drafted(tmp_path, table("y,wx,x", [first, *rows])))


def test_names_that_are_words_of_their_columns_or_numbers_are_names(tmp_path: Path) -> None:
    assert features(drafted(tmp_path, table("a", [("abcd"[i * i % 4],) for i in range(60)]))) == ["a"]
    pl.DataFrame({"time": hours(), "1": [value(i) for i in range(120)]}).write_parquet(tmp_path / "t.parquet")
    assert features(drafted(tmp_path, (tmp_path / "t.parquet").read_bytes(), "t.parquet")) == ["1", "hour"]
    rows = [(t, value(i), value(2 * i), value(3 * i)) for i, t in enumerate(hours())]
    assert features(drafted(tmp_path, table("time,1,2,3", rows)))[:3] == ["1", "2", "3"]
