import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.training.init.drafts import drafted, features, hours, loaded, table, told, value
from training.errors import TableError
from training.init.draft import Draft


def task(made: Draft) -> dict[str, Any]:
    return dict(tomllib.loads(made.text)["task"])


def test_columns_that_count_the_rows_or_tell_the_time_again_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [(i, i + 5, i + 1, t, int(t.timestamp() * 1000), value(i)) for i, t in enumerate(hours())]
    made = drafted(tmp_path, table(",Unnamed: 0,nr,time,epoch_ms,load", rows))
    assert features(made) == ["load", "hour"]
    left = {note.column: note.why for note in made.notes if note.role == "left out"}
    assert left == {
        **dict.fromkeys(("column 1", "Unnamed: 0", "nr"), "it counts the rows"),
        "epoch_ms": "it tells the time again, which is time",
    }


def test_a_column_that_is_empty_or_constant_in_the_training_part_is_left_out(tmp_path: Path) -> None:
    rows = [(t, value(i), value(i) if i > 105 else "", i // 110) for i, t in enumerate(hours())]
    made = drafted(tmp_path, table("time,load,co2,flag", rows))
    assert features(made) == ["load", "hour"]
    assert {note.why for note in made.notes if note.role == "left out"} == {
        "it is empty in the whole training part",
        "it is always 0 in the training part",
    }


@pytest.mark.parametrize("first", [3_000_000_000, 2**63])
def test_a_feature_that_float32_cannot_tell_is_left_out(first: int, tmp_path: Path) -> None:
    rows = [(t, first + i * 37 % 90, value(i)) for i, t in enumerate(hours())]
    made = drafted(tmp_path, table("time,ticket,load", rows))
    assert features(made) == ["load", "hour"]
    assert made.refusal is None
    (left,) = [note for note in made.notes if note.role == "left out"]
    assert (left.column, left.why) == ("ticket", "float32, which models take, cannot tell its values apart")


def test_a_column_that_drifts_is_a_feature_and_said(tmp_path: Path) -> None:
    rows = [(t, value(i) + 3 * i, value(i)) for i, t in enumerate(hours())]
    made = drafted(tmp_path, table("time,odometer,load", rows))
    assert features(made) == ["odometer", "load", "hour"]
    assert [note.column for note in made.notes if "it drifts: leave it out if the verdict is bad" in note.why] == [
        "odometer"
    ]


@pytest.mark.parametrize(("years", "kept"), [(1, False), (3, True)])
def test_a_month_is_a_feature_where_the_training_part_has_each(years: int, kept: bool, tmp_path: Path) -> None:
    days = [date(2021, 1, 1) + timedelta(days=i) for i in range(365 * years)]
    made = drafted(tmp_path, table("day,load", [(day, value(i)) for i, day in enumerate(days)]))
    assert features(made) == ["load", "weekday", *["month"] * kept]


@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("training", "validation", "test"), ("Train", "VAL", "Testing")]
)
def test_a_column_of_parts_is_the_split(words: tuple[str, ...], tmp_path: Path) -> None:
    rows = [(t, value(i), words[(i >= 80) + (i >= 100)]) for i, t in enumerate(hours())]
    made = drafted(tmp_path, table("time,load,fold", rows))
    assert told(made)["part"] == "fold"
    data = loaded(tmp_path)
    assert [len(part[0].sequence.times) for part in (data.training, data.validation, data.test)] == [80, 20, 20]


@pytest.mark.parametrize("values", [(0, 1), (0.0, 1.0)])
def test_a_target_of_0_and_1_is_a_classification(values: tuple[float, float], tmp_path: Path) -> None:
    text = table("time,x,occupied", [(t, value(i), values[value(i) > 110]) for i, t in enumerate(hours())])
    assert task(drafted(tmp_path, text, target="occupied"))["labels"] == ["0", "1"]
    assert task(drafted(tmp_path, text.replace("occupied", "y")))["kind"] == "classification"


def said(made: Draft, column: str) -> str:
    """Why a column is a feature."""
    return next(note.why for note in made.notes if (note.column, note.role) == (column, "number"))


def test_nines_far_from_all_others_are_said_to_be_a_gap(tmp_path: Path) -> None:
    def rows(gap: str) -> list[tuple[object, ...]]:
        return [(t, gap if i % 20 == 3 else value(i), min(int(value(i)), 99)) for i, t in enumerate(hours())]

    for gap in ("-999", "-9999.00", "99999"):
        made = drafted(tmp_path, table("time,temp,humidity", rows(gap)))
        assert f"{gap} stands in 6 rows, far from all others: if it is a gap, name it in data.empty" in said(
            made, "temp"
        )
        assert "far from" not in said(made, "humidity")
        with_gap = drafted(tmp_path, table("time,temp,humidity", rows(gap)), settings={"empty": (gap,)})
        assert "far from" not in said(with_gap, "temp")


def test_a_day_of_the_year_tells_no_sequences_apart(tmp_path: Path) -> None:
    rows = [(f"{t:%Y}", f"{t:%j}", t.hour, value(i)) for i, t in enumerate(hours())]
    assert told(drafted(tmp_path, table("year,doy,hour,load", rows))) == {}


def test_truth_values_are_words(tmp_path: Path) -> None:
    rows = [(t, value(i), value(i) > 110) for i, t in enumerate(hours())]
    path = tmp_path / "t.parquet"
    pl.DataFrame(rows, schema=["time", "x", "fault"], orient="row").write_parquet(path)
    made = drafted(tmp_path, path.read_bytes(), "t.parquet")
    assert (task(made)["kind"], task(made)["labels"]) == ("classification", ["false", "true"])
    made = drafted(tmp_path, path.read_bytes(), "t.parquet", target="x")
    assert {one["name"]: one.get("kind") for one in tomllib.loads(made.text)["features"]}["fault"] == "category"


