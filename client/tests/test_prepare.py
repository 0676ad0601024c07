from __future__ import annotations

import copy
import json
import math
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carousel_client import Feature, InvalidInput, ModelDescription, Preparation

NAN = math.nan
FEATURES: list[Feature] = [
    {"name": "held", "unit": "K", "missing": {"rule": "hold"}, "initial": 10},
    {"name": "held_2", "lag": {"of": "held", "steps": 2}},
    {"name": "constant", "missing": {"rule": "constant", "value": 7}},
    {"name": "marked_missing", "mask_of": "marked"},
    {"name": "marked", "missing": {"rule": "mask", "value": 5, "column": "marked_missing"}, "initial": 4},
    {"name": "marked_1", "lag": {"of": "marked", "steps": 1}},
    {"name": "plain"},
]
CALENDAR: list[Feature] = [
    {"name": "hour", "unit": "code", "calendar": "hour"},
    {"name": "weekday", "calendar": "weekday"},
    {"name": "month", "calendar": "month"},
    {"name": "value"},
]
MONDAY = datetime(2024, 7, 1, 23, 59)


def preparation(*features: Feature) -> Preparation:
    description: ModelDescription = {
        "name": "m",
        "version": "1",
        "cell": "lstm",
        "features": list(features or FEATURES),
        "outputs": [],
        "state_bytes": 0,
        "metrics": {},
        "streamable": True,
        "bit_equal": True,
    }
    return Preparation(description)


def test_each_rule_fills_what_the_contract_says_and_lags_begin_with_initial() -> None:
    prepare = preparation()
    assert prepare.row([None, None, None, 1]) == [10, 10, 7, 1, 5, 4, 1]
    assert prepare.row([3, 4, 6, 2]) == [3, 10, 4, 0, 6, 5, 2]
    assert prepare.row([NAN, NAN, NAN, 3]) == [3, 10, 7, 1, 5, 6, 3]
    assert prepare.row([None, 1, 2, 4]) == [3, 3, 1, 0, 2, 5, 4]


def test_a_constant_without_a_value_is_zero() -> None:
    assert preparation({"name": "x", "missing": {"rule": "constant"}}).row([None]) == [0]


def test_a_model_that_tells_no_rules_takes_rows_as_they_are() -> None:
    assert preparation({"name": "0"}, {"name": "1"}).row([1.5, 2]) == [1.5, 2]


def test_calendar_features_are_read_off_the_time_as_it_is_written() -> None:
    prepare = preparation(*CALENDAR)
    assert prepare.row({"value": 1}, MONDAY) == {"hour": 23, "weekday": 0, "month": 7, "value": 1}
    assert prepare.row([None, None, None, 1], MONDAY.replace(day=7, tzinfo=UTC)) == [23, 6, 7, 1]
    assert prepare.rows([{"value": 1}, {"value": 2}], [MONDAY, datetime(2025, 1, 1)]) == [
        {"hour": 23, "weekday": 0, "month": 7, "value": 1},
        {"hour": 0, "weekday": 2, "month": 1, "value": 2},
    ]


def test_a_calendar_feature_that_the_caller_gives_stands() -> None:
    assert preparation(*CALENDAR).row({"hour": 5, "value": 1}, MONDAY)["hour"] == 5


def test_a_calendar_feature_read_off_the_time_is_no_gap_and_without_time_goes_by_its_rule() -> None:
    hour: Feature = {"name": "hour", "calendar": "hour", "missing": {"rule": "mask", "value": -1}}
    prepare = preparation(hour, {"name": "no_hour", "mask_of": "hour"})
    assert prepare.row([None], MONDAY) == [23, 0]
    assert prepare.row([None]) == [-1, 1]


def test_answers_come_in_the_style_of_the_row() -> None:
    listed = preparation().row((1, 2, 3, 4))
    assert listed == [1, 10, 2, 0, 3, 4, 4]
    named = preparation().row({"plain": 4, "held": 1, "constant": 2, "marked": 3})
    assert list(named.items()) == list(zip([one["name"] for one in FEATURES], listed, strict=True))
    for dtype in ("f4", "f8", "i8"):
        array = preparation().row(np.array([1, 2, 3, 4], dtype))
        assert array.dtype == np.float32
        assert array.tolist() == listed
    block = preparation().rows(np.array([[1, 2, 3, 4]]))
    assert block.dtype == np.float32
    assert block.tolist() == [listed]
    assert [one.tolist() for one in preparation().rows([np.array([1, 2, 3, 4])])] == [listed]


def test_no_rows_are_no_rows() -> None:
    assert preparation().rows([]) == []
    assert preparation().rows(np.zeros((0, 4))).shape == (0, 7)


def test_numbers_are_float32_whatever_the_style() -> None:
    assert preparation({"name": "x"}).row([0.1]) == [float(np.float32(0.1))]
    assert preparation({"name": "x"}).row({"x": np.float64(0.1)}) == {"x": float(np.float32(0.1))}


GAPPED = st.none() | st.just(NAN) | st.floats(width=32, allow_nan=False, allow_infinity=False)
PRESENT = st.floats(width=32, allow_nan=False, allow_infinity=False)
ROWS = st.lists(st.tuples(GAPPED, GAPPED, GAPPED, PRESENT), min_size=1, max_size=12)


