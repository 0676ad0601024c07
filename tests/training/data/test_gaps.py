import numpy as np
import pytest

from training.data.feature import Feature, Lag, Missing
from training.data.gaps import GapError, complete

NAN = np.nan
FEATURES = (
    Feature("held", initial=10, missing=Missing("hold")),
    Feature("held_2", lag=Lag("held", 2)),
    Feature("constant", missing=Missing("constant", value=7)),
    Feature("marked", missing=Missing("mask", value=5, column="marked_missing"), initial=5),
    Feature("marked_missing", mask_of="marked"),
    Feature("marked_1", lag=Lag("marked", 1)),
    Feature("plain"),
)


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)


def test_each_rule_fills_what_the_contract_says() -> None:
    inputs = complete(FEATURES, rows([NAN, NAN, NAN, 1], [3, 4, 6, 2], [NAN, NAN, NAN, 3]))
    assert inputs.tolist() == [
        [10, 10, 7, 5, 1, 5, 1],
        [3, 10, 4, 6, 0, 5, 2],
        [3, 10, 7, 5, 1, 6, 3],
    ]


def test_a_gap_without_a_rule_is_an_error_that_names_row_and_feature() -> None:
    with pytest.raises(GapError, match="plain is empty in row 1") as error:
        complete(FEATURES, rows([1, 1, 1, 1], [1, 1, 1, NAN]))
    assert (error.value.row, error.value.name) == (1, "plain")
