"""Is the last value of a column a good forecast of the next? Used by `draft` only."""

import numpy as np
import polars as pl

from training.arrays import Integers
from training.data.columns import numbers, words
from training.data.sources import Table

SHARE = 0.5  # of the variance: if the mean squared change is smaller, the last value is a forecast to begin with


def persists(table: Table, target: str, training: Integers) -> bool:
    """Return whether the column changes little from row to row of a sequence, beside how much it varies at all.

    `training` are the rows of the training part.
    """
    ids = pl.repeat("", len(table.frame), eager=True) if table.sequence is None else words(table, table.sequence)
    frame = pl.DataFrame({"id": ids, "value": numbers(table, target)})[np.sort(training)]
    frame = frame.with_columns(pl.col("value").fill_nan(None).forward_fill().over("id"))
    found = frame.select(change=pl.col("value").diff().over("id").pow(2).mean(), variance=pl.col("value").var())
    change, variance = found.row(0)
    return bool(change is not None and variance and change < SHARE * variance)
