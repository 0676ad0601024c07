from pathlib import Path

import numpy as np
import pytest

from training.data.dataset import load
from training.data.sources.recall import SYMBOLS, Recall, answer
from training.recipe.read import read_recipe

SMALL = Recall(source="recall", lag=7, strings=300, validation=20, test=20)


def test_a_string_asks_for_the_symbol_behind_the_mark() -> None:
    assert answer("abc!dab?") == "d"


@pytest.mark.parametrize(("part", "lags"), [("training", set(range(1, 8))), ("validation", {7}), ("test", {7})])
def test_strings_are_learnt_with_every_lag_and_judged_with_the_whole(part: str, lags: set[int]) -> None:
    found = set()
    for text in SMALL.parts()[part]:
        before, _, after = text.partition("!")
        assert set(before) | set(after[:-1]) <= set(SYMBOLS)
        assert after[-1] == "?"
        assert len(before) <= 10
        found.add(len(after) - 1)
    assert found == lags


def test_the_same_seed_draws_the_same_strings_and_another_seed_others() -> None:
    assert SMALL.parts() == SMALL.parts()
    assert SMALL.parts() != SMALL.model_copy(update={"seed": 1}).parts()


def test_only_the_last_step_of_a_string_has_an_answer_that_counts() -> None:
    recipe = read_recipe("recall")
    data = load(recipe.model_copy(update={"data": SMALL}))
    assert [len(part) for part in (data.training, data.validation, data.test)] == [300, 20, 20]
    for stretch in data.test:
        *none, last = stretch.answers()[:, 0]
        assert np.isnan(none).all()
        marked = int(np.flatnonzero(stretch.sequence.inputs[:, 0] == 4)[0])
        assert last == stretch.sequence.inputs[marked + 1, 0]


def test_nothing_is_read(tmp_path: Path) -> None:
    assert SMALL.read(tmp_path).frame.columns == ["string", "step", "symbol", "part", "answer"]
