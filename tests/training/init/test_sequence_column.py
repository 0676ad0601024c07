from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.training.init.drafts import drafted, features, hours, loaded, table, told, value
from training.errors import TableError

Row = tuple[object, ...]


def panel(ids: list[object], count: int = 40) -> list[Row]:
    """All ids at each time."""
    times = hours(count)
    return [(time, id, value(i) + k, (i * 3 + k) % 7) for i, time in enumerate(times) for k, id in enumerate(ids)]


def by_id(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (str(row[1]), str(row[0])))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("station", panel(["a", "b", "c"])),
        ("station", panel(["a", "b", "c"])[::-1]),
        ("wert", by_id(panel(["a", "b", "c"]))),
        ("wert", by_id(panel([1, 2, 3]))),
        ("wert", panel([1, 2, 3])),
        ("run", by_id(panel([1, 2, 3]))[80:] + by_id(panel([1, 2, 3]))[:80]),
        ("station_id", [row for i, row in enumerate(panel([1, 2, 3])) if i % 5]),
    ],
)
def test_an_identity_that_explains_repeated_times_is_the_sequence(name: str, rows: list[Row], tmp_path: Path) -> None:
    assert told(drafted(tmp_path, table(f"time,{name},load,level", rows))) == {"time": "time", "sequence": name}


@pytest.mark.parametrize("given", [{}, {"sequence": ("meter",)}])
def test_an_hour_that_comes_twice_in_each_sequence_is_left_out_and_said(given: dict[str, Any], tmp_path: Path) -> None:
    rows = panel(["a", "b"])
    summer_ends = [(time - timedelta(hours=1) * (i >= 40), *cells) for i, (time, *cells) in enumerate(rows)]
    made = drafted(tmp_path, table("time,meter,load,level", summer_ends), **given)
    assert told(made) == {"time": "time", "sequence": "meter", "repeats": "first"}
    assert any("2 rows, the first in line 42, have a time" in note.why for note in made.notes)
    assert made.refusal is None


def test_two_columns_together_may_tell_sequences_apart(tmp_path: Path) -> None:
    rows = [
        (time, store, dept, value(i) + dept) for i, time in enumerate(hours()) for store in (1, 2) for dept in (5, 6)
    ]
    made = drafted(tmp_path, table("time,store,dept,sales", rows))
    assert told(made)["sequence"] == ["store", "dept"]
    assert features(made)[0] == "sales"
    assert {one.sequence.id for one in loaded(tmp_path).training} == {"1 / 5", "1 / 6", "2 / 5", "2 / 6"}


@pytest.mark.parametrize("column", [["clear", "rain", "fog"], [10, 11, 12], [0.5, 1.5, 2.5]])
def test_a_measured_column_is_no_sequence_because_one_time_repeats(column: list[object], tmp_path: Path) -> None:
    times = [time - timedelta(hours=1) * (i > 50) for i, time in enumerate(hours())]
    rows = [(time, value(i), column[i % 3]) for i, time in enumerate(times)]
    assert "sequence" not in told(drafted(tmp_path, table("time,load,sky", rows)))


def test_an_identity_for_which_only_its_name_speaks_stops_it_and_an_option_decides(tmp_path: Path) -> None:
    times = [time - timedelta(hours=1) * (i > 50) for i, time in enumerate(hours())]
    text = table("time,load,sensor", [(time, value(i), i % 5) for i, time in enumerate(times)])
    with pytest.raises(TableError, match=r"say --sequence 'sensor' if .* or --sequence none if all rows are one"):
        drafted(tmp_path, text)
    assert told(drafted(tmp_path, text, sequence=("none",)))["repeats"] == "first"
    assert told(drafted(tmp_path, text.replace("sensor", "level"), sequence=("level",)))["sequence"] == "level"


def test_a_label_tells_no_sequences_apart(tmp_path: Path) -> None:
    rows = [(hours()[i % 60], value(i), i // 60) for i in range(120)]
    with pytest.raises(TableError, match="no column explains why: name the column that tells sequences apart"):
        drafted(tmp_path, table("time,load,label", rows))


def test_a_sequence_of_one_row_is_left_out_and_said(tmp_path: Path) -> None:
    rows = [(unit, step, value(step * unit)) for unit in range(14) for step in range(1 if unit % 5 == 0 else 12)]
    made = drafted(tmp_path, table("id,t,x", rows))
    assert told(made) == {"time": "t", "sequence": "id", "shortest": 2}
    assert any(note.column == "data.shortest" for note in made.notes)


def test_without_times_ids_are_a_sequence_only_if_each_is_a_block_of_rows(tmp_path: Path) -> None:
    blocks = [(i // 12, value(i)) for i in range(120)]
    assert told(drafted(tmp_path, table("engine,x", blocks))) == {"sequence": "engine"}
    mixed = [(i * 7 % 11, value(i)) for i in range(120)]
    assert told(drafted(tmp_path, table("engine,x", mixed))) == {}


def test_two_columns_whose_pairs_hardly_repeat_tell_no_sequences_apart(tmp_path: Path) -> None:
    rows = [(i * 31 % 20 + 1, i * 17 % 40, i * 13 % 50, value(i)) for i in range(120)] + [(20, 0, 0, value(1))]
    assert told(drafted(tmp_path, table("years,hits,runs,salary", rows))) == {}
