from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from training.data.sources import Table
from training.data.times import times
from training.errors import TableError


def table(*values: object, **settings: object) -> Table:
    lines = np.arange(2, len(values) + 2)
    return Table(pl.DataFrame({"x": list(values)}), "t.csv", "", lines=lines, **settings)  # type: ignore[arg-type]


def hours(*values: str, **settings: object) -> list[str]:
    return [str(time)[:16] for time in times(table(*values, **settings), "x")]


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
    ("written", "how"),
    [
        ("31.01.24 13h30", "%d.%m.%y %Hh%M"),
        ("1706707800", "epoch s"),
        ("1706707800000000000", "epoch ns"),
        (202401311330, "%Y%m%d%H%M"),
        (2024013113, "%Y%m%d%H"),
        ("31.01.2024 13 Uhr", "%d.%m.%Y %H Uhr"),
        ("1 PM, Jan 31 2024", "%I %p, %b %d %Y"),
        ("2024-01-31 13:30Z", "%Y-%m-%d %H:%M%z"),
    ],
)
def test_a_time_may_be_written_in_a_format_of_its_own(written: object, how: str) -> None:
    found = hours(written, time="x", time_format=how)  # type: ignore[arg-type]
    assert found[0].startswith("2024-01-31T13:")


def test_a_fraction_is_one_and_a_month_its_first_day() -> None:
    fraction = table("2024-01-31 13:30:00.25", time="x", time_format="%Y-%m-%d %H:%M:%S.%f")
    assert str(times(fraction, "x")[0]) == "2024-01-31T13:30:00.250000"
    assert hours("Jan 2024", time="x", time_format="%b %Y") == ["2024-01-01T00:00"]


@pytest.mark.parametrize(("written", "how"), [("31.01.24", "%d.%m.%Y"), ("31.01. 13:30", "%d.%m. %H:%M")])
def test_a_year_that_is_not_written_or_of_two_digits_is_none(written: str, how: str) -> None:
    with pytest.raises(TableError, match=r"which is not written as data\.time_format"):
        times(table(written, time="x", time_format=how), "x")


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
        ("Wed Jan 31 13:30:00 +0200 2024", {"time": "x", "time_format": "%a %b %d %H:%M:%S %z %Y"}),
        (datetime(2024, 1, 31, 13, 30, tzinfo=ZoneInfo("Europe/Paris")), {}),
    ],
)
def test_a_wall_clock_is_the_time_as_it_is_written(written: object, settings: dict[str, str]) -> None:
    found = times(table(written, **settings), "x", wall=True)
    assert str(found[0]).startswith("2024-01-31T13:30")
    assert not str(times(table(written, **settings), "x")[0]).startswith("2024-01-31T13:30")
