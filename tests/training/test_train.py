from html import unescape
from pathlib import Path

import numpy as np
import pytest

from tests.training import tables
from training.apply import Applied
from training.errors import RecipeError, TableError
from training.file.contract import read_metadata
from training.net.learn import build
from training.recipe.read import read_recipe, recipe_of
from training.runs import listing
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


def test_a_residual_forecast_begins_at_the_last_value_inside_the_file(tmp_path: Path) -> None:
    task = REGRESSION + "\nhorizons = [1, 3]\nresidual = true"
    recipe = tables.recipe(tmp_path, text(task), TABLE)  # x rises by 1 a row
    metadata = read_metadata(train(recipe, tmp_path / "models", runs=tmp_path / "runs"))
    applied = Applied.of(tmp_path / "models/tiny/1/model.onnx", tmp_path / "tiny.csv")
    frame = applied.predict()
    x = np.arange(60)
    np.testing.assert_allclose(frame["x_h1"].to_numpy() - x, 1, atol=0.2)  # a constant change needs no learning
    np.testing.assert_allclose(frame["x_h3"].to_numpy() - x, 3, atol=0.2)
    assert metadata["verdict"]["better"] is True


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (REGRESSION + "\nresidual = true\nhorizons = [0, 1]", "residual is for forecasts"),
        (REGRESSION + "\nresidual = true\ncap = 5", "residual is for forecasts"),
        (
            REGRESSION.replace('["x"]', '["y"]') + "\nresidual = true",
            "the last value of 'y', which is no number feature",
        ),
        (TASKS["classification"] + "\nweights = {c = 2.0}", "task.weights: 'c' is no class; there are 0, 1"),
    ],
)
def test_keys_that_do_not_fit_are_refused(task: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=words):
        train(tables.recipe(tmp_path, text(task), TABLE), tmp_path / "models", runs=tmp_path / "runs")


def test_a_label_of_the_whole_sequence_is_learnt_at_its_last_step_only(tmp_path: Path) -> None:
    table = tables.csv([i // 5 for i in range(60)], list(range(60)), [i // 5 % 2 for i in range(60)], header="run,x,y")
    for learnt, count in (("every", 5), ("last", 1)):
        own = text(TASKS["classification"] + f'\nlearnt = "{learnt}"').replace('time = "time"', 'sequence = "run"')
        own = own.replace(SYMBOL, "").replace('by = "time"', 'by = "sequence"')
        data = tables.load(tables.recipe(tmp_path, own, table))
        parts = [*data.training, *data.validation, *data.test]
        assert [(~np.isnan(one.answers())).sum() for one in parts] == [count] * 12


def test_names_that_a_server_would_refuse_are_refused_before_training(tmp_path: Path) -> None:
    table = TABLE.replace("time,x,s,y", "time,x,s,x_missing")
    mask = 'name = "x"\nmissing = "mask"\n\n[[features]]\nname = "x_missing"'
    recipe = tables.recipe(tmp_path, text().replace('name = "x"', mask, 1), table)
    with pytest.raises(TableError, match="two features are 'x_missing'; rename one"):
        train(recipe, tmp_path / "models", runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_report_and_the_file_show_the_recipe_as_fit_reads_it(tmp_path: Path) -> None:
    recipe = tables.recipe(
        tmp_path, text(TASKS["classification"]) + '\n[notes]\nsummary = """\nIt is.\n\n"So."\n"""\n', TABLE
    )
    metadata = read_metadata(train(recipe, tmp_path / "models", runs=tmp_path / "runs"))
    assert recipe_of(metadata["recipe_toml"], "again", tmp_path) == recipe
    report = unescape((tmp_path / "runs/tiny/1/report.html").read_text(encoding="utf-8"))
    assert metadata["recipe_toml"].strip() in report
    assert metadata["verdict"]["sentence"] in report
    dated = read_recipe("metro-traffic")
    assert recipe_of(dated.toml(), "again", dated.folder) == dated


def test_runs_of_two_seeds_lie_apart_and_are_listed_by_their_validation_figure(tmp_path: Path) -> None:
    for seed in (0, 1):
        train(tables.recipe(tmp_path), tmp_path / "models", "1", seed, runs=tmp_path / "runs")
    assert sorted(one.name for one in (tmp_path / "runs/tiny").iterdir()) == ["1", "1-seed-1"]
    table = listing(tmp_path / "runs")
    validation = [float(str(cell)) for cell in table.columns[5].cells]
    assert table.columns[5].header == "validation"
    assert validation == sorted(validation)
    assert len(validation) == 2


def test_a_feedforward_network_of_the_same_size_is_a_baseline_on_request(tmp_path: Path) -> None:
    path = train(tables.recipe(tmp_path), tmp_path / "models", runs=tmp_path / "runs", feedforward=True)
    metrics = read_metadata(path)["metrics"]
    assert {"feedforward_mse_z", "validation_feedforward_mse_z", "validation_mse_z", "test_mse_z"} <= set(metrics)
    assert "a feedforward network of the same size" in path.with_name("card.md").read_text(encoding="utf-8")
