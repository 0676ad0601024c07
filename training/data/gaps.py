"""Fill gaps and compute lags: measured rows → complete input rows, as a caller must do before each request.

Pure, and driven by the features alone; the client does the same from the metadata of a file (docs/model-contract.md,
"Gaps and lags").
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from training.arrays import Floats
from training.data.feature import Feature


class GapError(ValueError):
    """A feature without a rule for gaps is empty."""

    def __init__(self, row: int, name: str) -> None:
        super().__init__(f"{name} is empty in row {row}, and has no rule for gaps")
        self.row, self.name = row, name


def complete(features: Sequence[Feature], rows: Floats) -> Floats:
    """Return the inputs [T, F] of a sequence, given the rows [T, R] of its measured features (NaN is a gap).

    Raises:
        GapError: a feature without a rule is empty.

    """
    measured = {feature.name: feature for feature in features if feature.measured}
    given: dict[str, Floats] = dict(zip(measured, rows.T, strict=True))
    filled = {name: _filled(feature, given[name]) for name, feature in measured.items()}

    def column(feature: Feature) -> Floats:
        if feature.mask_of is not None:
            return np.isnan(given[feature.mask_of]).astype(np.float32)
        if feature.lag is None:
            return filled[feature.name]
        before = np.full(feature.lag.steps, measured[feature.lag.of].initial, np.float32)
        return np.concatenate([before, filled[feature.lag.of]])[: len(rows)]

    return np.stack([column(feature) for feature in features], axis=1)


def _filled(feature: Feature, values: Floats) -> Floats:
    """Return one column [T] without gaps."""
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    if feature.missing is None:
        raise GapError(int(np.argmax(gaps)), feature.name)
    if feature.missing.rule == "hold":
        held = pl.Series(values, nan_to_null=True).forward_fill()
        return held.fill_null(feature.initial).to_numpy().astype(np.float32)
    return np.where(gaps, np.float32(feature.missing.value or 0.0), values)
