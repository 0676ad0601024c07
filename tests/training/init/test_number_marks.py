from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.training.init.drafts import drafted, features, first, table, told, value
from training.errors import TableError

German = str.maketrans(",.", ".,")


def big(row: int) -> int:
    return 600 + row * 37 + row % 10


def prices(volume: Callable[[int], str], price: Callable[[int], str] = lambda row: f"{value(row):.2f}") -> str:
    rows = [(date(2024, 1, 1) + timedelta(days=i), price(i), volume(i)) for i in range(120)]
    return table("date;price;volume", rows, ";")


@pytest.mark.parametrize(
    ("volume", "price", "keys"),
    [
        (lambda row: f"{big(row):,}", lambda row: f"{value(row):.2f}", {"thousands": ","}),
        (lambda row: f"{big(row):,}", lambda row: str(row % 7), {"thousands": ","}),
        (lambda row: f"{big(row) * 1000:,}", lambda row: str(row % 7), {"thousands": ","}),
        (lambda row: f"{big(row):,}.0", lambda row: str(row % 7), {"thousands": ","}),
        (lambda row: f"{big(row):,},0".replace(",", ".", 1) if big(row) > 999 else f"{big(row)},0",
         lambda row: f"{value(row)}".replace(".", ","), {"decimal": ",", "thousands": "."}),
        (lambda row: f"{big(row):,}".replace(",", "."), lambda row: str(row % 7), {"decimal": ",", "thousands": "."}),
        (lambda row: f"{big(row):,},0".replace(",", "\u202f", 1) if big(row) > 999 else f"{big(row)},0",
         lambda row: f"{value(row)}".replace(".", ","), {"decimal": ",", "thousands": " "}),
        (lambda row: f"{big(row):,}".replace(",", "'"), lambda row: f"{value(row)}", {"thousands": "'"}),
    ],
)  # fmt: skip
def test_marks_are_read_if_they_explain_every_number(
    volume: Callable[[int], str], price: Callable[[int], str], keys: dict[str, str], tmp_path: Path
) -> None:
    made = drafted(tmp_path, prices(volume, price))
    assert told(made) == keys | {"time": "date"}
    assert first(tmp_path, "volume") in (600, 600_000)


def test_numbers_that_two_marks_explain_stop_it_and_an_option_decides(tmp_path: Path) -> None:
    text = prices(lambda row: f"{1001 + row * 3:,}", lambda row: str(row % 7))
    with pytest.raises(TableError, match=r"'1,001', which is 1\.001 \(--decimal ','\) or 1001 \(--decimal '\.'\)"):
        drafted(tmp_path, text)
    for decimal, meant in ((".", 1001), (",", 1.001)):
        drafted(tmp_path, text, settings={"decimal": decimal})
        assert first(tmp_path, "volume") == pytest.approx(meant)


def test_a_point_before_three_digits_is_a_decimal_point(tmp_path: Path) -> None:
    assert told(drafted(tmp_path, prices(lambda row: f"{value(row) / 30:.3f}"))) == {"time": "date"}


def test_a_column_with_another_mark_than_the_rest_is_left_out_and_said(tmp_path: Path) -> None:
    made = drafted(tmp_path, prices(lambda row: f"{value(row)}".replace(".", ",")))
    assert "volume" not in features(made)
    (why,) = (note.why for note in made.notes if note.column == "volume")
    assert why == "it has 110 different words (line 2: volume is '100,0')"


def test_words_that_stand_for_gaps_are_seen_and_said(tmp_path: Path) -> None:
    gaps = ["?", "nil", "-", "NA", ""]
    made = drafted(tmp_path, prices(lambda row: gaps[row // 9 % 5] if row % 9 == 0 else f"{value(row)}"))
    assert told(made) == {"empty": ["-", "?", "nil", "NA"], "time": "date"}
    assert features(made)[:2] == ["price", "volume"]
