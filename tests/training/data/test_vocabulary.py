import numpy as np
import polars as pl
import pytest

from training.data.sources import Table
from training.data.vocabulary import Vocabulary
from training.errors import TableError


def test_whole_numbers_are_their_own_codes_and_words_are_counted() -> None:
    whole = Vocabulary.learnt(pl.Series(["10", "2", None, "2"]))
    assert (whole.words, whole.codes, whole.labels) == (("2", "10"), (2, 10), ())
    named = Vocabulary.learnt(pl.Series(["b", "a", None, "2"]))
    assert (named.words, named.codes, named.labels) == (("2", "a", "b"), (0, 1, 2), ("2", "a", "b"))


@pytest.mark.parametrize("id", ["007", "16777217", "1.5"])
def test_what_a_float32_cannot_tell_apart_is_a_word(id: str) -> None:
    assert Vocabulary(["1", id]).codes == (0, 1)


def test_an_unknown_word_is_an_error_that_names_the_line_and_the_fix() -> None:
    table = Table(pl.DataFrame({"x": ["a", "c"]}), "t.csv", "", lines=np.array([2, 3]))
    with pytest.raises(TableError, match=r"t\.csv: line 3: x is 'c', which is not among the known ones; list it"):
        Vocabulary(["a", "b"]).encode(table, "x", (0, 1), fix="list it")