def test_the_target_is_told_with_the_other_candidates_and_may_be_given(tmp_path: Path) -> None:
    text = table("time,a,load,b", [(t, value(i), value(2 * i), value(3 * i)) for i, t in enumerate(hours())])
    made = drafted(tmp_path, text)
    (note,) = [note for note in made.notes if note.role == "target"]
    assert (note.column, note.why) == (
        "load",
        "regression; a guess: named like a measure; --target takes another: a, b",
    )
    assert task(drafted(tmp_path, text, target="b"))["targets"] == ["b"]
    with pytest.raises(TableError, match="no column 'lod'; did you mean 'load'"):
        drafted(tmp_path, text, target="lod")
    with pytest.raises(TableError, match="--target time: it orders the rows"):
        drafted(tmp_path, text, target="time")


def test_a_state_is_an_input_where_something_is_measured(tmp_path: Path) -> None:
    made = drafted(tmp_path, table("mode,y", [(f"{i // 40 + 1}.0" if i % 7 else "", value(i)) for i in range(120)]))
    assert features(made) == ["mode", "y"]


@pytest.mark.parametrize("name", ['a "q"', "co2*", "b[x]?", "#", "é µ", "\x7f", "kind = 1", "a\nb", "😀", "\\"])
def test_a_column_of_any_name_becomes_a_feature(name: str, tmp_path: Path) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    made = drafted(tmp_path, table(f"time,{quoted},load", [(t, value(i), value(2 * i)) for i, t in enumerate(hours())]))
    assert features(made) == [name, "load", "hour"]


def test_the_model_is_named_after_the_file_however_long(tmp_path: Path) -> None:
    made = drafted(tmp_path, table("y", [(value(i),) for i in range(60)]), f"-{'ü x' * 50}.csv")
    assert tomllib.loads(made.text)["name"].startswith("x-x-x")


def test_an_id_that_tells_no_sequences_apart_is_no_number(tmp_path: Path) -> None:
    rows = [(f"{t + timedelta(days=i // 40)}", 7 + i // 40, value(i)) for i, t in enumerate(hours())]
    assert features(drafted(tmp_path, table("time,sensor_id,load", rows))) == ["load", "hour"]
    assert features(drafted(tmp_path, table("time,void,load", rows)))[0] == "void"


def test_whole_numbers_that_begin_with_zeros_are_codes(tmp_path: Path) -> None:
    rows = [
        (t, ("00123", "00045", "12345")[i * 7 % 3], f"{i * 7919 % 100:05d}", f"{i * 7919 % 40:05d}", f"{i % 24:02d}")
        for i, t in enumerate(hours())
    ]
    made = drafted(tmp_path, table("time,zip,parcel,load,hour", rows))
    kinds = {one["name"]: (one.get("kind"), one.get("labels")) for one in tomllib.loads(made.text)["features"]}
    assert kinds == {
        "zip": ("category", ["00045", "00123", "12345"]),
        "load": (None, None),
        "hour": (None, None),
    }
    assert next(note.why for note in made.notes if note.column == "parcel").startswith("its whole numbers begin with")
    assert features(drafted(tmp_path, table("parcel", [row[2:3] for row in rows]))) == ["parcel"]


def test_another_column_of_dates_is_no_number(tmp_path: Path) -> None:
    rows = [(t, t - timedelta(days=i * 7 % 30), value(i)) for i, t in enumerate(hours())]
    made = drafted(tmp_path, table("time,served,load", rows))
    assert features(made) == ["load", "hour"]


@pytest.mark.parametrize("wrong", ["error", "inf", "1e400"])
def test_a_column_of_numbers_with_one_that_is_none_is_left_out_and_the_line_is_said(wrong: str, tmp_path: Path) -> None:
    rows = [(t, value(2 * i) if i != 30 else wrong, value(i)) for i, t in enumerate(hours())]
    made = drafted(tmp_path, table("time,x,load", rows))
    (said,) = (note.why for note in made.notes if note.column == "x")
    assert f"(line 32: x is '{wrong}', which is no finite number, as " in said


def test_few_numbers_with_a_word_among_them_or_a_unit_are_no_category(tmp_path: Path) -> None:
    few = [int(value(i)) % 30 for i in range(120)]
    rows = [(t, few[i], value(i), few[i] if i % 30 else "trace", f"{few[i]} %") for i, t in enumerate(hours())]
    made = drafted(tmp_path, table("time,gust,load,rain,humidity", rows))
    assert features(made) == ["gust", "load", "hour"]
    left = {note.column: note.why for note in made.notes if note.role == "left out"}
    assert "(line 2: rain is 'trace', which is no finite number, as 116 others are: mend it" in left["rain"]
    assert left["humidity"] == "its numbers have a unit, as '10 %': write them without it"
    with pytest.raises(TableError, match=r"there is nothing to learn from .*line 2: rain is 'trace', which is no"):
        drafted(tmp_path, table("time,rain", [(t, rain) for t, *_, rain, _ in rows]))
    for code in (lambda i: str(few[i] % 5) if i % 7 else "X", lambda i: f"10.0.0.{few[i]}"):
        codes = table("time,load,code", [(t, value(i), code(i)) for i, t in enumerate(hours())])
        assert features(drafted(tmp_path, codes)) == ["load", "code", "hour"]


def test_numbers_whose_squares_are_0_are_left_out_if_float32_cannot_tell_them(tmp_path: Path) -> None:
    rows = [(t, f"{value(2 * i) / 100}e-300", value(i)) for i, t in enumerate(hours())]
    assert features(drafted(tmp_path, table("time,x,load", rows))) == ["load", "hour"]
