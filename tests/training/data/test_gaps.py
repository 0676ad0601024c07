import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.feature import Feature, Lag, Missing
from training.data.gaps import GapError, complete, first

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
    inputs, _ = complete(FEATURES, rows([NAN, NAN, NAN, 1], [3, 4, 6, 2], [NAN, NAN, NAN, 3]), first(FEATURES))
    assert inputs.tolist() == [
        [10, 10, 7, 5, 1, 5, 1],
        [3, 10, 4, 6, 0, 5, 2],
        [3, 10, 7, 5, 1, 6, 3],
    ]


def test_a_gap_without_a_rule_is_an_error_that_names_row_and_feature() -> None:
    with pytest.raises(GapError, match="plain is empty in row 1") as error:
        complete(FEATURES, rows([1, 1, 1, 1], [1, 1, 1, NAN]), first(FEATURES))
    assert (error.value.row, error.value.name) == (1, "plain")


@given(st.lists(st.tuples(*[st.none() | st.integers(-9, 9)] * 3, st.integers(0, 9)), min_size=1), st.integers(1, 5))
def test_a_stream_filled_block_by_block_equals_the_whole(steps: list[tuple[int | None, ...]], size: int) -> None:
    values = rows(*[[NAN if value is None else value for value in step] for step in steps])
    whole, last = complete(FEATURES, values, first(FEATURES))
    past, pieces = first(FEATURES), []
    for start in range(0, len(values), size):
        piece, past = complete(FEATURES, values[start : start + size], past)
        pieces.append(piece)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(past, last)
    assert not np.isnan(whole).any()
