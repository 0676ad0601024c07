from pathlib import Path

import pytest
import torch

from study import long_lag
from study.long_lag import chosen, compare, right, variant
from training.data.dataset import load
from training.data.sources.recall import Recall
from training.net.learn import build
from training.recipe.read import read_recipe
from training.recipe.recipe import Recipe


def small() -> Recipe:
    recipe = read_recipe("recall")
    data = Recall(source="recall", strings=40, validation=8, test=12)
    short = recipe.training.model_copy(update={"epochs": 1})
    network = recipe.network.model_copy(update={"hidden": 3})
    return recipe.model_copy(update={"data": data, "training": short, "network": network})


def test_a_variant_differs_in_cell_lag_and_learning_rate_only() -> None:
    recipe = read_recipe("recall")
    other = variant(recipe, "gru", 7, 0.03)
    assert (other.network.cell, other.data.lag, other.training.learning_rate) == ("gru", 7, 0.03)
    assert variant(other, "lstm", 100, 0.01) == recipe


def test_each_cell_is_judged_with_the_rate_that_was_best_on_the_validation_part() -> None:
    def one(cell: str, rate: float, validation: float, test: float) -> dict[str, object]:
        return {"cell": cell, "lag": 5, "rate": rate, "validation": validation, "test": test}

    first, second, third = one("rnn", 0.003, 0.3, 0.9), one("rnn", 0.01, 0.5, 0.4), one("rnn", 0.03, 0.5, 0.6)
    other = one("gru", 0.003, 0.2, 0.2)
    assert chosen([first, second, third, other]) == [second, other]


def test_the_share_of_right_answers_counts_the_last_step_of_each_string() -> None:
    recipe = small()
    data = load(recipe)
    network = build(recipe, data)
    with torch.no_grad():
        network.head.linear.weight.zero_()
        network.head.linear.bias.copy_(torch.tensor([0.0, 2.0, 1.0, 0.0]))  # says b, whatever comes
    answers = [float(stretch.answers()[-1, 0]) for stretch in data.test]
    assert right(network, data.test) == pytest.approx(answers.count(1.0) / 12)


def test_an_interrupted_comparison_goes_on_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_lag, "LAGS", (2, 3))
    monkeypatch.setattr(long_lag, "CELLS", ("feedforward", "lstm"))
    said: list[str] = []
    results = compare(small(), tmp_path, said.append)
    assert {(one["cell"], one["lag"]) for one in chosen(results.found.values())} == {
        (cell, lag) for cell in ("feedforward", "lstm") for lag in (2, 3)
    }
    assert all(0 <= one["test"] <= 1 for one in results.found.values())
    before = (tmp_path / "fit" / "best.ckpt").stat().st_mtime_ns
    again: list[str] = []
    assert compare(small(), tmp_path, again.append).found == results.found
    assert (again, (tmp_path / "fit" / "best.ckpt").stat().st_mtime_ns) == (said, before)
