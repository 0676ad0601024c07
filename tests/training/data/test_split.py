from datetime import UTC, date, datetime

import polars as pl
import pytest

from training.data.sequences import sequences
from training.data.sources import Table
from training.data.split import split
from training.errors import TableError
from training.recipe.recipe import BySequence, ByTime, Split


def shares(table: Table, how: Split, horizon: int = 0) -> list[list[tuple[str, int, int]]]:
    parts = split(table, sequences(table, 1), how, horizon)
    return [[(piece.rows.id, piece.first, piece.stop) for piece in pieces] for pieces in parts]


DAYS = Table(pl.DataFrame({"t": [f"2024-01-{day:02}" for day in range(1, 11)]}), "t.csv", "", time="t")
IDS = [id for id in "abcdefghij" for _ in range(3)]
MANY = Table(pl.DataFrame({"id": IDS}), "t.csv", "", sequence="id")
GIVEN = Table(
    pl.DataFrame({"id": IDS, "p": ["test" if id == "a" else None for id in IDS]}), "t.csv", "", sequence="id", part="p"
)


def test_a_boundary_is_a_time_or_the_share_of_the_rows_behind_it() -> None:
    wanted = [[("", 0, 5)], [("", 5, 8)], [("", 8, 10)]]
    assert shares(DAYS, ByTime(by="time", validation=0.3, test=0.2)) == wanted
    assert shares(DAYS, ByTime(by="time", validation=date(2024, 1, 6), test=date(2024, 1, 9))) == wanted
    zoned = datetime(2024, 1, 9, tzinfo=UTC)
    assert shares(DAYS, ByTime(by="time", validation=date(2024, 1, 6), test=zoned)) == wanted


def test_the_test_part_may_end_before_the_data() -> None:
    how = ByTime(by="time", validation=0.3, test=date(2024, 1, 9), end=date(2024, 1, 10))
    assert shares(DAYS, how)[2] == [("", 8, 9)]


def test_every_sequence_is_cut_at_the_same_time() -> None:
    two = Table(pl.DataFrame({"id": list("aaaabbbb"), "t": [1, 2, 3, 4, 3, 4, 5, 6]}), "t.csv", "", "t", "id")
    parts = shares(two, ByTime(by="time", validation=0.25, test=0.25))
    assert parts == [[("a", 0, 3), ("b", 0, 1)], [("a", 3, 4), ("b", 1, 2)], [("b", 2, 4)]]


def test_whole_sequences_are_drawn_the_same_way_each_time() -> None:
    how = BySequence(by="sequence", validation=0.2, test=0.3, seed=1)
    parts = shares(MANY, how)
    assert parts == shares(MANY, how)
    assert [len(part) for part in parts] == [5, 2, 3]
    assert sorted(piece for part in parts for piece in part) == [(id, 0, 3) for id in "abcdefghij"]


def test_sequences_may_be_named_and_the_rest_is_drawn() -> None:
    parts = shares(MANY, BySequence(by="sequence", validation=("c",), test=0.2))
    assert parts[1] == [("c", 0, 3)]
    assert len(parts[2]) == 2
    assert ("c", 0, 3) not in parts[2]


def test_a_part_that_the_data_give_is_kept() -> None:
    parts = shares(GIVEN, BySequence(by="sequence", validation=0.2, test=0.0))
    assert parts[2] == [("a", 0, 3)]
    assert len(parts[1]) == 2


@pytest.mark.parametrize(
    ("table", "how", "complaint"),
    [
        (
            DAYS,
            ByTime(by="time", validation=0.3, test=date(2030, 1, 1)),
            "nothing is left for the test part; the data go",
        ),
        (DAYS, ByTime(by="time", validation=date(2024, 1, 9), test=0.5), "nothing is left for the validation part"),
        (DAYS, BySequence(by="sequence"), "nothing is left for the validation part; the table has 1 sequences; change"),
        (MANY, BySequence(by="sequence", test=("z",)), "split.test: there is no sequence 'z'"),
        (MANY, ByTime(by="time", test=date(2024, 1, 9)), "split.test is a time, and the table has none; give a share"),
    ],
)
def test_a_split_that_cannot_be_is_an_error_that_names_the_fix(table: Table, how: Split, complaint: str) -> None:
    with pytest.raises(TableError, match=complaint):
        shares(table, how)


def test_rows_that_no_row_precedes_by_the_horizon_are_no_part() -> None:
    with pytest.raises(TableError, match="nothing is left for the training part"):
        shares(DAYS, ByTime(by="time", validation=0.4, test=0.4), horizon=2)
