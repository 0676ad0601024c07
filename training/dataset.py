"""A table of one long sequence → arrays, parts and windows. Knows neither networks nor files it was not given."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from training.networks import Scaling

FILLED = "filled"  # the column that `forward_fill` adds


class TableError(ValueError):
    """The table is not what the recipe says."""


def read_table(path: Path, time: str) -> pl.DataFrame:
    """Read a CSV file (plain or gzipped) whose `time` column must rise by one hour a row."""
    table = pl.read_csv(path, try_parse_dates=True)
    steps = table[time].diff().drop_nulls()
    if not (steps == timedelta(hours=1)).all():
        row = int((steps != timedelta(hours=1)).arg_true()[0]) + 1
        raise TableError(f"{path.name}: {time} {table[time][row]} in row {row} is not one hour after the row before")
    return table


def forward_fill(table: pl.DataFrame) -> pl.DataFrame:
    """Give each empty value the last one above it, and mark the rows where that happened in the column `filled`."""
    filled = table.with_columns(pl.any_horizontal(pl.all().is_null()).alias(FILLED))
    filled = filled.with_columns(pl.all().exclude(FILLED).forward_fill())
    for column in filled.columns:
        if filled[column].has_nulls():
            raise TableError(f"{column} is empty in row 0, so there is nothing to fill it with")
    return filled


@dataclass(frozen=True)
class Series:
    """One sequence with its target: row i is what is known at `times[i]`, target i is what follows `horizon` later."""

    times: NDArray[np.datetime64]  # [N] of the rows
    inputs: NDArray[np.float32]  # [N, F]
    targets: NDArray[np.float32]  # [N, K]
    filled: NDArray[np.bool_]  # [N] the row was not measured
    measured: NDArray[np.bool_]  # [N] the target was
    horizon: timedelta

    def __len__(self) -> int:
        return len(self.times)

    def part(self, start: datetime, end: datetime) -> slice:
        """Return the rows whose *targets* lie in [start, end): no target is in two parts."""
        first, last = np.searchsorted(
            self.times + np.timedelta64(self.horizon), np.array([start, end], "datetime64[us]")
        )
        return slice(int(first), int(last))


def series(table: pl.DataFrame, *, time: str, features: Sequence[str], target: str, horizon: int) -> Series:
    """Pair each hourly row with the target `horizon` rows later; the last rows, which have none, are dropped."""
    N = len(table) - horizon
    filled = table[FILLED].to_numpy()
    return Series(
        times=table[time].to_numpy()[:N],
        inputs=table.select(features).to_numpy()[:N].astype(np.float32),
        targets=table.select(target).to_numpy()[horizon:].astype(np.float32),
        filled=filled[:N],
        measured=~filled[horizon:],
        horizon=timedelta(hours=horizon),
    )


def fit_scaling(values: NDArray[np.float32]) -> Scaling:
    """Return mean and deviation of each column of values [N, F]; pass the training part only."""
    return Scaling(values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64))


def windows(rows: Series, part: slice, *, length: int, stride: int, uncounted: int) -> TensorDataset:
    """Cut a part into windows of x [n,T,F], y [n,T,K], counts [n,T].

    A window starts from the zero state, so its first `uncounted` steps do not count in the loss, and neither do targets
    that were filled. The window that ends with the part is always there.
    """
    starts = [*range(part.start, part.stop - length, stride), part.stop - length]
    index = np.array(starts)[:, None] + np.arange(length)  # [n, T]
    counts = rows.measured[index] & (np.arange(length) >= uncounted)
    return TensorDataset(*(torch.from_numpy(array) for array in (rows.inputs[index], rows.targets[index], counts)))
