import hashlib
import shutil
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from study.gates import draw
from tests.training import tables, tiny
from training.cli import app
from training.data.dataset import load
from training.errors import RecipeError, VerificationError
from training.file.contract import read_metadata
from training.file.quantise import entering, quantise, refuse_if_worse
from training.recipe.read import read_recipe
from training.recipe.recipe import Recipe
from training.train import train

LOOSE = 1.0  # a network of one epoch is worth nothing, nor is how much of it is lost


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    train(tables.recipe(folder, table=tables.line(60)), folder / "models", runs=folder / "runs")
    return folder


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> Recipe:
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    return read_recipe(tmp_path / "tiny.toml")


def file(folder: Path, version: int) -> Path:
    return folder / f"models/tiny/{version}/model.onnx"


def write(recipe: Recipe, folder: Path, of: str = "1", version: str = "2", tolerance: float = LOOSE) -> Path:
    return quantise(recipe, folder / "models", of=of, version=version, tolerance=tolerance)


def test_the_int8_file_lies_beside_the_float32_one_and_tells_of_both(trained: Recipe, tmp_path: Path) -> None:
    before = file(tmp_path, 1).read_bytes()
    path = write(trained, tmp_path)
    assert path == file(tmp_path, 2)
    assert file(tmp_path, 1).read_bytes() == before
    told, was = read_metadata(path), read_metadata(file(tmp_path, 1))
    quantised = told["quantised"]
    assert (quantised["version"], quantised["sha256"]) == ("1", hashlib.sha256(before).hexdigest())
    figures = quantised["figures"]["test"]
    assert figures["int8"]["mse_z"] == told["metrics"]["test_mse_z"] != was["metrics"]["test_mse_z"]
    assert figures["float32"]["mse_z"] == pytest.approx(was["metrics"]["test_mse_z"], abs=2e-5)
    assert told["metrics"]["persistence_mae"] == was["metrics"]["persistence_mae"]
    same = set(was) - {"metrics"}
    assert {key: told[key] for key in same} == {key: was[key] for key in same}


def test_the_card_sets_loss_and_speed_side_by_side(trained: Recipe, tmp_path: Path) -> None:
    card = write(trained, tmp_path).with_name("card.md").read_text(encoding="utf-8")
    _, _, section = card.partition("## Quantised")
    assert "`carousel-train quantise tiny --of 1 --version 2`" in card
    for line in ("| validation: MSE, z-scored |", "| test: MSE, z-scored |", "batches of 1 |", "batches of 64 |"):
        assert line in section


def test_the_same_file_gives_the_same_file(trained: Recipe, tmp_path: Path) -> None:
    assert write(trained, tmp_path).read_bytes() == write(trained, tmp_path).read_bytes()


def test_what_enters_is_measured_on_the_part_it_is_asked_for(trained: Recipe, tmp_path: Path) -> None:
    data, model = load(trained), onnx.load(file(tmp_path, 1))
    scaled = [
        (part[0].sequence.inputs[part[0].steps] - data.inputs.mean) / data.inputs.std
        for part in (data.training, data.test)
    ]
    assert entering(model, data.training) == pytest.approx(abs(scaled[0]).max())
    assert abs(scaled[1]).max() > entering(model, data.training)
    assert read_metadata(write(trained, tmp_path))["quantised"]["reach"] == entering(model, data.training)


def test_a_file_that_loses_too_much_is_refused_and_nothing_is_written(trained: Recipe, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"mse_z on the validation part is .* in float32 it is .* nothing was"):
        write(trained, tmp_path, tolerance=-0.99)
    assert not file(tmp_path, 2).parent.exists()


@pytest.mark.parametrize(
    ("before", "after", "tolerance"),
    [
        ({"mse_z": 1.0, "mae": 1.0}, {"mse_z": 1.021, "mae": 1.0}, 0.02),
        ({"mse_z": 1.0, "capped_rmse": 1.0}, {"mse_z": 1.0, "capped_rmse": 1.03}, 0.02),
        ({"nll": 1.0, "accuracy": 0.9}, {"nll": float("nan"), "accuracy": 0.9}, 0.02),
        ({"a_mse_z": 1.0, "b_mse_z": 1.0}, {"a_mse_z": 0.5, "b_mse_z": 1.03}, 0.02),
        ({"pinball_z": 0.0}, {"pinball_z": 0.001}, 0.5),
    ],
)
def test_the_main_figure_of_a_task_may_not_grow_by_more_than_the_tolerance(
    before: dict[str, float], after: dict[str, float], tolerance: float
) -> None:
    with pytest.raises(VerificationError, match="int8 loses too much"):
        refuse_if_worse(before, after, tolerance)


def test_what_grows_within_the_tolerance_or_is_not_the_main_figure_passes() -> None:
    refuse_if_worse({"mse_z": 1.0, "mae": 1.0}, {"mse_z": 1.019, "mae": 3.0}, 0.02)
    refuse_if_worse({"nll": 1.0, "accuracy": 0.9}, {"nll": 0.9, "accuracy": 0.1}, 0.0)


@pytest.mark.parametrize("cell", ["feedforward", "rnn", "gru", "bidirectional"])
def test_what_is_no_one_way_lstm_is_one_message(cell: str, tmp_path: Path) -> None:
    tables.recipe(tmp_path)
    both = cell == "bidirectional"
    file(tmp_path, 1).parent.mkdir(parents=True)
    onnx.save(tiny.model(tiny.network("lstm" if both else cell, bidirectional=both)), file(tmp_path, 1))
    message = f"{file(tmp_path, 1)}: its cell is {cell}; only a one-way lstm can be quantised\n"
    assert command(tmp_path) == (1, message)


def test_a_missing_file_an_int8_one_and_one_of_other_data_are_one_message_each(trained: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file; `carousel-train fit` makes it"):
        write(trained, tmp_path, of="7")
    with pytest.raises(RecipeError, match="is what int8 is made of; write another --version"):
        write(trained, tmp_path, version="1")
    write(trained, tmp_path)
    with pytest.raises(RecipeError, match="is in int8; name version 1, which it was made of"):
        write(trained, tmp_path, of="2", version="3")
    with pytest.raises(RecipeError, match="was made with other data than"):
        write(tables.recipe(tmp_path, table=tables.line(59)), tmp_path)


def test_the_command_says_what_it_costs_and_what_it_wrote(trained: Recipe, tmp_path: Path) -> None:
    code, output = command(tmp_path, "--tolerance", "1")
    assert code == 0, output
    assert "test: MSE, z-scored" in output
    card = file(tmp_path, 2).with_name("card.md")
    assert output.endswith(f"Wrote {file(tmp_path, 2)} and {card}\n")
    assert f"`carousel-train quantise {tmp_path}/tiny.toml --of 1 --version 2`" in card.read_text(encoding="utf-8")


def test_the_gates_of_an_int8_file_are_drawn_from_the_float32_one(trained: Recipe, tmp_path: Path) -> None:
    path = write(trained, tmp_path)
    with pytest.raises(RecipeError, match="is in int8; name version 1, which it was made of"):
        draw(trained, tmp_path / "models", "2", path.with_name("gates.png"))


def command(folder: Path, *options: str) -> tuple[int, str]:
    """Return exit code and output of `carousel-train quantise` on the tiny recipe of a folder."""
    told = ["quantise", str(folder / "tiny.toml"), "--models", str(folder / "models"), *options]
    result = CliRunner().invoke(app, told)
    return result.exit_code, result.output
