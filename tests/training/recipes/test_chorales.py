from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.data.sources.archives import matlab, zipped
from tests.training.published import needs_data
from training.data.dataset import load
from training.data.sources import Chorales
from training.errors import TableError
from training.file.contract import read_metadata
from training.net.evaluate import unseen
from training.recipe.read import read_recipe
from training.recipe.recipe import Recipe
from training.tasks import task_of
from training.train import train

RECIPE = read_recipe("chorales")
LENGTHS = {"traindata": (5, 4), "validdata": (3,), "testdata": (2, 6)}


def rolls(random: np.random.Generator) -> dict[str, list[NDArray[np.uint8]]]:
    def roll(frames: int) -> NDArray[np.uint8]:
        return (random.random((frames, 88)) < 0.1).astype(np.uint8)

    return {name: [roll(frames) for frames in lengths] for name, lengths in LENGTHS.items()}


def recipe(folder: Path, content: bytes, **training: int) -> Recipe:
    archive = zipped(folder / "few.zip", {"JSB_Chorales.mat": content})
    return RECIPE.model_copy(
        update={
            "data": Chorales(source="chorales", path=archive),
            "network": RECIPE.network.model_copy(update={"hidden": 4}),
            "training": RECIPE.training.model_copy(update=training),
        }
    )


@pytest.fixture
def few() -> dict[str, list[NDArray[np.uint8]]]:
    return rolls(np.random.default_rng(0))


def test_the_chorales_are_in_the_parts_of_the_publication(
    few: dict[str, list[NDArray[np.uint8]]], tmp_path: Path
) -> None:
    data = load(recipe(tmp_path, matlab(few)))
    for name, part in zip(LENGTHS, (data.training, data.validation, data.test), strict=True):
        for whole, one in zip(few[name], part, strict=True):
            np.testing.assert_array_equal(one.sequence.inputs, whole)
    assert [feature.name for feature in data.features] == [f"key_{number}" for number in range(21, 109)]


def test_every_frame_but_the_first_is_predicted_from_those_before(
    few: dict[str, list[NDArray[np.uint8]]], tmp_path: Path
) -> None:
    few_recipe = recipe(tmp_path, matlab(few))
    data = load(few_recipe)
    for whole, one in zip(few["testdata"], unseen(few_recipe, data, data.test), strict=True):
        np.testing.assert_array_equal(one.inputs, whole[:-1])
        np.testing.assert_array_equal(one.answers, whole[1:])


def test_a_prediction_is_judged_in_nats_summed_over_the_keys_and_averaged_over_the_frames(
    few: dict[str, list[NDArray[np.uint8]]], tmp_path: Path
) -> None:
    few_recipe = recipe(tmp_path, matlab(few))
    data = load(few_recipe)
    answers = np.concatenate([one.answers for one in unseen(few_recipe, data, data.test)])
    assert len(answers) == 1 + 5
    figures = task_of(few_recipe, data).figures(np.full_like(answers, 0.25), answers)
    sounding = int(answers.sum())
    assert figures["nll"] == pytest.approx(-(sounding * np.log(0.25) + (6 * 88 - sounding) * np.log(0.75)) / 6)


def test_a_fit_leaves_a_verified_file_that_answers_88_probabilities(
    few: dict[str, list[NDArray[np.uint8]]], tmp_path: Path
) -> None:
    path = train(recipe(tmp_path, matlab(few), epochs=1), tmp_path / "models", runs=tmp_path / "runs")
    metadata = read_metadata(path)
    assert [output["name"] for output in metadata["outputs"]] == [f"key_{number}" for number in range(21, 109)]
    assert {"test_nll", "state_dropped_nll", "prior_nll"} <= set(metadata["metrics"])


@pytest.mark.parametrize("content", [b"nothing", matlab({"traindata": []}), matlab({"other": [np.eye(2, dtype="u1")]})])
def test_a_file_that_is_something_else_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"JSB_Chorales\.mat: "):
        load(recipe(tmp_path, content))


@needs_data
def test_the_real_file_is_that_of_the_publication() -> None:
    data = load(RECIPE)
    parts = [[len(one.sequence.inputs) for one in part] for part in (data.training, data.validation, data.test)]
    assert [(len(part), sum(part)) for part in parts] == [(229, 13_807), (76, 4_602), (77, 4_725)]
    keys = np.array([int(target.name.removeprefix("key_")) for target in data.targets])
    sounds = np.concatenate([one.sequence.targets for one in data.training]).any(axis=0)
    assert (keys[sounds].min(), keys[sounds].max()) == (43, 96)
