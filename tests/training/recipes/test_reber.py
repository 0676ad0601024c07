from pathlib import Path

import numpy as np
import pytest

from demo.reber import share_right
from training.data.dataset import load
from training.data.sources.reber import GRAMMAR, SYMBOLS, Reber, drawn, legal
from training.file.contract import read_metadata
from training.recipe.read import read_recipe
from training.train import train

SOURCE = Reber(source="reber", strings=300, validation=20, test=100)


def test_every_string_is_legal_and_ends_where_nothing_may_follow() -> None:
    random = np.random.default_rng(0)
    for text in (drawn(random) for _ in range(300)):
        assert all(symbol in legal(text[:n]) for n, symbol in enumerate(text))
        assert legal(text) == set()


def test_the_outer_letters_match() -> None:
    texts = SOURCE.parts()["training"]
    assert {(text[0], text[-1]) for text in texts} == {("B", "E")}
    assert {(text[1], text[-2]) for text in texts} == {("T", "T"), ("P", "P")}


@pytest.mark.parametrize(
    ("prefix", "next_symbols"),
    [("", "B"), ("B", "TP"), ("BT", "B"), ("BTB", "TP"), ("BTBT", "SX"), ("BTBTXS", "E"), ("BTBTXSE", "T")],
)
def test_the_grammar_is_that_of_the_paper(prefix: str, next_symbols: str) -> None:
    assert legal(prefix) == set(next_symbols)


def test_a_beginning_that_no_string_has_is_refused() -> None:
    with pytest.raises(ValueError, match="'BTBTXSEP'"):
        legal("BTBTXSEP")


def test_no_more_than_two_symbols_may_follow_so_each_legal_one_has_a_half_at_least() -> None:
    assert max(map(len, GRAMMAR.values())) == 2


def test_test_strings_are_different_and_occur_in_neither_training_nor_validation() -> None:
    source = read_recipe("reber").data
    assert isinstance(source, Reber)
    parts = source.parts()
    test = set(parts["test"])
    assert len(test) == len(parts["test"]) == 500
    assert not test & {*parts["training"], *parts["validation"]}


def test_the_same_seed_draws_the_same_table_and_another_one_another() -> None:
    other = SOURCE.model_copy(update={"seed": 1})
    here = Path()
    assert SOURCE.read(here).sha256 == SOURCE.read(here).sha256 != other.read(here).sha256
    assert SOURCE.read(here).frame.equals(SOURCE.read(here).frame)


def test_the_recipe_codes_the_symbols_in_the_order_of_the_grammar() -> None:
    data = load(read_recipe("reber"))
    assert data.features[0].labels == data.targets[0].classes == tuple(SYMBOLS)
    assert len(data.test) == 500


def test_a_short_fit_is_verified_and_already_better_than_no_memory(tmp_path: Path) -> None:
    recipe = read_recipe("reber")
    recipe = recipe.model_copy(
        update={"data": SOURCE, "training": recipe.training.model_copy(update={"epochs": 2})},
    )
    metadata = read_metadata(train(recipe, tmp_path / "models", runs=tmp_path / "runs"))
    assert metadata["metrics"]["test_nll"] < metadata["metrics"]["state_dropped_nll"]


def test_a_string_is_right_only_if_exactly_the_legal_symbols_are_likely() -> None:
    def said(*sets: str) -> np.ndarray:
        return np.array([[0.21 if symbol in likely else 0.2 for symbol in SYMBOLS] for likely in sets])

    outputs = [said("TP", "B"), said("T", "B"), said("TP", "B", "TPS")]
    assert share_right(["BT", "BP", "BTB"], outputs) == pytest.approx(1 / 3)
