"""JSON to columns: the fast parser agrees with the complete one on any bytes, and takes load."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.api.json import codec as json_codec
from service.api.json.fields import Steps, sequence, steps
from service.errors import InvalidInput, InvalidRequest, PayloadTooLarge
from service.models.description import Column
from tests.service.api.json.bodies import mutated, written

FEATURES = [Column("a"), Column("b")]


def plain(content: Any) -> Any:
    """Arrays as their bits."""
    if isinstance(content, Steps):
        return content.inputs.shape, content.inputs.tobytes(), content.first, content.fault
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return [plain(one) for one in content] if isinstance(content, list) else content


def agree(text: bytes) -> None:
    fast = json_codec.parse_fast(text, json_codec.things(text))
    if fast is not None:
        assert plain(fast) == plain(json_codec.parse_any(text))


@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
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
def test_the_fast_parser_agrees_with_the_complete_one_on_all_that_it_takes(text: bytes) -> None:
    agree(text)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_a_number_is_rounded_once_to_the_nearest_float32(values: list[float]) -> None:
    text = json.dumps({"inputs": [values]}).encode()
    with np.errstate(over="ignore"):
        nearest = np.array(values).astype(np.float32)
    for read in (json_codec.parse_any(text)["inputs"], json_codec.parse(text)["inputs"]):
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
def test_load_is_taken_by_the_fast_parser(text: bytes) -> None:
    assert json_codec.parse_fast(text, json_codec.things(text)) is not None
    agree(text)


@pytest.mark.parametrize(("depth", "number"), [(900, b"1"), (200, b"1e400")])
def test_however_deep_objects_lie_they_are_read(depth: int, number: bytes) -> None:
    assert json_codec.parse(b'{"a":' * depth + number + b"}" * depth) == {"a": {"a": {"a": {}}}}


def test_an_object_of_more_keys_than_any_has_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="65 keys"):
        json_codec.parse(json.dumps({str(key): 0 for key in range(65)}).encode())


def test_what_is_no_sequence_is_told_when_the_model_is_known() -> None:
    read = json_codec.parse(b'{"sequences":[[[1,2],[3,true]],[[1]],[{"b":1,"a":2},{"b":1}],3]}')["sequences"]
    places = ("[0][1][1]: not a number", "[1][0]: 1 features", "[2][1]: no 'a'", "[3]: not a list of steps")
    for index, (one, place) in enumerate(zip(read, places, strict=True)):
        with pytest.raises(InvalidInput) as refused:
            sequence(one, FEATURES, f"[{index}]")
        assert refused.value.detail.startswith(place)


def test_objects_become_columns_in_the_order_of_the_model() -> None:
    given = sequence(steps([{"b": 1, "a": 2}, {"a": 4, "b": 3}]), FEATURES, "inputs")
    assert given.inputs.tolist() == [[2, 1], [4, 3]]
    outputs = given.outputs(np.array([[0.1], [0.2]], np.float32), [Column("y")])
    assert json_codec.dump({"outputs": outputs}) == b'{"outputs":[{"y":0.1},{"y":0.2}]}'


def test_a_few_wrong_names_are_refused_by_a_look_at_a_few_of_the_models() -> None:
    looked = 0

    class Watched(Column):
        def __getattribute__(self, name: str) -> Any:
            nonlocal looked
            looked += name == "name"
            return super().__getattribute__(name)

    features = [Watched(f"f{index}") for index in range(10_000)]
    for names, told in ((["x"], "no 'f0'"), (["f0", "f1"], "no 'f2'"), ([], "no 'f0'")):
        with pytest.raises(
            InvalidInput, match=rf"^inputs\[0\]: {told}; the model's features are f0, .* and 9900 more$"
        ):
            sequence(steps([dict.fromkeys(names, 1)]), features, "inputs")
    assert looked < 400


@pytest.mark.parametrize("value", ["1", "[]", "[[1,2.5],[3,-4e-3]]"])
def test_a_constant_or_first_state_is_an_array(value: str) -> None:
    for key in ("constants", "initial"):
        read = json_codec.parse(f'{{"{key}":{{"one":{value}}},"items":[{{"{key}":{{"one":{value}}}}}]}}'.encode())
        assert read[key]["one"].tolist() == read["items"][0][key]["one"].tolist() == json.loads(value)


@pytest.mark.parametrize("value", ["true", "[1,true]", "[[1],[2,3]]", "[1e39]", "1e400", "null", "{}", '["a"]'])
def test_what_is_no_array_of_finite_numbers_is_none(value: str) -> None:
    read = json_codec.parse(f'{{"constants":{{"one":{value}}},"initial":[0]}}'.encode())
    assert read == {"constants": {"one": None}, "initial": []}


def test_more_constants_than_any_model_has_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="5000 initial"):
        json_codec.parse(b'{"initial":{' + b",".join(b'"%d":0' % index for index in range(5000)) + b"}}")


@pytest.mark.parametrize("body", [b'{"sequences":[%b]}', b'{"items":[%b]}'])
@pytest.mark.parametrize("one", [b"1", b"{}", b"[[1]]", b'{"inputs":[[1]]}'])
def test_a_list_of_too_many_things_is_refused_before_any_is_built(body: bytes, one: bytes) -> None:
    json_codec.parse(body % b",".join([one] * 3), most=3)
    with pytest.raises(PayloadTooLarge, match=r"4 (items|sequences); a call has at most 3"):
        json_codec.parse(body % b",".join([one] * 4), most=3)
