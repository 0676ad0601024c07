import numpy as np
import pytest

from training.report.errors import mean_along

NAN = np.nan


def test_errors_along_a_sequence_are_averaged_over_those_that_reach_so_far() -> None:
    firsts, means = mean_along([np.array([[[1.0, 3.0]], [[5.0, NAN]]]), np.array([[[4.0, 4.0]]])])
    assert firsts.tolist() == [0, 1]
    np.testing.assert_allclose(means, [[3.0], [5.0]])


def test_long_sequences_are_told_in_at_most_sixty_places() -> None:
    firsts, means = mean_along([np.arange(121.0)[:, None, None]])
    assert len(firsts) == len(means) == 41
    assert firsts[:2].tolist() == [0, 3]
    assert means[0] == pytest.approx(1.0)
