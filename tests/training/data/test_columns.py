import numpy as np
import polars as pl
import pytest

from training.data.columns import Vocabulary, numbers, times, words
from training.data.sources import Table
from training.errors import TableError


def table(*values: object, **settings: object) -> Table:
    lines = np.arange(2, len(values) + 2)
    return Table(pl.DataFrame({"x": list(values)}), "t.csv", "", lines=lines, **settings)  # type: ignore[arg-type]


def hours(*values: str, **settings: object) -> list[str]:
    return [str(time)[:16] for time in times(table(*values, **settings), "x")]


def test_numbers_are_read_from_text_and_an_empty_one_is_nan() -> None:
    np.testing.assert_array_equal(numbers(table("1", "-2.5e3", None), "x"), [1, -2500, np.nan])
    np.testing.assert_array_equal(numbers(table("1,5", decimal=","), "x"), [1.5])
    np.testing.assert_array_equal(numbers(table(1, None, 3), "x"), [1, np.nan, 3])


def test_thousands_may_be_grouped_where_a_fraction_tells_the_two_marks_apart() -> None:
    np.testing.assert_array_equal(
        numbers(table("1.192,5", "-1.234.567", "12", decimal=","), "x"), [1192.5, -1234567, 12]
    )
    np.testing.assert_array_equal(numbers(table("1,192.5", "1,000"), "x"), [1192.5, 1000])
    np.testing.assert_array_equal(numbers(table("1.192", "0,5", decimal=","), "x"), [1.192, 0.5])


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


def test_an_unknown_column_is_an_error_that_guesses_what_was_meant() -> None:
    with pytest.raises(TableError, match=r"t\.csv: no column 'xx'; did you mean 'x'\?"):
        numbers(table("1"), "xx")


def test_whole_numbers_are_their_own_codes_and_words_are_counted() -> None:
    whole = Vocabulary.learnt(pl.Series(["10", "2", None, "2"]))
    assert (whole.words, whole.codes, whole.labels) == (("2", "10"), (2, 10), ())
    named = Vocabulary.learnt(pl.Series(["b", "a", None, "2"]))
    assert (named.words, named.codes, named.labels) == (("2", "a", "b"), (0, 1, 2), ("2", "a", "b"))


@pytest.mark.parametrize("id", ["007", "16777217", "1.5"])
def test_what_a_float32_cannot_tell_apart_is_a_word(id: str) -> None:
    assert Vocabulary(["1", id]).codes == (0, 1)


def test_an_unknown_word_is_an_error_that_names_the_line_and_the_fix() -> None:
    with pytest.raises(TableError, match=r"t\.csv: line 3: x is 'c', which is not among the known ones; list it"):
        Vocabulary(["a", "b"]).encode(table("a", "c"), "x", (0, 1), fix="list it")


def test_whole_numbers_look_the_same_however_they_were_read() -> None:
    assert words(table(1.0, 2.0, None), "x").to_list() == words(table("1", "2", None), "x").to_list()


def test_a_column_may_write_dates_in_more_ways_than_one() -> None:
    same = (
        "2024-01-31 13:30",
        "2024-01-31T13:30:00Z",
        "2024-01-31T15:30:00+02:00",
        "31.01.2024 13:30",
        "31/01/2024 13:30",
    )
    assert hours(*same) == ["2024-01-31T13:30"] * 5
    assert hours("2024/01/31", "31-01-2024") == ["2024-01-31T00:00"] * 2
    assert hours("01/31/2024", "02/01/2024") == ["2024-01-31T00:00", "2024-02-01T00:00"]
    assert hours("02/01/2024", day_first=True) == ["2024-01-02T00:00"]


def test_a_date_that_could_be_two_is_an_error_that_asks() -> None:
    with pytest.raises(TableError, match=r"is the day first\? Say data\.day_first"):
        hours("02/01/2024", "03/01/2024")


@pytest.mark.parametrize(("wrong", "complaint"), [("soon", "is no date and time"), (None, "every row needs its time")])
def test_what_is_no_time_is_an_error_that_names_the_line(wrong: str | None, complaint: str) -> None:
    with pytest.raises(TableError, match=rf"line 3: .*{complaint}"):
        times(table("2024-01-31", wrong), "x")


def test_a_time_may_be_a_count() -> None:
    np.testing.assert_array_equal(times(table("1", "2"), "x"), [1, 2])
