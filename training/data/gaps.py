"""Fill gaps and compute lags: measured rows → complete input rows, as a caller must do before each request.

Pure, and driven by the features alone; the client does the same from the metadata of a file (docs/model-contract.md,
"Gaps and lags"). Rows may come in blocks of any size with the same result.
"""

from collections.abc import Sequence

import numpy as np

from training.arrays import Floats
from training.data.feature import Feature


class GapError(ValueError):
    """A feature without a rule for gaps is empty."""

    def __init__(self, row: int, name: str) -> None:
        super().__init__(f"{name} is empty in row {row}, and has no rule for gaps")
        self.row, self.name = row, name


def first(features: Sequence[Feature]) -> Floats:
    """Return the `past` of a sequence's first row: [L, R], the last L ≥ 1 rows of the R measured features."""
    L = max([1, *(feature.lag.steps for feature in features if feature.lag)])
    row = [np.nan if feature.initial is None else feature.initial for feature in features if feature.measured]
    return np.full((L, len(row)), row, np.float32)


def complete(features: Sequence[Feature], rows: Floats, past: Floats) -> tuple[Floats, Floats]:
    """Fill rows [T, R] of the measured features (NaN is a gap); return inputs [T, F] and the `past` for the next call.

    `past` is `first(features)` at the start of a sequence, then the result of the previous call.

    Raises:
        GapError: a feature without a rule is empty.

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


def _fill(feature: Feature, values: Floats, last: np.float32) -> Floats:
    """Fill one column [T]; `last` is the value of the row before."""
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    if feature.missing is None:
        raise GapError(int(np.argmax(gaps)), feature.name)
    if feature.missing.rule == "hold":
        latest = np.maximum.accumulate(np.where(gaps, 0, np.arange(1, len(values) + 1)))  # 0: `last`
        return np.concatenate([[last], values])[latest].astype(np.float32)
    return np.where(gaps, np.float32(feature.missing.value or 0.0), values)
