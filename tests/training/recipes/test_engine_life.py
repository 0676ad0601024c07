from pathlib import Path

import numpy as np
import pytest

from tests.training.data.sources.archives import LEFT, TEST_CYCLES, TRAIN_CYCLES, engines
from tests.training.published import needs_data
from training.data.dataset import Dataset, load
from training.data.sources import Cmapss
from training.data.sources.cmapss import RUL, TEST
from training.errors import TableError
from training.file.contract import read_metadata
from training.net.evaluate import unseen
from training.recipe.read import read_recipe
from training.recipe.recipe import Recipe
from training.tasks import task_of
from training.train import train

RECIPE = read_recipe("engine-life")


def recipe(folder: Path, **training: int) -> Recipe:
    return RECIPE.model_copy(
        update={
            "data": Cmapss(source="cmapss", path=engines(folder)),
            "training": RECIPE.training.model_copy(update=training),
        }
    )


def data(folder: Path) -> Dataset:
    return load(recipe(folder))


def test_every_engine_is_a_sequence_and_the_test_engines_are_those_of_the_test_file(tmp_path: Path) -> None:
    parts = data(tmp_path)
    learnt = sorted(len(one.sequence.inputs) for one in (*parts.training, *parts.validation))
    assert learnt == sorted(TRAIN_CYCLES)
    assert [(one.sequence.id, len(one.sequence.inputs)) for one in parts.test] == [
        (f"test-{unit}", cycles) for unit, cycles in enumerate(TEST_CYCLES, 1)
    ]


def test_remaining_life_falls_to_zero_in_training_and_to_what_is_told_in_the_test(tmp_path: Path) -> None:
    parts = data(tmp_path)
    for one in parts.training:
        T = len(one.sequence.inputs)
        assert one.answers()[:, 0].tolist() == list(range(T - 1, -1, -1))
    for one, left in zip(parts.test, LEFT, strict=True):
        assert one.answers()[-2:, 0].tolist() == [left + 1, left]


def test_a_sensor_is_found_under_its_name(tmp_path: Path) -> None:
    parts = data(tmp_path)
    names = [feature.name for feature in parts.features]
    first = parts.test[0].sequence.inputs
    np.testing.assert_allclose(first[:, names.index("T24")], [101.06, 102.06], rtol=1e-6)  # the seventh column
    np.testing.assert_allclose(first[:, names.index("W32")], [101.25, 102.25], rtol=1e-6)  # the last


def test_figures_are_of_the_last_cycle_with_the_truth_capped_and_not(tmp_path: Path) -> None:
    few = recipe(tmp_path)
    few = few.model_copy(update={"task": few.task.model_copy(update={"cap": 5.0})})
    parts = load(few)
    task = task_of(few, parts)
    streams = unseen(few, parts, parts.test)
    answers = np.concatenate([task.judged(one.answers) for one in streams])
    assert answers[~np.isnan(answers)].tolist() == list(LEFT)
    figures = task.figures(np.full_like(answers, 2), answers)
    assert figures["rmse"] == pytest.approx(np.sqrt(((7 - 2) ** 2 + (1 - 2) ** 2) / 2))
    assert figures["capped_rmse"] == pytest.approx(np.sqrt(((5 - 2) ** 2 + (1 - 2) ** 2) / 2))


def test_it_is_compared_with_the_capped_mean_and_with_that_of_engines_of_the_same_age(tmp_path: Path) -> None:
    few = recipe(tmp_path)
    few = few.model_copy(
        update={
            "task": few.task.model_copy(update={"cap": 3.0}),
            "split": few.split.model_copy(update={"validation": ("train-4",)}),
        }
    )
    parts = load(few)
    baselines = task_of(few, parts).baselines(parts.test[1])  # learnt from lives of 5, 3 and 4 cycles
    assert baselines["prior"][:, 0] == pytest.approx([(3 + 3 + 2 + 1 + 0 + 2 + 1 + 0 + 3 + 2 + 1 + 0) / 12] * 4)
    assert baselines["step"][:, 0] == pytest.approx([8 / 3, 6 / 3, 3 / 3, 1 / 2])


def test_a_fit_leaves_both_figures_in_a_verified_file(tmp_path: Path) -> None:
    path = train(recipe(tmp_path, epochs=1), tmp_path / "models", runs=tmp_path / "runs")
    metadata = read_metadata(path)
    assert {"test_rmse", "test_capped_rmse", "prior_capped_rmse", "step_rmse"} <= set(metadata["metrics"])
    assert metadata["outputs"] == [{"name": "rul", "unit": "cycles", "target": "rul", "horizon": 0}]
    card = path.with_name("card.md").read_text()
    assert "| RMSE, cycles | RMSE, cycles, truth capped |" in card


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        (RUL, "3\n", "RUL_FD001.txt: it has 1 engines, and test_FD001.txt 2"),
        (TEST, "1 1 2.0\n", "test_FD001.txt: 3 columns, and FD001 has 26"),
        (TEST, "1 1 x\n", "test_FD001.txt: could not convert"),
    ],
)
def test_files_that_are_not_fd001_are_refused_by_name(file: str, content: str, complaint: str, tmp_path: Path) -> None:
    (engines(tmp_path) / file).write_text(content)
    with pytest.raises(TableError, match=complaint):
        Cmapss(source="cmapss", path=tmp_path).read(Path())


@needs_data
def test_the_real_files_are_those_of_the_publication() -> None:
    real = load(RECIPE)
    learnt = (*real.training, *real.validation)
    assert (len(learnt), sum(len(one.sequence.inputs) for one in learnt)) == (100, 20_631)
    assert (len(real.test), sum(len(one.sequence.inputs) for one in real.test)) == (100, 13_096)
    assert (real.inputs.std > 0).all()  # no feature of the recipe stands still
    assert max(one.answers()[-1, 0] for one in real.test) == 145
