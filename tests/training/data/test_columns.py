import numpy as np
import polars as pl
import pytest

from training.data.columns import numbers, words
from training.data.sources import Table
from training.errors import TableError


def table(*values: object, **settings: object) -> Table:
    lines = np.arange(2, len(values) + 2)
    return Table(pl.DataFrame({"x": list(values)}), "t.csv", "", lines=lines, **settings)  # type: ignore[arg-type]


def test_numbers_are_read_from_text_and_an_empty_one_is_nan() -> None:
    np.testing.assert_array_equal(numbers(table("1", "-2.5e3", None), "x"), [1, -2500, np.nan])
    np.testing.assert_array_equal(numbers(table("1,5", decimal=","), "x"), [1.5])
    np.testing.assert_array_equal(numbers(table(1, None, 3), "x"), [1, np.nan, 3])


def test_thousands_may_be_grouped_where_a_fraction_tells_the_two_marks_apart() -> None:
    np.testing.assert_array_equal(
        numbers(table("1.192,5", "-1.234.567", "12", decimal=","), "x"), [1192.5, -1234567, 12]
    )
    np.testing.assert_array_equal(numbers(table("1,192.5", "1,000"), "x"), [1192.5, 1000])
    np.testing.assert_array_equal(numbers(table("1.192", "1.5", "0,5", decimal=","), "x"), [1.192, 1.5, 0.5])


def test_points_before_three_digits_in_a_table_of_decimal_commas_are_no_fractions() -> None:
    with pytest.raises(
        TableError, match=r"line 3: x is '1\.192', and data\.decimal is ',': name data\.thousands = '\.'"
    ):
        numbers(table("0,5", "1.192", decimal=","), "x")
    np.testing.assert_array_equal(numbers(table("1.192", decimal=",", thousands="."), "x"), [1192])


@pytest.mark.parametrize("wrong", ["ten", "inf", "1e39", "1 000"])
def test_text_in_a_number_column_is_an_error_that_names_the_line(wrong: str) -> None:
    with pytest.raises(TableError, match=rf"t\.csv: line 3: x is '{wrong}', which is no finite number"):
        numbers(table("1", wrong), "x")


def test_a_column_of_lists_is_an_error_that_names_it() -> None:
    with pytest.raises(TableError, match=r"t\.csv: x holds List\(Int64\); a column is of numbers, words or times"):
        numbers(table([1, 2]), "x")


def test_a_decimal_comma_is_told_how_to_be_read() -> None:
    with pytest.raises(TableError, match=r"data\.decimal = ',' reads it"):
        numbers(table("1,5"), "x")
    with pytest.raises(TableError, match=r"data\.decimal = ',' or data\.thousands = ',' reads it"):
        numbers(table("1,500"), "x")


def test_an_unknown_column_is_an_error_that_guesses_what_was_meant() -> None:
    with pytest.raises(TableError, match=r"t\.csv: no column 'xx'; did you mean 'x'\?"):
        numbers(table("1"), "xx")


def test_whole_numbers_look_the_same_however_they_were_read() -> None:
    assert words(table(1.0, 2.0, None), "x").to_list() == words(table("1", "2", None), "x").to_list()
    assert words(table(1e300, 2.0), "x").null_count() == 0


@pytest.mark.parametrize(
    ("written", "settings", "meant"),
    [
        (["1,520", "987", "1,234,567.5"], {"thousands": ","}, [1520, 987, 1234567.5]),
        (["1.520", "987", "0,5"], {"thousands": ".", "decimal": ","}, [1520, 987, 0.5]),
        (["1 520", "1\u00a0520", "1\u202f520,5"], {"thousands": " ", "decimal": ","}, [1520, 1520, 1520.5]),
        (["1'520", "1’520"], {"thousands": "'"}, [1520, 1520]),
        (["12,34,567"], {"thousands": ","}, [1234567]),
    ],
)
def test_marks_of_thousands_are_removed(written: list[str], settings: dict[str, str], meant: list[float]) -> None:
    np.testing.assert_array_equal(numbers(table(*written, **settings), "x"), meant)


@pytest.mark.parametrize("wrong", ["1,52", "1,5200", ",520", "1,520,5"])
def test_a_mark_of_thousands_in_another_place_is_an_error(wrong: str) -> None:
    with pytest.raises(TableError, match="is no finite number"):
        numbers(table(wrong, thousands=","), "x")
