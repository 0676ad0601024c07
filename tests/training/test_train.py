from pathlib import Path

import numpy as np
import pytest

from tests.training import tables
from training.errors import RecipeError
from training.file.contract import read_metadata
from training.net.learn import build
from training.train import train

REGRESSION = 'kind = "regression"\ntargets = ["x"]'
TABLE = tables.csv(tables.hours(60), list(range(60)), ["a", "b", "c"] * 20, [0, 1] * 30, header="time,x,s,y")
SYMBOL = '[[features]]\nkind = "category"\nname = "s"\n'
TASKS = {
    "regression": REGRESSION + "\nhorizons = [1, 2]",
    "quantiles": 'kind = "quantiles"\ntargets = ["x"]',
    "classification": 'kind = "classification"\ntarget = "y"',
    "multilabel": 'kind = "multilabel"\ntargets = ["y"]',
    "next-symbol": 'kind = "next-symbol"\ntarget = "s"',
}


def text(task: str = REGRESSION, network: str = "", training: str = "") -> str:
    sections = tables.RECIPE.replace(REGRESSION, task).replace("[task]", SYMBOL + "\n[task]")
    return sections.replace("hidden = 4", f"hidden = 4\n{network}").replace("window = 8", f"window = 8\n{training}")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cell", ["feedforward", "rnn", "gru", "lstm"])
def test_every_task_is_trained_on_every_cell_and_its_file_verified(task: str, cell: str, tmp_path: Path) -> None:
    recipe = tables.recipe(tmp_path, text(TASKS[task], f'cell = "{cell}"'), TABLE)
    metadata = read_metadata(train(recipe, tmp_path / "models", runs=tmp_path / "runs"))
    assert (metadata["task"], metadata["cell"], metadata["streamable"]) == (task, cell, True)
    assert all(np.isfinite(value) for value in metadata["metrics"].values())
    assert any(name.startswith("state_dropped") for name in metadata["metrics"]) == (cell != "feedforward")


def test_a_bidirectional_network_says_that_it_cannot_be_streamed(tmp_path: Path) -> None:
    recipe = tables.recipe(
        tmp_path, text(TASKS["classification"], "bidirectional = true\nlayers = 2\ndropout = 0.1"), TABLE
    )
    metadata = read_metadata(train(recipe, tmp_path / "models", runs=tmp_path / "runs"))
    assert metadata["streamable"] is False


@pytest.mark.parametrize("cell", ["feedforward", "gru"])
def test_a_long_series_is_learnt_with_the_state_carried(cell: str, tmp_path: Path) -> None:
    recipe = tables.recipe(tmp_path, text(network=f'cell = "{cell}"', training="carry = true\nbatch = 2"), TABLE)
    path = train(recipe, tmp_path / "models", runs=tmp_path / "runs")
    assert path.exists()


def test_dropout_works_between_layers_and_before_the_head(tmp_path: Path) -> None:
    recipe = tables.recipe(tmp_path, text(network="layers = 2\ndropout = 0.5"), TABLE)
    network = build(recipe, tables.load(recipe))
    assert (network.recurrent.dropout, network.dropout.p) == (0.5, 0.5)  # type: ignore[union-attr]


def test_a_run_is_resumed_with_the_recipe_it_was_begun_with(tmp_path: Path) -> None:
    train(tables.recipe(tmp_path), tmp_path / "models", runs=tmp_path / "runs")
    train(tables.recipe(tmp_path), tmp_path / "models", runs=tmp_path / "runs", resume=True)
    with pytest.raises(RecipeError, match="was begun with another recipe, data or seed; fit it without --resume"):
        train(tables.recipe(tmp_path, hidden="5"), tmp_path / "models", runs=tmp_path / "runs", resume=True)


def test_the_card_tells_what_the_file_is(tmp_path: Path) -> None:
    notes = '\n[notes]\nsummary = "What it is for."\ndata = "CC BY."\n'
    recipe = tables.recipe(tmp_path, text(TASKS["next-symbol"]) + notes, TABLE)
    path = train(recipe, tmp_path / "models", "3", 4, runs=tmp_path / "runs")
    card = path.with_name("card.md").read_text(encoding="utf-8")
    for part in ("# tiny\n\nWhat it is for.", "- `s`, code: 0 a, 1 b, 2 c", "- `c`, probability", "CC BY.", "--seed 4"):
        assert part in card
    assert "| this model, streamed |" in card
