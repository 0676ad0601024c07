"""One clock: training and the client read the same codes off the same times."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from carousel_client import InvalidInput, Preparation
from training.data.clock import calendar
from training.data.sources import Table, TableFile
from training.errors import TableError

NAMES = ("hour", "weekday", "month")
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")
OFFSETS = st.integers(-14 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))
NEAR_A_CHANGE = st.sampled_from(
    [datetime(2023, 10, 29), datetime(2024, 3, 31), datetime(2024, 11, 3), datetime(1999, 12, 31)]
)
MOMENTS = st.one_of(
    st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)),
    st.builds(lambda day, minutes: day + timedelta(minutes=minutes), NEAR_A_CHANGE, st.integers(-600, 900)),
).map(lambda time: time.replace(microsecond=0))


@st.composite
def written(draw: st.DrawFn) -> list[datetime]:
    """Times of one table: all without an offset, or each with one of its own, or as a zone has them."""
    moments = draw(st.lists(MOMENTS, min_size=1, max_size=20))
    kind = draw(st.sampled_from(["local", "offsets", "zone"]))
    if kind == "local":
        return moments
    if kind == "offsets":
        return [moment.replace(tzinfo=draw(OFFSETS)) for moment in moments]
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    whole = [moment.replace(tzinfo=UTC).astimezone(zone) for moment in moments]
    return [time for time in whole if time.utcoffset() % timedelta(minutes=1) == timedelta(0)] or moments  # type: ignore[operator]


def trained(table: Table) -> tuple[list[Any], np.ndarray[Any, Any]]:
    """The calendar features as the file has them, and their codes in training [N, 3]."""
    features, codes = zip(*(calendar(table, name) for name in NAMES), strict=True)
    told = [{"name": one.name, "calendar": one.calendar} for one in features]
    for one, feature in zip(told, features, strict=True):
        one |= {key: value for key in ("zone", "offsets") if (value := getattr(feature, key)) is not None}
    return told, np.stack(codes, axis=1)


def live(told: list[Any], times: list[datetime]) -> np.ndarray[Any, Any]:
    description: Any = {"name": "m", "version": "1", "features": told}
    return Preparation(description).rows(np.full((len(times), 3), np.nan), times)


@given(written(), st.none() | st.sampled_from(ZONES), st.sampled_from(["T", " "]))
def test_the_same_table_gives_the_same_codes_in_training_and_through_preparation(
    times: list[datetime], zone: str | None, between: str
) -> None:
    frame = pl.DataFrame({"time": [time.isoformat(between) for time in times]})
    told, codes = trained(Table(frame, "table", "", time="time", zone=zone))
    assert live(told, times).tobytes() == codes.tobytes()


@given(st.lists(MOMENTS, min_size=1, max_size=9), st.sampled_from(ZONES), st.none() | st.sampled_from(ZONES))
def test_times_with_a_zone_from_parquet_count_as_their_zone_shows_them(
    moments: list[datetime], column: str, zone: str | None
) -> None:
    times = [moment.replace(tzinfo=UTC).astimezone(ZoneInfo(column)) for moment in moments]
    frame = pl.DataFrame({"time": pl.Series(times, dtype=pl.Datetime("us", column))})
    told, codes = trained(Table(frame, "table", "", time="time", zone=zone))
    assert live(told, times).tobytes() == codes.tobytes()


def test_a_time_counts_as_it_is_written_and_rows_are_ordered_by_the_moment() -> None:
    frame = pl.DataFrame(
        {"time": ["2023-10-29T02:30:00+02:00", "2023-10-29T02:30:00+01:00", "2023-10-29T05:00:00+05:30"]}
    )
    _, codes = trained(Table(frame, "table", "", time="time"))
    assert codes[:, 0].tolist() == [2, 2, 5]
    told, codes = trained(Table(frame, "table", "", time="time", zone="UTC"))
    assert codes[:, 0].tolist() == [0, 1, 23]
    assert told[0] == {"name": "hour", "calendar": "hour", "zone": "UTC", "offsets": True}


@pytest.mark.parametrize(
    ("written", "how", "hour"),
    [
        *(("20240701T1200Z", None, 14), ("2024-07-01 12Z", None, 14), ("2024-07-01 1200+00", None, 14)),
        *(("2024-07-01T08:00-04:00[America/New_York]", None, 14), ("2024-07-01T12:00[Europe/Paris]", None, 12)),
        *(("1.719835200e+09", "epoch s", 14), ("2024070112", "%Y%m%d%H", 12), ("1/7/24 1200Z", "%d/%m/%y %H%M%z", 14)),
        *(("1 Jul 2024", None, 0), ("July 1, 2024 12:00 PM", None, 12), ("12:00 01-07-2024", "%H:%M %d-%m-%Y", 12)),
    ],
)  # fmt: skip
def test_with_a_zone_times_are_converted_where_they_name_an_offset(written: str, how: str | None, hour: int) -> None:
    frame = pl.DataFrame({"time": [written]})
    told, codes = trained(Table(frame, "t", "", time="time", time_format=how, zone="Europe/Paris"))
    assert (codes[0, 0], told[0].get("offsets", False)) == (hour, hour == 14)


def test_with_a_zone_a_time_without_an_offset_is_refused_where_training_had_offsets() -> None:
    told, _ = trained(
        Table(pl.DataFrame({"time": ["2024-01-01T00:00Z"]}), "table", "", time="time", zone="Europe/Paris")
    )
    with pytest.raises(InvalidInput, match="has no offset; hour is read in Europe/Paris: give an aware datetime"):
        live(told, [datetime(2024, 1, 1)])
    mixed = Table(pl.DataFrame({"time": ["2024-01-01T00:00Z", "2024-01-01 01:00"]}), "t", "", time="time", zone="UTC")
    with pytest.raises(TableError, match="t: row 1: time has no offset here, and has one elsewhere"):
        trained(mixed)


def test_a_zone_that_does_not_exist_is_refused_by_the_recipe_and_by_the_client() -> None:
    with pytest.raises(ValidationError, match="no time zone 'Europe/Pariss'; did you mean Europe/Paris"):
        TableFile(path=Path("x.csv"), zone="Europe/Pariss")
    for name in ("Europe/Pariss", "../etc/passwd"):
        told: Any = {"name": "m", "version": "1", "features": [{"name": "hour", "calendar": "hour", "zone": name}]}
        with pytest.raises(InvalidInput, match=f"hour needs the time zone '{name}': install the package tzdata"):
            Preparation(told)
