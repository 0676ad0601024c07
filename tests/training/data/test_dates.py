from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.dates import readings


def read(*values: str) -> dict[str, list[str]]:
    found = readings(pl.Series(values))
    return {order: [f"{time:%Y-%m-%d %H:%M:%S}" for time in times] for order, times in found.items()}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-01-31", "2024-01-31 00:00:00"),
        ("2024/1/31 7:05", "2024-01-31 07:05:00"),
        ("2024.01.31 13:30:05.25", "2024-01-31 13:30:05"),
        ("2024-01-31T13:30", "2024-01-31 13:30:00"),
        ("20240131T133000Z", "2024-01-31 13:30:00"),
        ("2024-01-31 13", "2024-01-31 13:00:00"),
        ("2024-01", "2024-01-01 00:00:00"),
        ("31.01.2024 13:30", "2024-01-31 13:30:00"),
        ("31/01/2024 13:30", "2024-01-31 13:30:00"),
        ("1/31/2024 1:30 PM", "2024-01-31 13:30:00"),
        ("1/31/24 12:00 am", "2024-01-31 00:00:00"),
        ("1/31/24 12:15 p.m.", "2024-01-31 12:15:00"),
        ("31 Jan 2024", "2024-01-31 00:00:00"),
        ("31-Jan-24 13:30", "2024-01-31 13:30:00"),
        ("31-JAN-99", "1999-01-31 00:00:00"),
        ("January 31, 2024", "2024-01-31 00:00:00"),
        ("Jan 31 2024 1:30 pm", "2024-01-31 13:30:00"),
        ("Sept 2024", "2024-09-01 00:00:00"),
        ("Wed, 31 Jan 2024 13:30:00 GMT", "2024-01-31 13:30:00"),
        ("31/Jan/2024:13:30:00 +0100", "2024-01-31 12:30:00"),
        ("2024-01-31 24:00", "2024-02-01 00:00:00"),
        ("2024-01-31T13:30+01:00", "2024-01-31 12:30:00"),
        ("2024-01-31 13:30:00+00", "2024-01-31 13:30:00"),
        ("2024-01-31 13:30:00-0330", "2024-01-31 17:00:00"),
        ("2024-01-31T13:30+01:00[Europe/Paris]", "2024-01-31 12:30:00"),
        ("2024-01-31 13:30 UTC", "2024-01-31 13:30:00"),
        ("2024Q3", "2024-07-01 00:00:00"),
        ("3Q2024", "2024-07-01 00:00:00"),
        ("2024M07", "2024-07-01 00:00:00"),
        ("2024 Q4", "2024-10-01 00:00:00"),
        ("q1-2024", "2024-01-01 00:00:00"),
        ("2024-W05", "2024-01-29 00:00:00"),
        ("2026w53", "2026-12-28 00:00:00"),
    ],
)
def test_a_date_is_read_in_any_of_its_spellings(written: str, meant: str) -> None:
    assert list(read(written).values()) == [[meant]]


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "5",
        "soon",
        "2024-02-30",
        "2024-13-01",
        "24:00",
        "2024-01-31 24:01",
        "1/31/2024 13:30 PM",
        "Marble 3 2024",
        "2024 Q5",
        "2025-W53",
        "2024-W0",
    ],
)
def test_what_is_no_date_has_no_reading(wrong: str) -> None:
    assert read(wrong) == {}


def test_a_date_with_the_year_last_may_have_two_readings_and_other_rows_decide() -> None:
    assert read("02/01/2024") == {"dmy": ["2024-01-02 00:00:00"], "mdy": ["2024-02-01 00:00:00"]}
    assert list(read("02/01/2024", "13/01/2024")) == ["dmy"]
    assert list(read("02/01/2024", "01/13/2024")) == ["mdy"]
    assert read("13/01/2024", "01/13/2024") == {}
    assert list(read("02-01-03")) == ["dmy", "mdy", "ymd"]


@pytest.mark.parametrize(
    ("written", "first"),
    [(("68", "69", "92"), 1968), (("65", "99", "00", "05"), 1965), (("99", "00", "30"), 1999), (("68",), 2068)],
)
def test_years_of_two_digits_follow_one_another(written: tuple[str, ...], first: int) -> None:
    found = read(*(f"31.01.{year}" for year in written))["dmy"]
    assert found == sorted(found)
    assert found[0] == f"{first}-01-31 00:00:00"


def test_a_date_with_dots_never_has_the_month_first() -> None:
    assert list(read("02.01.2024")) == ["dmy"]
    assert list(read("13.01.24")) == ["dmy", "ymd"]


@given(
    st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
    st.sampled_from(["hours", "minutes", "milliseconds", "auto"]),
)
def test_any_iso_time_with_an_offset_is_read_as_its_moment(
    time: datetime, minutes: int, between: str, until: str
) -> None:
    aware = time.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    written = aware.isoformat(between, until)
    (found,) = readings(pl.Series([written])).values()
    assert found[0] == datetime.fromisoformat(written).astimezone(UTC).replace(tzinfo=None)
