"""Rows with gaps → complete input rows: what a caller does before he sends them, and training before it learns.

Pure, and driven by the features alone, so that the client can do the same from a file's metadata
(docs/model-contract.md, "Gaps and lags"). A block of rows at a time: whole = stepwise.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.contract import Feature

Array = NDArray[np.float32]


class GapError(ValueError):
    """A feature that has no rule for gaps is empty."""

    def __init__(self, row: int, name: str) -> None:
        super().__init__(f"{name} is empty in row {row}, and has no rule for gaps")
        self.row, self.name = row, name


def first(features: Sequence[Feature]) -> Array:
    """Return what is remembered before the first row: [L, R], L ≥ 1 rows of the R measured features."""
    L = max([1, *(feature.lag.steps for feature in features if feature.lag)])
    row = [np.nan if feature.initial is None else feature.initial for feature in features if feature.measured]
    return np.full((L, len(row)), row, np.float32)


def complete(features: Sequence[Feature], rows: Array, past: Array) -> tuple[Array, Array]:
    """Fill rows [T, R] of the measured features, NaN being a gap → inputs [T, F], and the past for the next call.

    `past` is `first(features)` at the beginning of a sequence, and then what the call before returned.
    """
    measured = [feature for feature in features if feature.measured]
    at = {feature.name: index for index, feature in enumerate(measured)}
    gaps = np.isnan(rows)
    filled = np.stack([_fill(feature, rows[:, j], past[-1, j]) for j, feature in enumerate(measured)], axis=1)
    known = np.concatenate([past, filled])  # [L + T, R]
    columns = []
    for feature in features:
        if feature.lag is not None:
            columns.append(known[len(past) - feature.lag.steps :, at[feature.lag.of]][: len(rows)])
        elif feature.mask_of is not None:
            columns.append(gaps[:, at[feature.mask_of]].astype(np.float32))
        else:
            columns.append(filled[:, at[feature.name]])
    return np.stack(columns, axis=1), known[len(rows) :]


def _fill(feature: Feature, values: Array, last: np.float32) -> Array:
    """Fill one column [T]; `last` is its value in the row before."""
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    if feature.missing is None:
        raise GapError(int(np.argmax(gaps)), feature.name)
    if feature.missing.rule == "hold":
        latest = np.maximum.accumulate(np.where(gaps, 0, np.arange(1, len(values) + 1)))  # 0: before these rows
        return np.concatenate([[last], values])[latest].astype(np.float32)
    return np.where(gaps, np.float32(feature.missing.value or 0.0), values)
