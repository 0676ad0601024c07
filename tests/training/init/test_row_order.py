from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from tests.training.init.drafts import START, drafted, features, first, hours, loaded, series, table, told, value
from training.errors import TableError


@pytest.mark.parametrize(
    "written",
    [
        *("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M+01:00", "%Y-%m-%d %H:%M:%S+00", "%d.%m.%y %H:%M", "%d/%m/%y %H:%M"),
        *("%m/%d/%y %H:%M", "%y-%m-%d %H:%M", "%y/%m/%d %H:%M", "%d/%m/%Y %I:%M:%S %p", "%b %d, %Y %H:%M", "%s"),
        *("%d-%b-%y %H:%M", "%Y%m%d%H", "%Y%m%d%H%M", "%s000", "%s000000", "%s000000000"),
    ],
)
def test_times_are_found_and_read_as_they_are_written(written: str, tmp_path: Path) -> None:
    drafted(tmp_path, series(written.replace(",", "")))
    times = loaded(tmp_path).training[0].sequence.times.tolist()
    assert [one.year for one in times[:2]] == [2024, 2024]
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(hours=1)}


@pytest.mark.parametrize(("written", "day_first"), [("%d/%m/%Y %H:%M", True), ("%m/%d/%Y %H:%M", False)])
def test_dates_that_other_rows_do_not_prove_are_read_so_that_rows_are_evenly_apart(
    written: str, day_first: bool, tmp_path: Path
) -> None:
    assert told(drafted(tmp_path, series(written, start=datetime(2024, 3, 1)))) == {
        "time": "when",
        "day_first": day_first,
    }


@pytest.mark.parametrize("written", ["%d/%m/%Y", "%m/%d/%Y"])
def test_months_are_evenly_apart_too(written: str, tmp_path: Path) -> None:
    months = [date(2000 + i // 12, i % 12 + 1, 1) for i in range(60)]
    made = drafted(tmp_path, table("month,x", [(f"{one:{written}}", value(i)) for i, one in enumerate(months)]))
    assert told(made)["day_first"] is (written == "%d/%m/%Y")


def test_months_may_be_whole_numbers(tmp_path: Path) -> None:
    rows = [(f"{1980 + i // 12}{i % 12 + 1:02d}", value(i)) for i in range(60)]
    assert told(drafted(tmp_path, table("date,x", rows))) == {"time": "date", "time_format": "%Y%m"}
    assert told(drafted(tmp_path, table("meter,x", rows))) == {}


def test_an_id_with_empty_cells_is_named_where_it_might_explain_the_times(tmp_path: Path) -> None:
    rows = [(time, country, value(i)) for i, time in enumerate(hours(40)) for country in ("NA", "DE")]
    with pytest.raises(TableError, match=r"no column explains why \(country is empty in line 2; data\.empty tells"):
        drafted(tmp_path, table("time,country,load", rows))


def test_dates_of_which_two_readings_are_even_stop_it_and_a_format_decides(tmp_path: Path) -> None:
    days = [date(2024, 5, 1) + timedelta(days=i) for i in range(12)]
    text = table("d,x", [(f"{one:%d/%m/%Y}", value(i)) for i, one in enumerate(days)])
    with pytest.raises(TableError, match=r"can be read day first or month first, and both .* --time-format"):
        drafted(tmp_path, text)
    made = drafted(tmp_path, text, settings={"time_format": "%d/%m/%Y"})
    assert told(made) == {"time": "d", "time_format": "%d/%m/%Y"}
    with pytest.raises(TableError, match=r"line 2: d is '.*', which is not written as data.time_format = '%d.%m.%Y'"):
        drafted(tmp_path, text, settings={"time_format": "%d.%m.%Y"})


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("date,time", "%Y-%m-%d,%H:%M"),
        ("date,hour", "%d/%m/%Y,%H"),
        ("year,month,day,hour", "%Y,%m,%d,%H"),
        ("Year,Month,Day", "%Y,%m,%d"),
        ("year,month,day,hour,minute,second", "%Y,%m,%d,%H,%M,%S"),
    ],
)
def test_a_time_in_several_columns_is_one(header: str, cells: str, tmp_path: Path) -> None:
    step = timedelta(hours=1) if "%H" in cells else timedelta(days=1)
    rows = [(*f"{START + i * step:{cells}}".split(","), value(i)) for i in range(120)]
    made = drafted(tmp_path, table(header + ",load", rows))
    assert told(made)["time"] == header.split(",")
    times = loaded(tmp_path).training[0].sequence.times.tolist()
    assert times[1] - times[0] == step


