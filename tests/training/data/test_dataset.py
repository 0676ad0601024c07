from pathlib import Path

import numpy as np
import pytest

from tests.training import tables
from training.data.dataset import fit_scaling
from training.errors import TableError

SEVERAL = tables.RECIPE.replace('targets = ["x"]', 'targets = ["x"]\nhorizons = [1, 3]')


def test_each_step_is_paired_with_the_row_one_horizon_later(tmp_path: Path) -> None:
    (training,) = tables.data(tmp_path).training
    assert training.sequence.inputs[training.steps, 0].tolist() == list(range(11))
    assert training.answers()[:, 0].tolist() == list(range(1, 12))


def test_parts_are_cut_by_the_row_that_is_forecast_and_share_none(tmp_path: Path) -> None:
    data = tables.data(tmp_path)
    answers = [part[0].answers()[:, 0].tolist() for part in (data.training, data.validation, data.test)]
    assert answers == [list(range(1, 12)), [12, 13, 14, 15], [16, 17, 18, 19]]


def test_every_horizon_counts_where_its_own_row_lies(tmp_path: Path) -> None:
    data = tables.data(tmp_path, SEVERAL)
    (validation,) = data.validation
    assert validation.sequence.inputs[validation.steps, 0].tolist() == [9, 10, 11, 12, 13, 14]
    nan = np.nan
    wanted = [[nan, 12], [nan, 13], [12, 14], [13, 15], [14, nan], [15, nan]]
    np.testing.assert_array_equal(validation.answers(), wanted)


def test_an_answer_that_was_not_measured_does_not_count(tmp_path: Path) -> None:
    x = [None if i == 4 else i for i in range(20)]
    table = tables.csv(tables.hours(20), x, header="time,x")
    text = tables.RECIPE.replace('name = "x"', 'name = "x"\nmissing = "hold"')
    (training,) = tables.data(tmp_path, text, table).training
    assert np.flatnonzero(np.isnan(training.answers()[:, 0])).tolist() == [3]
    assert training.sequence.inputs[:6, 0].tolist() == [0, 1, 2, 3, 3, 5]


def test_what_comes_after_the_training_part_reaches_neither_scaling_nor_rules(tmp_path: Path) -> None:
    text = tables.RECIPE.replace('name = "x"', 'name = "x"\nmissing = "mask"')
    before = tables.data(tmp_path, text)
    later = tables.csv(tables.hours(20), [i if i < 12 else -1000 for i in range(20)], header="time,x")
    after = tables.data(tmp_path, text, later)
    assert before.features == after.features
    for one, other in zip((*before.inputs, *before.answers), (*after.inputs, *after.answers), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_gap_without_a_rule_is_an_error_that_names_the_line_and_the_fix(tmp_path: Path) -> None:
    table = tables.csv(tables.hours(20), [None if i == 5 else i for i in range(20)], header="time,x")
    with pytest.raises(TableError, match=r"tiny\.csv: line 7: x is empty; give the feature a rule.*missing = 'hold'"):
        tables.data(tmp_path, table=table)


@pytest.mark.parametrize(
    ("empty", "part"), [(range(20), "training"), (range(12, 16), "validation"), (range(16, 20), "test")]
)
def test_a_target_without_a_value_is_an_error_that_names_the_part(empty: range, part: str, tmp_path: Path) -> None:
    y = [None if i in empty else i for i in range(20)]
    table = tables.csv(tables.hours(20), list(range(20)), y, header="time,x,y")
    with pytest.raises(TableError, match=f"y: a target is empty in the whole {part} part"):
        tables.data(tmp_path, table=table, targets='["y"]')


def test_a_column_that_enters_as_it_is_keeps_its_numbers_unless_it_never_varied(tmp_path: Path) -> None:
    table = tables.csv(tables.hours(20), list(range(20)), [i % 2 for i in range(20)], [7] * 20, header="time,x,f,g")
    flags = '[[features]]\nname = "f"\nscale = false\n\n[[features]]\nname = "g"\nscale = false\n\n[task]'
    scaling = tables.data(tmp_path, tables.RECIPE.replace("[task]", flags), table).inputs
    assert scaling.mean[1:].tolist() == [0, 7]
    assert scaling.std[1:].tolist() == [1, 0]


def test_scaling_is_the_mean_and_deviation_of_each_column_gaps_left_out() -> None:
    scaling = fit_scaling(np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]], np.float32))
    assert scaling.mean.tolist() == [2.0, 5.0]
    assert scaling.std.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_scaling_is_exact_where_squares_of_float32_are_not(unit: float) -> None:
    scaling = fit_scaling(np.array([[1 * unit], [3 * unit]], np.float32))
    np.testing.assert_allclose([scaling.mean[0], scaling.std[0]], [2 * unit, unit], rtol=1e-6)
