from pathlib import Path

import numpy as np

from tests.training import tables
from training.net.evaluate import forecasts, scores, state_dropped, streamed, unseen
from training.net.learn import build
from training.tasks import task_of


def test_what_is_unseen_is_told_as_a_caller_lives_it(tmp_path: Path) -> None:
    recipe = tables.recipe(tmp_path, window="4")
    data = tables.load(recipe)
    (one,) = unseen(recipe, data, data.test)
    assert one.history[:, 0].tolist() == [11, 12, 13, 14]  # a window warms up
    assert one.inputs[:, 0].tolist() == [15, 16, 17, 18]
    assert one.answers[:, 0].tolist() == [16, 17, 18, 19]
    assert list(one.answer_times - one.times) == [np.timedelta64(1, "h")] * 4


def test_a_stream_goes_on_from_its_history_and_without_state_each_row_stands_alone(tmp_path: Path) -> None:
    recipe = tables.recipe(tmp_path)
    data = tables.load(recipe)
    network = build(recipe, data).eval()
    (one,) = unseen(recipe, data, data.test)
    together, alone = streamed(network.run, one), state_dropped(network.run, one)
    assert together.shape == alone.shape == (4, 1)
    assert not np.allclose(together, alone)
    measured = scores(task_of(recipe, data), [one], forecasts(network.run, [one]))
    assert list(measured) == ["test", "state_dropped", "persistence"]
    assert measured["persistence"]["mae"] == 1.0
