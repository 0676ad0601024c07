import numpy as np
import torch

from training.data.batches import Lanes, Window, carried, collate, streams, windows
from training.data.dataset import Sequence, Stretch
from training.recipe.recipe import Training


def stretch(T: int, first: int = 0, stop: int | None = None, missing: tuple[int, ...] = ()) -> Stretch:
    """Row i holds i; the answer, one row later, is i + 1."""
    rows = np.arange(T, dtype=np.float32)[:, None]
    targets = rows.copy()
    targets[list(missing)] = np.nan
    return Stretch(Sequence("s", np.arange(T), rows, targets), first, stop or T, (1,))


def test_windows_cover_a_stretch_and_the_last_ends_with_it() -> None:
    cut = windows([stretch(11)], Training(window=4, stride=4))
    assert [one.x[:, 0].tolist() for one in cut] == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert cut[0].answers[:, 0].tolist() == [1, 2, 3, 4]


def test_steps_that_warm_up_and_answers_not_measured_do_not_count() -> None:
    (only,) = windows([stretch(6, missing=(3,))], Training(window=5, uncounted=1))
    np.testing.assert_array_equal(only.answers[:, 0], [np.nan, 2, np.nan, 4, 5])


def test_sequences_are_taken_whole_if_no_window_is_asked_for_or_they_are_shorter() -> None:
    stretches = [stretch(4), stretch(9)]
    assert [len(one.x) for one in windows(stretches, Training())] == [3, 8]
    assert [len(one.x) for one in windows(stretches, Training(window=5))] == [3, 5, 5]


def test_a_window_without_an_answer_is_left_out() -> None:
    assert len(windows([stretch(9, missing=(1, 2, 3, 4))], Training(window=4))) == 1


def test_a_stream_is_warmed_up_by_the_steps_before_it() -> None:
    (one,) = streams([stretch(10, 6)], 2)
    assert one.x[:, 0].tolist() == [3, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(one.answers[:, 0], [np.nan, np.nan, 6, 7, 8, 9])
    assert len(streams([stretch(10, 6)], None)[0].x) == 9


def test_shorter_windows_are_padded_with_answers_that_do_not_count() -> None:
    batch = collate(windows([stretch(3), stretch(5)], Training()))
    assert batch.lengths.tolist() == [2, 4]
    assert batch.x[0, :, 0].tolist() == [0, 1, 0, 0]
    assert batch.answers[0, :, 0].isnan().tolist() == [False, False, True, True]
    assert batch.fresh.all()


def test_every_run_is_taken_once_in_order_by_one_lane() -> None:
    runs = [range(3), range(3, 5), range(5, 9), range(9, 10)]
    order: dict[int, list[int]] = {}
    taken: list[list[int]] = []
    cut = [Window(np.full((1, 1), index, np.float32), np.zeros((1, 1), np.float32)) for index in range(10)]
    for batch in Lanes(cut, runs, 2):
        assert len(set(batch.lanes.tolist())) == len(batch.lanes)
        for index, lane, fresh in zip(
            batch.x[:, 0, 0].tolist(), batch.lanes.tolist(), batch.fresh.tolist(), strict=True
        ):
            if fresh:
                taken.append(order.setdefault(lane, []))
                order[lane] = taken[-1] = []
            order[lane].append(index)
    assert sorted(taken) == [list(run) for run in runs]


def test_a_long_series_is_shared_out_among_the_lanes_and_each_goes_on_where_it_stopped() -> None:
    batches = list(carried([stretch(33)], Training(batch=2, window=8, carry=True)))
    assert [batch.fresh.tolist() for batch in batches] == [[True, True], [False, False]]
    begins = torch.stack([batch.x[:, 0, 0] for batch in batches])
    assert (begins[1] - begins[0]).tolist() == [8, 8]
    assert sorted(begins[0].tolist()) == [0, 16]
