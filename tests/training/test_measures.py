from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.measures import along, below, came, confusion, errors, mean, reliability
from training.tasks import ClassesTask, LabelsTask, QuantilesTask, RegressionTask

NAN = np.nan


def floats(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def facts(targets: int = 1, horizons: tuple[int, ...] = (1,), classes: tuple[str, ...] = ()) -> Any:
    """What a task reads of its data."""
    named = tuple(SimpleNamespace(name=f"t{c}", unit=None, classes=classes) for c in range(targets))
    return SimpleNamespace(targets=named, horizons=horizons)


CLASSES = ClassesTask(None, facts(classes=("a", "b", "c")))
LABELS = LabelsTask(None, facts(targets=2))
BAND = QuantilesTask(SimpleNamespace(quantiles=(0.1, 0.9)), facts())


def test_the_error_of_numbers_is_told_by_target_and_horizon() -> None:
    task = RegressionTask(None, facts(targets=2, horizons=(1, 3)))
    found = errors(task, floats([1, 2, 3, 4]), floats([1, 4, NAN, 3]))
    np.testing.assert_array_equal(found, [[[0, 2], [NAN, 1]]])


def test_a_truth_outside_the_band_costs_the_pinball_loss() -> None:
    np.testing.assert_allclose(errors(BAND, floats([2, 5]), floats([10])), [[[(0.1 * 8 + 0.9 * 5) / 2]]])


def test_classes_and_labels_cost_the_nats_of_what_came() -> None:
    said = floats([0.5, 0.25, 0.25], [0.1, 0.1, 0.8])
    np.testing.assert_allclose(errors(CLASSES, said, floats([1], [NAN]))[:, 0, 0], [-np.log(0.25), NAN])
    both = errors(LABELS, floats([0.5, 0.2], [0.5, 0.5]), floats([1, 0], [1, NAN]))
    np.testing.assert_allclose(both[:, 0, 0], [-np.log(0.5) - np.log(0.8), NAN], rtol=1e-6)


def test_nothing_came_where_the_answer_is_not_known() -> None:
    assert came(CLASSES, floats([2], [NAN])).tolist() == [[False, False, True], [False] * 3]
    assert came(LABELS, floats([1, NAN])).tolist() == [[True, False]]


def test_the_share_below_a_quantile_leaves_out_what_is_not_known() -> None:
    outputs = np.tile(floats([1, 9]), (5, 1))
    np.testing.assert_allclose(below(BAND, outputs, floats([0], [5], [5], [10], [NAN])), [[0.25, 0.75]])


def test_what_is_said_is_set_beside_how_often_it_comes() -> None:
    said = floats([0.25, 1.0], [0.25, 1.0], [0.21, 0.5])
    found = reliability(LABELS, said, floats([1, 1], [0, 1], [NAN, NAN]))
    np.testing.assert_allclose(found.said, [0.25, 1.0])
    np.testing.assert_allclose(found.came, [0.5, 1.0])
    assert found.times.tolist() == [2, 2]


def test_each_class_of_a_step_is_something_said() -> None:
    found = reliability(CLASSES, floats([0.75, 0.25, 0.0]), floats([0]))
    assert (found.came.tolist(), found.times.tolist()) == ([0, 0, 1], [1, 1, 1])


def test_the_likeliest_class_is_counted_under_the_one_that_came() -> None:
    said = floats([0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.9, 0.1, 0.0])
    assert confusion(CLASSES, said, floats([0], [0], [NAN])).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_errors_along_a_sequence_are_averaged_over_those_that_reach_so_far() -> None:
    firsts, means = along([np.array([[[1.0, 3.0]], [[5.0, NAN]]]), np.array([[[4.0, 4.0]]])])
    assert firsts.tolist() == [0, 1]
    np.testing.assert_allclose(means, [[3.0], [5.0]])


def test_long_sequences_are_told_in_at_most_sixty_places() -> None:
    firsts, means = along([np.arange(121.0)[:, None, None]])
    assert len(firsts) == len(means) == 41
    assert firsts[:2].tolist() == [0, 3]
    assert means[0] == pytest.approx(1.0)


def test_the_mean_of_nothing_known_is_unknown() -> None:
    np.testing.assert_array_equal(mean(np.array([[1.0, NAN], [3.0, NAN]])), [2.0, NAN])
