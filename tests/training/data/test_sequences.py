import polars as pl
import pytest

from training.data.sequences import sequences
from training.data.sources import Table
from training.errors import TableError


def table(time: list[object], id: list[str | None] | None = None, **settings: str) -> Table:
    columns = {"t": time} | ({} if id is None else {"id": id})
    keys = {} if id is None else {"sequence": "id"}
    return Table(pl.DataFrame(columns), "t.csv", "", time="t", **keys, **settings)  # type: ignore[arg-type]


def days(*numbers: int) -> list[object]:
    return [f"2024-01-{day:02}" for day in numbers]


def test_sequences_are_told_apart_though_their_rows_are_interleaved() -> None:
    rows = sequences(table([1, 5, 2, 6], ["a", "b", "a", "b"]), 1)
    assert [(one.id, one.index.tolist(), one.times.tolist()) for one in rows] == [
        ("a", [0, 2], [1, 2]),
        ("b", [1, 3], [5, 6]),
    ]


def test_without_a_time_column_rows_are_in_order() -> None:
    (rows,) = sequences(Table(pl.DataFrame({"x": [5, 3]}), "t.csv", ""), 1)
    assert rows.times.tolist() == [0, 1]


def test_a_long_pause_begins_a_new_sequence_and_a_piece_too_short_is_left_out() -> None:
    rows = sequences(table(days(1, 2, 5, 8, 9), gap="1d"), 2)
    assert [one.index.tolist() for one in rows] == [[0, 1], [3, 4]]


@pytest.mark.parametrize(
    ("time", "complaint"),
    [
        ([1, 3, 2], r"t\.csv: row 2: t 2 is not after 3 in row 1; sort the file by time, or name .* data\.sequence"),
        ([1, 2, 2], r"t\.csv: row 2: t 2 is the same time as 2 in row 1; keep one of them, or name"),
    ],
)
def test_times_out_of_order_are_an_error_that_names_the_row_and_the_fix(time: list[object], complaint: str) -> None:
    with pytest.raises(TableError, match=complaint):
        sequences(table(time), 1)


def test_a_sequence_shorter_than_the_horizon_is_an_error_that_names_it() -> None:
    with pytest.raises(TableError, match=r"row 2: sequence 'b' has 1 rows, and this horizon needs 2: remove it"):
        sequences(table([1, 2, 1], ["a", "a", "b"]), 2)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (table([1, 2], ["a", None]), r"row 1: id is empty"),
        (table([1, 2], gap="1d"), r"data\.gap needs a time column of dates"),
        (table(days(1, 2), gap="soon"), r"data\.gap is 'soon', and no duration such as"),
        (table([1, 2], ["a", "a"], part="id"), r"row 0: id is 'a'; a part is one of training, validation, test"),
    ],
)
def test_what_a_table_cannot_be_arranged_by_is_an_error(broken: Table, complaint: str) -> None:
    with pytest.raises(TableError, match=complaint):
        sequences(broken, 1)


def test_a_table_with_the_newest_rows_first_is_turned_round() -> None:
    rows = sequences(table([6, 2, 5, 1], ["b", "a", "b", "a"]), 1)
    assert [(one.id, one.index.tolist(), one.times.tolist()) for one in rows] == [
        ("b", [2, 0], [5, 6]),
        ("a", [3, 1], [1, 2]),
    ]


def test_rows_that_repeat_a_time_and_short_sequences_are_left_out_if_the_table_says_so() -> None:
    (rows,) = sequences(table([1, 2, 2, 1, 3], repeats="first"), 1)
    assert rows.index.tolist() == [0, 1, 4]
    short = table([1, 2, 1], ["a", "a", "b"], shortest=2)  # type: ignore[arg-type]
    assert [one.id for one in sequences(short, 2)] == ["a"]


def test_a_sequence_is_cut_where_its_part_changes() -> None:
    frame = pl.DataFrame({"t": [1, 2, 3, 4], "p": ["train", "train", "val", None]})
    rows = sequences(Table(frame, "t.csv", "", time="t", part="p"), 1)
    assert [(one.part, one.index.tolist()) for one in rows] == [("training", [0, 1]), ("validation", [2]), (None, [3])]
