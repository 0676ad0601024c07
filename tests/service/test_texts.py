"""JSON to columns: the quick way agrees with the sure one on whatever bytes come, and load takes the quick one."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.api import texts
from service.api.values import Steps, sequence, steps
from service.errors import InvalidInput, InvalidRequest
from service.models.model import Column

FEATURES = [Column("a"), Column("b")]

numbers = st.one_of(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False), st.integers(-(2**70), 2**70))
odd = st.one_of(st.booleans(), st.none(), st.text(max_size=2), st.lists(numbers, max_size=2))
rows = st.integers(0, 3).flatmap(lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), max_size=4))
ragged = st.lists(st.lists(st.one_of(numbers, odd), max_size=3), max_size=3)
named = st.lists(st.dictionaries(st.sampled_from("abc"), st.one_of(numbers, odd), max_size=3), max_size=3)
sequences = st.one_of(rows, ragged, named, odd)
values = {
    "inputs": sequences,
    "history": sequences,
    "sequences": st.one_of(st.lists(sequences, max_size=3), odd),
    "items": st.one_of(st.lists(st.one_of(st.fixed_dictionaries({"inputs": sequences}), odd), max_size=3), odd),
    "step": st.one_of(st.integers(), odd),
    "open": st.one_of(st.booleans(), st.fixed_dictionaries({"model": st.text(max_size=3), "x": odd})),
}
bodies = st.fixed_dictionaries({}, optional=values)
spaces = st.sampled_from([(",", ":"), (", ", ": "), (" , ", "\n:\t")])
tokens = st.sampled_from(
    [*'[]{},:"-+.eE019 \\', "true", "null", "NaN", "1e400", "1e39", "[1,2]", '"inputs":', '"a":', "\ufeff"]
)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    return json.dumps(draw(bodies), separators=draw(spaces), ensure_ascii=draw(st.booleans())).encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    text = draw(written()).decode()
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(text)))
        text = text[:begin] + draw(tokens) + text[begin + draw(st.integers(0, 2)) :]
    return text.encode() + draw(st.sampled_from([b"", b"", b"\xff"]))


def plain(content: Any) -> Any:
    """Arrays as their bits."""
    if isinstance(content, Steps):
        return content.inputs.shape, content.inputs.tobytes(), content.first, content.fault
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return [plain(one) for one in content] if isinstance(content, list) else content


def agree(text: bytes) -> None:
    quick = texts.quickly(text)
    if quick is not None:
        assert plain(quick) == plain(texts.surely(text))


@settings(max_examples=1000)
@given(st.one_of(written(), mutated()))
@example(b'{"inputs":[[[1,2,3],4]]}')
@example(b'{"inputs":[[[],[1,2]]]}')
@example(b'{"inputs":[[1]],"inputs":[[2]]}')
@example(b'{"step":1,"step":2,"inputs":[[1]]}')
@example(b'{"a":1,"a\\u0000b":2}')
@example(b'\xef\xbb\xbf{"inputs":[[1]]}')
@example(b'{"inputs":[[18446744073709551615,18446744073709551616]]}')
@example(b'{"inputs":[[9007199254740993,-0,-0.0,5e-324,1e-46]]}')
@example(b'{"inputs":[[1],2],"step":1}')
@example(b'{"inputs":[[1]],"step":1,"step":2}')
@example(b'{"inputs":[{"items":[1]}],"step":1}')
@example(b'{"inputs":["["],"step":1}')
@example(b'{"items":[[0]]}')
@example(b'{"items":["",{"inputs":[[1]]}]}')
@example(b'{"x":{"y":{"z":[[1]]}},"inputs":[[1]]}')
def test_the_quick_way_agrees_with_the_sure_one_on_all_that_it_reads(text: bytes) -> None:
    agree(text)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_a_number_is_rounded_once_to_the_nearest_float32(values: list[float]) -> None:
    text = json.dumps({"inputs": [values]}).encode()
    with np.errstate(over="ignore"):
        nearest = np.array(values).astype(np.float32)
    for read in (texts.surely(text)["inputs"], texts.parse(text)["inputs"]):
        if np.isfinite(nearest).all():
            assert read.inputs.tobytes() == nearest.tobytes()
        else:
            assert read.fault.endswith(": no finite float32")


@pytest.mark.parametrize(
    "text",
    [
        b'{"inputs":[[1,2.5]],"step":7}',
        b'{"step":7,"inputs":[[1,2.5]]}',
        b'{"inputs":[[1,2.5]]}',
        b'{"inputs":[[1,2],[3,4]],"step":7}',
        b'{"sequences":[[[1,2],[3,4]],[[5,6]]]}',
        b'{"items":[{"session":"s","inputs":[[1,2]],"step":0},{"session":"t","inputs":[[3,4]]}],"open":true}',
        b'{"id":1,"channel":2,"inputs":[[1,2]]}',
        b'{ "history" : [ [ 1 , 2 ] ] , "ttl_seconds" : 2.5 }',
    ],
)
def test_load_goes_the_quick_way(text: bytes) -> None:
    assert texts.quickly(text) is not None
    agree(text)


@pytest.mark.parametrize(("depth", "number"), [(900, b"1"), (200, b"1e400")])
def test_however_deep_objects_lie_they_are_read(depth: int, number: bytes) -> None:
    assert texts.parse(b'{"a":' * depth + number + b"}" * depth) == {"a": {"a": {}}}


def test_an_object_of_more_keys_than_any_has_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="65 keys"):
        texts.parse(json.dumps({str(key): 0 for key in range(65)}).encode())


def test_what_is_no_sequence_is_told_when_the_model_is_known() -> None:
    read = texts.parse(b'{"sequences":[[[1,2],[3,true]],[[1]],[{"b":1,"a":2},{"b":1}],3]}')["sequences"]
    places = ("[0][1][1]: not a number", "[1][0]: 1 features", "[2][1]: no 'a'", "[3]: not a list of steps")
    for index, (one, place) in enumerate(zip(read, places, strict=True)):
        with pytest.raises(InvalidInput) as refused:
            sequence(one, FEATURES, f"[{index}]")
        assert refused.value.detail.startswith(place)


def test_objects_become_columns_in_the_order_of_the_model() -> None:
    given = sequence(steps([{"b": 1, "a": 2}, {"a": 4, "b": 3}]), FEATURES, "inputs")
    assert given.inputs.tolist() == [[2, 1], [4, 3]]
    outputs = given.outputs(np.array([[0.1], [0.2]], np.float32), [Column("y")])
    assert texts.dump({"outputs": outputs}) == b'{"outputs":[{"y":0.1},{"y":0.2}]}'