@given(ROWS, st.integers(1, 5))
def test_whole_equals_block_by_block_equals_row_by_row(rows: list[Any], size: int) -> None:
    array = np.array(rows, np.float32)
    whole = preparation().rows(array)
    blocks, single = preparation(), preparation()
    pieces = [blocks.rows(array[start : start + size]) for start in range(0, len(array), size)]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert np.array([single.row(row) for row in rows], np.float32).tobytes() == whole.tobytes()
    assert not np.isnan(whole).any()


def test_two_streams_and_a_copy_do_not_share_their_memory() -> None:
    one, other = preparation(), preparation()
    one.row([1, 2, 3, 4])
    fork = copy.copy(one)
    one.row([2, 2, 3, 4])
    assert [prepare.row({"plain": 0})["held"] for prepare in (one, other, fork)] == [2, 10, 1]


def test_a_gap_without_a_rule_names_the_feature_and_the_row_and_changes_no_memory() -> None:
    prepare = preparation()
    with pytest.raises(InvalidInput, match="plain is empty, and has no rule"):
        prepare.row({"held": 1})
    with pytest.raises(InvalidInput, match=r"rows\[1\]: plain is empty"):
        prepare.rows([[1, 1, 1, 1], [1, 1, 1, NAN]])
    assert prepare.row({"plain": 0})["held"] == 10


def test_a_calendar_gap_without_a_time_says_what_to_give() -> None:
    with pytest.raises(InvalidInput, match=r"hour is empty.*give it, or the row's time"):
        preparation(*CALENDAR).row({"value": 1})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"plain": 1, "temp": 2}, "temp is no measured feature of m/1: held, constant"),
        ({"plain": 1, "held_2": 2}, "held_2 is no measured feature"),
        ([1, 2, 3], "3 values for 4 measured"),
        ([1, 2, 3, 4, 5, 6, 7], "7 values for 4 measured"),
        (np.zeros((1, 4)), "a row is"),
        (np.float32(1), "a row is"),
        ([[1, 2, 3, 4]], "1 values for 4 measured"),
        ([[1], [1, 2], 3, 4], "held is a number, None or NaN, not list"),
        ("1234", "a row is"),
        (None, "a row is"),
        ({"plain": "1"}, "plain is a number, None or NaN, not str"),
        ({"plain": True}, "plain is a number"),
        (np.array([True] * 4), "held is a number"),
        ({"plain": math.inf}, "plain is no finite float32"),
        ({"plain": 1e39}, "plain is no finite float32"),
        ({"plain": 10**400}, "plain is no finite float32"),
    ],
)
def test_what_is_no_row_is_refused_and_names_the_feature(row: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        preparation().row(row)


@pytest.mark.parametrize("rows", [{"plain": 1}, np.zeros(4), "1", 3, None])
def test_what_is_no_list_of_rows_is_refused(rows: Any) -> None:
    with pytest.raises(InvalidInput, match="rows are"):
        preparation().rows(rows)


def test_a_categorys_word_stands_for_its_code() -> None:
    told: Any = {"name": "kind", "codes": [0, 1], "labels": ["ice", "fog"], "missing": {"rule": "hold"}, "initial": -1}
    rows = preparation(told).rows([{"kind": None}, {"kind": "fog"}, {}, {"kind": 0}])
    assert [row["kind"] for row in rows] == [-1, 1, 1, 0]
    with pytest.raises(InvalidInput, match="kind is 'hail', not one of ice, fog; as a code, -1 is one never seen"):
        preparation(told).row(["hail"])


def test_times_are_datetimes_one_a_row() -> None:
    when: Any = "2024-07-01"
    with pytest.raises(InvalidInput, match="time is a datetime, not str"):
        preparation(*CALENDAR).row({"value": 1}, when)
    with pytest.raises(InvalidInput, match="1 times for 2 rows"):
        preparation(*CALENDAR).rows([{"value": 1}, {"value": 1}], [MONDAY])


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"missing": {"rule": "mean"}}, "y has an unknown rule for gaps: mean"),
        ({"missing": {"value": 1}}, "y has an unknown rule for gaps: none"),
        ({"missing": {"rule": "hold"}}, "y needs the `initial` of y"),
        ({"lag": {"of": "x", "steps": 1}}, "y needs the `initial` of x"),
        ({"lag": {"of": "z", "steps": 1}}, "y is made of z"),
        ({"lag": {"of": "h", "steps": 0}}, "y lags 0 steps"),
        ({"mask_of": "y"}, "y is made of y"),
        ({"calendar": "year"}, "y is of an unknown calendar: year"),
    ],
)
def test_a_model_whose_rules_cannot_be_followed_is_refused_at_once(told: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        preparation({"name": "x"}, {"name": "h", "initial": 0}, cast(Feature, {"name": "y", **told}))


def test_it_shows_what_it_prepares() -> None:
    assert repr(preparation()) == "<Preparation for m/1: 4 measured of 7 features, memory 2>"


def test_a_row_by_name_is_also_an_array_in_the_models_order_as_a_channel_takes_it() -> None:
    prepare = preparation()
    row = prepare.row({"plain": 4, "held": 1, "constant": 2, "marked": 3})
    assert np.asarray(row).tolist() == list(row.values())
    assert np.asarray(row).dtype == np.float32
    block = prepare.rows([{"plain": 4}, {"plain": 5}])
    assert np.asarray(block).shape == (2, 7)
    assert json.loads(json.dumps(row)) == row
