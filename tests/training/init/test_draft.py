import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.training import tables
from training.errors import TableError
from training.init.draft import draft
from training.recipe.read import read_recipe


def drafted(folder: Path, table: str) -> dict[str, Any]:
    """Draft a recipe, make sure that it is one, and return what it tells."""
    (folder / "t.csv").write_text(table, encoding="utf-8")
    (folder / "t.toml").write_text(draft(folder / "t.csv", folder / "t.toml").text, encoding="utf-8")
    read_recipe(folder / "t.toml")
    return tomllib.loads((folder / "t.toml").read_text(encoding="utf-8"))


def test_one_series_is_split_by_time_and_forecasts_the_number_that_sounds_like_it(tmp_path: Path) -> None:
    told = drafted(tmp_path, tables.csv(tables.hours(400), list(range(400)), [1, 2] * 200, header="when,load,x"))
    assert told["data"] == {"path": "t.csv", "time": "when"}
    assert told["task"] == {"kind": "regression", "targets": ["load"], "horizons": [1], "residual": True}
    assert told["split"]["by"] == "time"
    assert told["training"]["window"] == 20
    assert [one["name"] for one in told["features"]] == ["load", "x", "hour", "weekday"]


def test_many_sequences_are_found_by_their_times_and_split_whole(tmp_path: Path) -> None:
    cycles = [cycle for _ in range(12) for cycle in range(5)]
    units = [unit for unit in range(12) for _ in range(5)]
    told = drafted(tmp_path, tables.csv(units, cycles, list(range(60)), [3] * 60, header="unit,cycle,s1,s2"))
    assert told["data"] == {"path": "t.csv", "time": "cycle", "sequence": "unit"}
    assert told["split"]["by"] == "sequence"
    assert "window" not in told["training"]
    assert [one["name"] for one in told["features"]] == ["s1"]  # s2 never varies


def test_a_column_named_like_a_label_is_a_class(tmp_path: Path) -> None:
    told = drafted(tmp_path, tables.csv(tables.hours(40), list(range(40)), [0, 1] * 20, header="time,x,label"))
    assert told["task"] == {"kind": "classification", "target": "label", "labels": ["0", "1"]}
    assert [one["name"] for one in told["features"]] == ["x"]


def test_the_class_of_a_whole_sequence_is_a_class(tmp_path: Path) -> None:
    rows = [(unit, i, (unit + i) * 7 % 13, "ab"[unit % 2]) for unit in range(12) for i in range(10)]
    told = drafted(tmp_path, tables.csv(*map(list, zip(*rows, strict=True)), header="run,t,x,class"))
    assert told["task"] == {"kind": "classification", "target": "class", "labels": ["a", "b"]}


def test_words_alone_are_to_be_continued(tmp_path: Path) -> None:
    told = drafted(tmp_path, tables.csv([i // 4 for i in range(60)], ["a", "b", "c", "d"] * 15, header="id,symbol"))
    assert told["data"]["sequence"] == "id"
    assert told["task"] == {"kind": "next-symbol", "target": "symbol"}


def test_the_path_is_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.csv").write_text(tables.line(), encoding="utf-8")
    assert 'path = "data/t.csv"' in draft(tmp_path / "data" / "t.csv", tmp_path / "t.toml").text


@pytest.mark.parametrize("units", [1, 6])
def test_neither_a_pause_nor_many_sequences_of_the_same_days_make_a_calendar_feature(
    units: int, tmp_path: Path
) -> None:
    rows = [(unit, time, i * 7 % 13) for unit in range(units) for i, time in enumerate(tables.hours(120))]
    rows = ([(0, "1970-01-01 00:00", 1)] if units == 1 else []) + rows
    told = drafted(tmp_path, tables.csv(*map(list, zip(*rows, strict=True)), header="id,time,y"))
    assert [one["name"] for one in told["features"]] == ["y", "hour"]


def test_a_table_without_anything_to_learn_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="there is nothing to learn from \\(x: it is always 1\\)"):
        drafted(tmp_path, tables.csv(tables.hours(5), [1] * 5, header="time,x"))
