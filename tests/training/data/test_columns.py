from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from training.data.columns import numbers, times, words
from training.data.sources import Table
from training.errors import TableError


def table(*values: object, **settings: object) -> Table:
    lines = np.arange(2, len(values) + 2)
    return Table(pl.DataFrame({"x": list(values)}), "t.csv", "", lines=lines, **settings)  # type: ignore[arg-type]


def hours(*values: str, **settings: object) -> list[str]:
    return [str(time)[:16] for time in times(table(*values, **settings), "x")]


def test_numbers_are_read_from_text_and_an_empty_one_is_nan() -> None:
    np.testing.assert_array_equal(numbers(table("1", "-2.5e3", None), "x"), [1, -2500, np.nan])
    np.testing.assert_array_equal(numbers(table("1,5", decimal=","), "x"), [1.5])
    np.testing.assert_array_equal(numbers(table(1, None, 3), "x"), [1, np.nan, 3])


def test_thousands_may_be_grouped_where_a_fraction_tells_the_two_marks_apart() -> None:
    np.testing.assert_array_equal(
        numbers(table("1.192,5", "-1.234.567", "12", decimal=","), "x"), [1192.5, -1234567, 12]
    )
    np.testing.assert_array_equal(numbers(table("1,192.5", "1,000"), "x"), [1192.5, 1000])
    np.testing.assert_array_equal(numbers(table("1.192", "0,5", decimal=","), "x"), [1.192, 0.5])


@pytest.mark.parametrize("wrong", ["ten", "inf", "1e39", "1 000"])
def test_text_in_a_number_column_is_an_error_that_names_the_line(wrong: str) -> None:
    with pytest.raises(TableError, match=rf"t\.csv: line 3: x is '{wrong}', which is no finite number"):
        numbers(table("1", wrong), "x")


def test_a_column_of_lists_is_an_error_that_names_it() -> None:
    with pytest.raises(TableError, match=r"t\.csv: x holds List\(Int64\); a column is of numbers, words or times"):
        numbers(table([1, 2]), "x")


def test_a_decimal_comma_is_told_how_to_be_read() -> None:
    with pytest.raises(TableError, match=r"data\.decimal = ',' reads it"):
        numbers(table("1,5"), "x")


def test_an_unknown_column_is_an_error_that_guesses_what_was_meant() -> None:
    with pytest.raises(TableError, match=r"t\.csv: no column 'xx'; did you mean 'x'\?"):
        numbers(table("1"), "xx")


def test_whole_numbers_look_the_same_however_they_were_read() -> None:
    assert words(table(1.0, 2.0, None), "x").to_list() == words(table("1", "2", None), "x").to_list()


def test_a_column_may_write_dates_in_more_ways_than_one() -> None:
    same = (
        "2024-01-31 13:30",
        "2024-01-31T13:30:00Z",
        "2024-01-31T15:30:00+02:00",
        "31.01.2024 13:30",
        "31/01/2024 13:30",
    )
    assert hours(*same) == ["2024-01-31T13:30"] * 5
    assert hours("2024/01/31", "31-01-2024") == ["2024-01-31T00:00"] * 2
    assert hours("01/31/2024", "02/01/2024") == ["2024-01-31T00:00", "2024-02-01T00:00"]
    assert hours("02/01/2024", day_first=True) == ["2024-01-02T00:00"]


def test_a_date_that_could_be_two_is_an_error_that_asks() -> None:
    with pytest.raises(TableError, match=r"is the day first\? Say data\.day_first"):
        hours("02/01/2024", "03/01/2024")


@pytest.mark.parametrize(("wrong", "complaint"), [("soon", "is no date and time"), (None, "every row needs its time")])
def test_what_is_no_time_is_an_error_that_names_the_line(wrong: str | None, complaint: str) -> None:
    with pytest.raises(TableError, match=rf"line 3: .*{complaint}"):
        times(table("2024-01-31", wrong), "x")


def test_a_time_may_be_a_count() -> None:
    np.testing.assert_array_equal(times(table("1", "2"), "x"), [1, 2])


@pytest.mark.parametrize(
    ("written", "settings", "meant"),
    [
        (["1,520", "987", "1,234,567.5"], {"thousands": ","}, [1520, 987, 1234567.5]),
        (["1.520", "987", "0,5"], {"thousands": ".", "decimal": ","}, [1520, 987, 0.5]),
        (["1 520", "1\u00a0520", "1\u202f520,5"], {"thousands": " ", "decimal": ","}, [1520, 1520, 1520.5]),
        (["1'520", "1’520"], {"thousands": "'"}, [1520, 1520]),
        (["12,34,567"], {"thousands": ","}, [1234567]),
    ],
)
def test_marks_of_thousands_are_removed(written: list[str], settings: dict[str, str], meant: list[float]) -> None:
    np.testing.assert_array_equal(numbers(table(*written, **settings), "x"), meant)


@pytest.mark.parametrize("wrong", ["1,52", "1,5200", ",520", "1,520,5"])
def test_a_mark_of_thousands_in_another_place_is_an_error(wrong: str) -> None:
    with pytest.raises(TableError, match="is no finite number"):
        numbers(table(wrong, thousands=","), "x")


@pytest.mark.parametrize(
    ("written", "how"),
    [
        ("31.01.24 13h30", "%d.%m.%y %Hh%M"),
        ("1706707800", "epoch s"),
        ("1706707800000000000", "epoch ns"),
        (202401311330, "%Y%m%d%H%M"),
    ],
)
def test_a_time_may_be_written_in_a_format_of_its_own(written: object, how: str) -> None:
    found = hours(written, time="x", time_format=how)  # type: ignore[arg-type]
    assert found[0].startswith("2024-01-31T13:")


def test_a_time_in_another_format_is_an_error_that_names_the_line() -> None:
    with pytest.raises(TableError, match=r"line 3: x is 'soon', which is not written as data\.time_format = '%Y' says"):
        times(table("2024", "soon", time="x", time_format="%Y"), "x")


@pytest.mark.parametrize(
    ("written", "settings"),
    [
        ("2024-01-31T13:30+02:00", {}),
        ("2024-01-31 13:30:00-05", {}),
        ("20240131T133000+0100", {}),
        ("2024-01-31T13:30+01:00[Europe/Paris]", {}),
        ("31.01.24 13h30 +0100", {"time": "x", "time_format": "%d.%m.%y %Hh%M %z"}),
        (datetime(2024, 1, 31, 13, 30, tzinfo=ZoneInfo("Europe/Paris")), {}),
    ],
)
def test_a_wall_clock_is_the_time_as_it_is_written(written: object, settings: dict[str, str]) -> None:
    found = times(table(written, **settings), "x", wall=True)
    assert str(found[0]).startswith("2024-01-31T13:30")
    assert not str(times(table(written, **settings), "x")[0]).startswith("2024-01-31T13:30")
