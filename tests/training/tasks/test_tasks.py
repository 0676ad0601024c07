from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import tables
from training.tasks import Task, task_of

REGRESSION = 'kind = "regression"\ntargets = ["x"]'


def task(folder: Path, section: str, table: str | None = None, features: str = "") -> Task:
    text = tables.RECIPE.replace(REGRESSION, section).replace("[task]", features + "\n[task]")
    recipe = tables.recipe(folder, text, table)
    return task_of(recipe, tables.load(recipe))


def floats(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_a_number_is_named_for_its_target_and_several_for_their_horizons(tmp_path: Path) -> None:
    (alone,) = task(tmp_path, REGRESSION + '\nunit = "m"').outputs
    assert (alone.name, alone.unit, alone.target, alone.horizon) == ("x", "m", "x", 1)
    assert [one.name for one in task(tmp_path, REGRESSION + "\nhorizons = [1, 3]").outputs] == ["x_h1", "x_h3"]


def test_a_residual_head_begins_with_the_mean_change_whatever_the_cell_says(tmp_path: Path) -> None:
    head = task(tmp_path, REGRESSION + "\nhorizons = [1, 3]\nresidual = true").head(5)
    with torch.no_grad():
        assert head(torch.rand(2, 3, 5)).unique(dim=0).flatten().tolist() == [1, 3] * 3  # x rises by 1 an hour


def test_errors_are_z_scored_and_in_the_targets_unit_and_gaps_do_not_count(tmp_path: Path) -> None:
    several = task(tmp_path, REGRESSION + "\nhorizons = [1, 2]")
    several.data.answers.std[:] = 2, 4
    figures = several.figures(floats([3, 1], [9, 9]), floats([1, 5], [np.nan, 9]))
    assert figures == pytest.approx(
        {
            "mse_z": 2 / 3,
            "mae": 2.0,
            "rmse": (20 / 3) ** 0.5,
            "x_h1_mse_z": 1,
            "x_h1_mae": 2,
            "x_h2_mse_z": 0.5,
            "x_h2_mae": 2,
        }
    )


def test_the_baselines_are_the_last_value_and_that_of_one_season_before(tmp_path: Path) -> None:
    one = task(tmp_path, REGRESSION + "\nhorizons = [1, 2]\nseason = 4")
    baselines = one.baselines(one.data.test[0])  # answers 16 … 19
    assert baselines["persistence"][:2].tolist() == [[14, 14], [15, 15]]
    assert baselines["season"][:2].tolist() == [[11, 12], [12, 13]]
    early = one.baselines(one.data.training[0])["season"]
    np.testing.assert_array_equal(early[:3], [[np.nan, np.nan], [np.nan, np.nan], [np.nan, 0]])


def test_a_target_that_is_no_feature_is_compared_with_its_mean(tmp_path: Path) -> None:
    table = tables.csv(tables.hours(20), [1] * 20, list(range(20)), header="time,x,y")
    one = task(tmp_path, 'kind = "regression"\ntargets = ["y"]\nhorizons = [0]', table)
    assert {name: set(said[:, 0].tolist()) for name, said in one.baselines(one.data.test[0]).items()} == {
        "prior": {5.5}
    }


def test_a_band_is_judged_by_what_lies_inside(tmp_path: Path) -> None:
    band = task(tmp_path, 'kind = "quantiles"\ntargets = ["x"]\nquantiles = [0.25, 0.75]')
    band.data.answers.std[:] = 1
    assert [one.name for one in band.outputs] == ["x_q0.25", "x_q0.75"]
    figures = band.figures(floats(*[[0, 10]] * 4), floats([-1], [1], [9], [np.nan]))
    assert figures == pytest.approx(
        {
            "coverage": 2 / 3,
            "below_0.25": 1 / 3,
            "below_0.75": 1,
            "pinball_z": (0.75 + 2.75 + 0.25 + 2.25 + 2.25 + 0.25) / 6,
        }
    )
    np.testing.assert_allclose(band.prior, [3.5, 8.5])  # answers 1 … 11 ... of the training part


SYMBOLS = '[[features]]\nkind = "category"\nname = "s"\n'


def test_classes_and_symbols_are_named_and_judged_in_nats(tmp_path: Path) -> None:
    table = tables.csv(tables.hours(20), list(range(20)), ["a", "b"] * 10, header="time,x,s")
    one = task(tmp_path, 'kind = "next-symbol"\ntarget = "s"', table, SYMBOLS)
    assert [(output.name, output.unit) for output in one.outputs] == [("a", "probability"), ("b", "probability")]
    figures = one.figures(floats([0.75, 0.25], [0.5, 0.5]), floats([0], [np.nan]))
    assert figures["nll"] == pytest.approx(-np.log(0.75))
    assert figures["accuracy"] == 1
    np.testing.assert_allclose(one.prior, [5 / 11, 6 / 11])


def test_labels_are_judged_in_nats_a_step_over_all_of_them(tmp_path: Path) -> None:
    table = tables.csv(tables.hours(20), [0, 1] * 10, [1, 1, 0, 0] * 5, header="time,x,y")
    one = task(tmp_path, 'kind = "multilabel"\ntargets = ["x", "y"]\nhorizon = 1', table)
    assert [output.name for output in one.outputs] == ["x", "y"]
    figures = one.figures(floats([0.9, 0.2], [0.5, 0.5]), floats([1, 0], [np.nan, 0]))
    assert figures == pytest.approx({"f1": 1, "nll": -np.log(0.9) - np.log(0.8)})
