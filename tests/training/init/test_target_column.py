import numpy as np
import polars as pl
import pytest

from training.data.sources import Table
from training.init.target_column import persists

WALK = np.cumsum(np.random.default_rng(0).normal(size=500))
NOISE = np.random.default_rng(0).normal(size=500)


@pytest.mark.parametrize(("values", "expected"), [(WALK, True), (NOISE, False), (np.full(9, 3.0), False)])
def test_a_column_persists_if_it_changes_little_from_row_to_row(values: np.ndarray, expected: bool) -> None:  # type: ignore[type-arg]
    assert persists(Table(pl.DataFrame({"x": values}), "t", ""), "x", np.arange(len(values))) is expected


def test_only_the_training_part_counts() -> None:
    table = Table(pl.DataFrame({"x": [*NOISE, *WALK]}), "t", "")
    assert persists(table, "x", np.arange(999, 499, -1)) is True
    assert persists(table, "x", np.arange(500)) is False


def test_the_step_from_one_sequence_to_the_next_is_no_change() -> None:
    values = [100.0 * (i % 2) + i // 100 for i in range(500)]  # two sequences, their rows in turn
    frame = pl.DataFrame({"x": values, "id": [str(i % 2) for i in range(500)]})
    assert persists(Table(frame, "t", ""), "x", np.arange(500)) is False
    assert persists(Table(frame, "t", "", sequence="id"), "x", np.arange(500)) is True
