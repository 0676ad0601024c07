"""Bodies of the Open Inference Protocol: whatever they are, they are read or refused; ids of sequences never mix."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import oip_codec as codec
from service.api.oip_codec import Sequence
from service.api.oip_tensors import Tensors
from service.errors import CarouselError, InvalidRequest, PayloadTooLarge
from service.models.folder import NAME
from service.models.signature import Port, Signature

_INPUT, _OUTPUT = Port("input", "float32", (2,), 0, 1), Port("output", "float32", (3,), 0, 1)
OURS = Tensors(Signature((_INPUT,), (_OUTPUT,), lengths=Port("lengths", "int32", (), 0)))

LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner))
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["input", "lengths", "state.h"]) | JSON,
        "datatype": st.sampled_from(["FP32", "INT32", "INT64"]) | JSON,
        "shape": st.lists(st.integers(0, 3) | st.sampled_from([2**31, 2**63]), max_size=4) | JSON,
        "data": st.lists(st.integers(-5, 5) | st.floats(), max_size=9) | JSON,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(0, 40)}) | JSON,
    },
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["sequence_id", "sequence_start", "sequence_end", "binary_data_output", "timeout"]), JSON
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS | JSON, max_size=3) | JSON},
    optional={"id": JSON, "parameters": PARAMETERS | JSON, "outputs": st.lists(JSON, max_size=2) | JSON},
)


@given(REQUESTS | JSON, st.binary(max_size=40))
def test_any_request_is_read_or_refused(told: Any, raw: bytes) -> None:
    try:
        header = codec.header(json.dumps(told).encode())
        rows = OURS.rows(header, memoryview(raw))
    except CarouselError:
        return
    assert rows.inputs.shape == (sum(rows.lengths), 2)
    assert rows.inputs.dtype == np.float32
    assert np.isfinite(rows.inputs).all()
    assert min(rows.lengths) >= 1
    view, behind, numbers = codec.answer(header, "m", "1", rows, np.ones((len(rows.inputs), 3), np.float32))
    assert len(behind) + 4 * numbers == 4 * np.prod(view["outputs"][0]["shape"])


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_a_body_is_split_where_it_says_or_refused(content: bytes, length: bytes) -> None:
    try:
        text, raw = codec.split(content, length)
    except InvalidRequest:
        assert not (length.isdigit() and int(length) <= len(content))
    else:
        assert (text + bytes(raw), len(text)) == (content, int(length))


IDS = st.integers(1, 2**64 - 1) | st.text(min_size=1, max_size=20) | st.integers(1, 99).map(str)
MODELS = st.sampled_from(["m", "m~1", "m'", "a.b:c@d-e"]).filter(NAME.fullmatch)


@given(MODELS, MODELS, IDS, IDS)
def test_sequences_have_sessions_of_their_own_that_v1_cannot_open(a: str, b: str, one: Any, other: Any) -> None:
    first, second = Sequence(one, True, False).session(a), Sequence(other, True, False).session(b)
    assert (first == second) is ((a, type(one), one) == (b, type(other), other))
    assert not NAME.fullmatch(first)


@pytest.mark.parametrize(("size", "aligned"), [(3, False), (4, True)])
def test_raw_numbers_are_copied_only_where_they_are_not_aligned(size: int, aligned: bool) -> None:
    content = np.zeros(32, np.uint8)
    at = (-content.ctypes.data) % 4 + size
    raw = memoryview(content)[at : at + 8]
    told = {"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}]}
    rows = OURS.rows(codec.header(json.dumps(told).encode()), raw)
    assert np.shares_memory(rows.inputs, content) is aligned


def test_a_raw_header_that_comes_again_is_read_with_the_new_numbers_and_for_the_model_that_is_asked() -> None:
    one = {"name": "input", "shape": [1, 2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    header = codec.header_of_raw(json.dumps({"inputs": [one]}).encode())

    def rows(*numbers: float, of: Tensors = OURS) -> list[list[float]]:
        values: list[list[float]] = of.rows(header, memoryview(np.array(numbers, "<f4").tobytes())).inputs.tolist()
        return values

    assert rows(1, 2, 3, 4) == [[1, 2], [3, 4]]
    assert rows(5, 6, 7, 8) == [[5, 6], [7, 8]]
    for numbers, of in (
        ((1, 2, 3), OURS),
        ((1, 2, 3, np.nan), OURS),
        ((1, 2, 3, 4), Tensors(Signature((_OUTPUT,), ()))),
    ):
        with pytest.raises(CarouselError):
            rows(*numbers, of=of)
    turned = Tensors(Signature((Port("input", "float32", (2,), 1, 0),), (_OUTPUT,)))
    assert turned.rows(header, memoryview(np.ones(4, "<f4").tobytes())).lengths == [1, 1]  # two rows of a step
    assert rows(1, 2, 3, 4) == [[1, 2], [3, 4]]


def test_rows_are_counted_before_anything_is_built_for_them() -> None:
    one = {"name": "input", "shape": [3, 1, 2], "datatype": "FP32", "data": [0] * 6}
    header = codec.header_of({"inputs": [one]})
    with pytest.raises(PayloadTooLarge, match="3 sequences"):
        OURS.rows(header, memoryview(b""), most=2)
    assert OURS.rows(header, memoryview(b""), most=3).lengths == [1, 1, 1]


@pytest.mark.parametrize("told", [{}, {"id": None, "parameters": None, "outputs": None}])
@pytest.mark.parametrize("of_input", [{}, {"parameters": None}])
def test_null_stands_for_what_is_left_out(told: dict[str, None], of_input: dict[str, None]) -> None:
    one = {"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [1, 2], **of_input}
    header = codec.header_of({"inputs": [one], **told})
    assert (header.id, header.sequence, header.timeout, header.outputs, header.binary) == (None, None, None, {}, False)
    assert OURS.rows(header, memoryview(b"")).inputs.tolist() == [[1, 2]]