@pytest.mark.parametrize(
    ("header", "rows", "second"),
    [
        ("year,quarter", [(2000 + i // 4, i % 4 + 1) for i in range(120)], date(2000, 4, 1)),
        ("YEAR,Qtr", [(f"{2000 + i // 4}.0", f"{i % 4 + 1}.0") for i in range(120)], date(2000, 4, 1)),
        ("year,quarter", [(2000 + i // 4, f"Q{i % 4 + 1}") for i in range(120)], date(2000, 4, 1)),
        ("year,week", [(2001 + i // 52, i % 52 + 1) for i in range(120)], date(2001, 1, 8)),
        ("year,quarter,month", [(2000 + i // 12, i % 12 // 3 + 1, i % 12 + 1) for i in range(120)], date(2000, 2, 1)),
    ],
)
def test_a_year_and_its_quarter_or_week_are_a_time(
    header: str, rows: list[tuple[object, ...]], second: date, tmp_path: Path
) -> None:
    made = drafted(tmp_path, table(header + ",gdp", [(*row, value(i)) for i, row in enumerate(rows)]))
    names = header.split(",")
    assert told(made)["time"] == [names[0], names[-1]]
    assert loaded(tmp_path).training[0].sequence.times.tolist()[1] == datetime(second.year, second.month, second.day)
    assert "month" in features(made)


def test_a_week_that_its_year_has_not_is_no_time(tmp_path: Path) -> None:
    rows = [(2001 + i // 53, i % 53 + 1, value(i)) for i in range(120)]
    assert "time" not in told(drafted(tmp_path, table("year,week,x", rows)))


def test_hours_from_1_to_24_end_at_midnight(tmp_path: Path) -> None:
    rows = [(f"{time:%Y-%m-%d}", time.hour + 1, value(i)) for i, time in enumerate(hours())]
    drafted(tmp_path, table("date,hour,load", rows))
    assert loaded(tmp_path).training[0].sequence.times.tolist()[23] == datetime(2024, 1, 14)


@pytest.mark.parametrize("written", ["%Y-%m-%d %H:%M", "%s", "%d.%m.%y %H:%M"])
def test_a_table_with_the_newest_row_first_is_turned_round(written: str, tmp_path: Path) -> None:
    header, *rows = series(written).splitlines()
    made = drafted(tmp_path, "\n".join([header, *reversed(rows)]))
    assert "gap" not in told(made)
    assert first(tmp_path, "load") == pytest.approx(value(0))
    assert any("newest first" in note.why for note in made.notes)


def test_a_doubled_row_or_hour_is_left_out_and_said(tmp_path: Path) -> None:
    clock = hours()
    doubled = [*clock[:50], clock[49], *clock[50:]]
    summer_ends = [*clock[:50], *(time - timedelta(hours=1) for time in clock[50:])]
    for times in (doubled, summer_ends):
        made = drafted(tmp_path, table("time,load,level", [(time, value(i), i % 7) for i, time in enumerate(times)]))
        assert told(made) == {"time": "time", "repeats": "first"}
        assert any("1 rows, the first in line 52" in note.why for note in made.notes)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([(date(1950 + i * 37 % 50, 1 + i % 12, 1), value(i)) for i in range(60)], "d holds dates that neither rise"),
        (
            [("soon" if i == 5 else time, value(i)) for i, time in enumerate(hours())],
            "line 7: d is 'soon', which",
        ),
        ([("" if i == 5 else time, value(i)) for i, time in enumerate(hours())], "line 7: d is empty"),
        ([(f"{1749 + i // 12}-{i % 12 + 1:02}", value(i)) for i in range(60)], "d holds dates from 1749"),
    ],
)
def test_dates_that_do_not_explain_the_rows_stop_it_and_an_option_decides(
    rows: list[tuple[object, ...]], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(TableError, match=f"{complaint}.*--time"):
        drafted(tmp_path, table("d,x", rows))
    assert "time" not in told(drafted(tmp_path, table("d,x", rows), time=("none",)))


def test_an_unlikely_date_is_named_by_its_line(tmp_path: Path) -> None:
    rows = [(t, value(i)) for i, t in enumerate(hours())] + [("9999-12-31 00:00", 1)]
    with pytest.raises(TableError, match="line 122: d is '9999-12-31 00:00', an unlikely date: take it by --time 'd'"):
        drafted(tmp_path, table("d,x", rows))


def test_an_unlikely_date_of_a_parquet_file_is_named_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"d": [*hours(), datetime(9999, 12, 31)], "x": [value(i) for i in range(121)]}).write_parquet(path)
    with pytest.raises(TableError, match="row 120: d is '9999-12-31 00:00:00', an unlikely date"):
        drafted(tmp_path, path.read_bytes(), path.name)


@pytest.mark.parametrize("written", ["{0:%d.%m.%Y %H:%M} - {1:%d.%m.%Y %H:%M}", "[{0:%d/%b/%Y:%H:%M:%S}]"])
def test_cells_that_begin_with_a_date_and_are_none_stop_it_whatever_their_column_is_called(
    written: str, tmp_path: Path
) -> None:
    rows = [(written.format(t, t + timedelta(hours=1)), value(i)) for i, t in enumerate(hours())]
    with pytest.raises(TableError, match=r"line 2: MTU is .*, which is no date and time"):
        drafted(tmp_path, table("MTU,load", rows))


def test_numbers_that_begin_anew_stop_it_where_no_column_tells_sequences_apart(tmp_path: Path) -> None:
    text = table("time_s,load", [(i % 30 / 10, value(i)) for i in range(240)])
    with pytest.raises(TableError, match=r"line 32: time_s begins anew, and no column tells why: .* --sequence"):
        drafted(tmp_path, text)
    assert "time" not in told(drafted(tmp_path, text, time=("none",)))
    fields = table("hour,load", [(i % 24, value(i)) for i in range(240)])
    assert features(drafted(tmp_path, fields)) == ["hour", "load"]


def test_a_number_of_two_digits_for_the_year_is_no_epoch(tmp_path: Path) -> None:
    assert told(drafted(tmp_path, series("%y%m%d%H%M"))) == {"time": "when", "time_format": "%y%m%d%H%M"}


def test_a_number_that_may_begin_with_the_day_or_the_month_stops_it(tmp_path: Path) -> None:
    rows = [(f"{day:02}{month:02}2024", value(day)) for month in (1,) for day in range(1, 13)]
    with pytest.raises(TableError, match="can be read as %d%m%Y or as %m%d%Y, and both are in order"):
        drafted(tmp_path, table("date,x", rows))


def test_a_period_of_the_day_tells_no_sequences_apart(tmp_path: Path) -> None:
    rows = [(START.date() + timedelta(days=i // 48), i % 48 + 1, value(i)) for i in range(480)]
    with pytest.raises(TableError, match="no column explains why"):
        drafted(tmp_path, table("settlement_date,settlement_period,load", rows))


@pytest.mark.parametrize(("name", "time"), [("HE", ["day", "HE"]), ("k", None)])
def test_numbers_from_1_to_24_within_each_day_are_hours_or_stop_it(
    name: str, time: list[str] | None, tmp_path: Path
) -> None:
    text = table(f"day,{name},load", [(START.date() + timedelta(i // 24), i % 24 + 1, value(i)) for i in range(240)])
    if time is not None:
        assert told(drafted(tmp_path, text)) == {"time": time}
        return
    with pytest.raises(TableError, match="no column explains why"):
        drafted(tmp_path, text)


def test_of_two_times_the_one_that_says_the_same_is_left_out_and_another_stops_it(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    made = drafted(tmp_path, table("start,end,load", [(t, t + hour, value(i)) for i, t in enumerate(hours())]))
    assert features(made) == ["load", "hour"]
    uneven = [(t, t + hour + timedelta(minutes=i * i % 50), value(i)) for i, t in enumerate(hours())]
    with pytest.raises(TableError, match="start and end are both times in order; say which by --time"):
        drafted(tmp_path, table("start,end,load", uneven))
    assert told(drafted(tmp_path, table("start,end,load", uneven), time=("end",))) == {"time": "end"}


def test_months_or_weeks_that_cannot_be_read_stop_it_and_a_format_reads_them(tmp_path: Path) -> None:
    text = table("month,load", [(f"{date(2010 + i // 12, i % 12 + 1, 1):%b-%y}", value(i)) for i in range(90)])
    with pytest.raises(TableError, match=r"line 2: month is 'Jan-10', which is no date and time.* or say --time none"):
        drafted(tmp_path, text)
    assert features(drafted(tmp_path, text, settings={"time_format": "%b-%y"})) == ["load", "month"]
