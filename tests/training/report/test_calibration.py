import numpy as np

from tests.training.facts import CLASSES, LABELS, floats
from training.report.calibration import confusion_counts, reliability

NAN = np.nan


def test_what_is_said_is_set_beside_how_often_it_comes() -> None:
    said = floats([0.25, 1.0], [0.25, 1.0], [0.21, 0.5])
    given, happened, count = reliability(LABELS, said, floats([1, 1], [0, 1], [NAN, NAN]))
    np.testing.assert_allclose(given, [0.25, 1.0])
    np.testing.assert_allclose(happened, [0.5, 1.0])
    assert count.tolist() == [2, 2]


def test_each_class_of_a_step_is_something_said() -> None:
    _, happened, count = reliability(CLASSES, floats([0.75, 0.25, 0.0]), floats([0]))
    assert (happened.tolist(), count.tolist()) == ([0, 0, 1], [1, 1, 1])


def test_the_likeliest_class_is_counted_under_the_one_that_came() -> None:
    said = floats([0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.9, 0.1, 0.0])
    assert confusion_counts(CLASSES, said, floats([0], [0], [NAN])).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
