from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carousel_client import InvalidInput
from carousel_client.sequences import encode, to_json

LISTS = [[1.0, 2.0], [3.0, 4.0]]
DICTS = [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]


NESTED = reduce(lambda inner, _: [inner], range(100_000), [1.0])


def echo(inputs: Any) -> Any:
    """What comes back from a model whose outputs are its inputs."""
    encoded = encode(inputs)
    return encoded.decode(json.loads(to_json({"inputs": encoded.steps}))["inputs"])


@pytest.mark.parametrize("inputs", [LISTS, DICTS, LISTS[0], DICTS[0], LISTS[:1], DICTS[:1]])
def test_lists_and_dicts_come_back_as_they_went(inputs: Any) -> None:
    assert echo(inputs) == inputs


@pytest.mark.parametrize("shape", [(5, 3), (1, 3), (3,), (1,), (4, 1)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "g", "i8", "u1", ">f4"])
def test_arrays_come_back_as_float32_of_the_same_shape(shape: tuple[int, ...], dtype: str) -> None:
    inputs = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    outputs = echo(inputs)
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(outputs, inputs)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_every_float32_keeps_its_bits(values: list[float]) -> None:
    inputs = np.asarray(values, np.float32)
    assert echo(inputs).tobytes() == inputs.tobytes()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_shortest_decimals_of_a_float32_are_read_back_to_its_bits(values: list[float]) -> None:
    outputs = np.asarray(values, np.float32)
    text = "[" + ",".join(str(value) for value in outputs) + "]"
    assert encode(np.zeros(1)).decode([json.loads(text)]).tobytes() == outputs.tobytes()


def test_numpy_scalars_rows_and_odd_containers_inside_lists_are_numbers() -> None:
    assert echo([np.float32(1.5), np.int64(2), np.longdouble(3)]) == [1.5, 2, 3]
    assert echo([np.array([1.0, 2.0])]) == [[1.0, 2.0]]
    assert echo((range(2), (3, 4))) == [[0, 1], [3, 4]]
    frozen: Mapping[str, float] = MappingProxyType({"a": 1.0})
    assert echo(frozen) == {"a": 1.0}
    assert echo([frozen]) == [{"a": 1.0}]


@pytest.mark.parametrize(
    "inputs",
    [
        3.0,
        None,
        "12",
        np.float32(3),
        np.zeros(()),
        np.zeros((2, 2, 2)),
        np.array(["a"]),
        np.array([True]),
        np.array([1j]),
        np.array([object()]),
        [[float("nan")]],
        [float("inf")],
        np.array([np.nan]),
        np.ma.array([1.0, 2.0], mask=[False, True]),
        np.array([np.longdouble(2) ** 2000]),
        NESTED,
        [[object()]],
        {"a": float("nan")},
    ],
)
def test_what_is_no_sequence_of_finite_numbers_is_refused_before_it_is_sent(inputs: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        echo(inputs)
    assert refused.value.status is None


@pytest.mark.parametrize("inputs", [[], np.zeros((0, 3))])
def test_an_empty_sequence_is_sent_for_the_service_to_judge(inputs: Any) -> None:
    assert encode(inputs).steps == []
