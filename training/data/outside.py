"""Inputs outside of what a network learnt: numbers that the file clips, codes that its tables do not know."""

from collections.abc import Sequence

import numpy as np

from training.arrays import Floats
from training.data.feature import Feature

MANY = 0.05  # a larger share of the rows flags the whole table


def outside(features: Sequence[Feature], x: Floats) -> dict[str, float]:
    """Return the share of rows x [N, F] in which a feature is clipped or unknown, if there are such rows."""
    shares = {}
    for column, feature in zip(x.T, features, strict=True):
        if feature.codes:
            strange = ~np.isin(column, feature.codes)
        elif feature.range is not None:
            strange = (column < np.float32(feature.range[0])) | (column > np.float32(feature.range[1]))
        else:
            continue
        if strange.any():
            shares[feature.name] = round(float(strange.mean()), 5)
    return shares


def flag(shares: dict[str, float]) -> str | None:
    """Return one sentence if a table as a whole is outside of what was learnt, else None."""
    many = [f"{name} in {share:.0%} of the rows" for name, share in shares.items() if share > MANY]
    return f"Out of range: these inputs are clipped or unknown to the model: {', '.join(many)}." if many else None
