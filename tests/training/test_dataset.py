from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.dataset import TableError, fit_scaling, forward_fill, read_table, series, windows

START = datetime(2020, 1, 1)


def table(values: list[float | None]) -> pl.DataFrame:
    return pl.DataFrame({"time": [START + timedelta(hours=i) for i in range(len(values))], "x": values})


def test_an_empty_value_becomes_the_last_one_and_its_row_is_marked() -> None:
    filled = forward_fill(table([1.0, None, None, 4.0]))
    assert filled["x"].to_list() == [1.0, 1.0, 1.0, 4.0]
    assert filled["filled"].to_list() == [False, True, True, False]


def test_an_empty_first_row_is_an_error_that_names_the_column() -> None:
    with pytest.raises(TableError, match="x is empty in row 0"):
        forward_fill(table([None, 2.0]))


def test_a_gap_in_time_is_an_error_that_names_the_row(tmp_path: Path) -> None:
    path = tmp_path / "gap.csv"
    table([1.0, 2.0, 3.0, 4.0]).filter(pl.col("x") != 3.0).write_csv(path)
    with pytest.raises(TableError, match=r"gap\.csv: time 2020-01-01 03:00:00 in row 2"):
        read_table(path, "time")


def test_each_row_is_paired_with_the_target_one_horizon_later() -> None:
    rows = series(forward_fill(table([1.0, None, 3.0, 4.0])), time="time", features=["x"], target="x", horizon=1)
    assert rows.inputs[:, 0].tolist() == [1.0, 1.0, 3.0]
    assert rows.targets[:, 0].tolist() == [1.0, 3.0, 4.0]
    assert rows.filled.tolist() == [False, True, False]
    assert rows.measured.tolist() == [False, True, True]


def test_parts_are_cut_by_the_time_of_the_target() -> None:
    rows = series(
        forward_fill(table([float(i) for i in range(10)])), time="time", features=["x"], target="x", horizon=2
    )
    part = rows.part(START + timedelta(hours=4), START + timedelta(hours=7))
    assert rows.targets[part, 0].tolist() == [4.0, 5.0, 6.0]


def test_windows_cover_the_part_and_count_neither_warm_up_nor_filled_targets() -> None:
    values = [float(i) for i in range(12)]
    rows = series(
        forward_fill(table([*values[:5], None, *values[6:]])), time="time", features=["x"], target="x", horizon=1
    )
    x, y, counts = windows(rows, slice(0, 10), length=4, stride=4, uncounted=1).tensors
    assert x[:, 0, 0].tolist() == [0.0, 4.0, 6.0]  # the last window ends with the part
    assert y[0, :, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert counts.tolist() == [[False, True, True, True], [False, True, True, True], [False, True, True, True]]
    _, y, counts = windows(rows, slice(2, 8), length=6, stride=1, uncounted=0).tensors
    assert y[0, :, 0].tolist() == [3.0, 4.0, 4.0, 6.0, 7.0, 8.0]
    assert counts.tolist() == [[True, True, False, True, True, True]]


def test_scaling_is_the_mean_and_deviation_of_each_column() -> None:
    scaling = fit_scaling(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32))
    assert scaling.mean.tolist() == [2.0, 5.0]
    assert scaling.std.tolist() == [1.0, 0.0]
