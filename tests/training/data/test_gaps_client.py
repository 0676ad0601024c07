"""Training and the client fill gaps each by its own code; one file's metadata gives both the same numbers."""

import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from carousel_client import Preparation
from training.data.feature import Feature, Lag, Missing
from training.data.gaps import complete
from training.file.contract import Description

MISSING = {
    "hold": Missing("hold"),
    "constant": Missing("constant", value=0.3),
    "mask": Missing("mask", value=-7.1, column="mask"),
}


@st.composite
def features(draw: st.DrawFn) -> tuple[Feature, ...]:
    """Measured features of any rule, lags and masks of them, in any order."""
    rules = draw(st.lists(st.sampled_from([None, *MISSING]), min_size=1, max_size=5))
    measured = [
        Feature(f"x{j}", initial=draw(st.floats(-9, 9)), missing=MISSING[rule] if rule else None)
        for j, rule in enumerate(rules)
    ]
    names = st.sampled_from([feature.name for feature in measured])
    lags = draw(st.lists(st.tuples(names, st.integers(1, 6)), max_size=4))
    made = [Feature(f"lag{i}", lag=Lag(of, steps)) for i, (of, steps) in enumerate(lags)]
    made += [Feature(f"mask{i}", mask_of=of) for i, of in enumerate(draw(st.lists(names, max_size=3)))]
    return tuple(draw(st.permutations(measured + made)))


@given(features(), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_the_clients_rows_equal_trainings_bit_for_bit(told: tuple[Feature, ...], T: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    measured = [feature for feature in told if feature.measured]
    rows = rng.normal(scale=1e3, size=(T, len(measured))).astype(np.float32)
    rows[(rng.random(rows.shape) < 0.4) & [feature.missing is not None for feature in measured]] = np.nan
    expected = complete(told, rows)

    file = Description("regression", "r", "lstm", told, (), data_sha256="", metrics={}).metadata()
    description: Any = json.loads(json.dumps(file)) | {"name": "r", "version": "1"}
    stepwise = Preparation(description)
    assert Preparation(description).rows(rows).tobytes() == expected.tobytes()
    assert np.array([stepwise.row(row) for row in rows]).tobytes() == expected.tobytes()
