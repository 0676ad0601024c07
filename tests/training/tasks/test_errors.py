import numpy as np

from tests.training.facts import BAND, CLASSES, LABELS, facts, floats
from training.tasks import RegressionTask
from training.tasks.task import mean

NAN = np.nan


def test_the_error_of_numbers_is_told_by_target_and_horizon() -> None:
    task = RegressionTask(None, facts(targets=2, horizons=(1, 3)))
    found = task.errors(floats([1, 2, 3, 4]), floats([1, 4, NAN, 3]))
    np.testing.assert_array_equal(found, [[[0, 2], [NAN, 1]]])


def test_a_truth_outside_the_band_costs_the_pinball_loss() -> None:
    np.testing.assert_allclose(BAND.errors(floats([2, 5]), floats([10])), [[[(0.1 * 8 + 0.9 * 5) / 2]]])


def test_classes_and_labels_cost_the_nats_of_what_came() -> None:
    said = floats([0.5, 0.25, 0.25], [0.1, 0.1, 0.8])
    np.testing.assert_allclose(CLASSES.errors(said, floats([1], [NAN]))[:, 0, 0], [-np.log(0.25), NAN])
    both = LABELS.errors(floats([0.5, 0.2], [0.5, 0.5]), floats([1, 0], [1, NAN]))
    np.testing.assert_allclose(both[:, 0, 0], [-np.log(0.5) - np.log(0.8), NAN], rtol=1e-6)


def test_nothing_came_where_the_answer_is_not_known() -> None:
    assert CLASSES.happened(floats([2], [NAN])).tolist() == [[False, False, True], [False] * 3]
    assert LABELS.happened(floats([1, NAN])).tolist() == [[True, False]]


def test_the_share_below_a_quantile_leaves_out_what_is_not_known() -> None:
    outputs = np.tile(floats([1, 9]), (5, 1))
    np.testing.assert_allclose(BAND.below(outputs, floats([0], [5], [5], [10], [NAN])), [[0.25, 0.75]])


def test_the_mean_of_nothing_known_is_unknown() -> None:
    np.testing.assert_array_equal(mean(np.array([[1.0, NAN], [3.0, NAN]])), [2.0, NAN])
