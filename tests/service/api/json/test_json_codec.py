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


def one_step(text: bytes) -> tuple[bytes, int] | None:
    [found] = json_codec.one_steps([text])
    return found


@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(written(), mutated()))
@example(b'{"inputs":[[[],[1,2]]],"step":1}')
@example(b'{"inputs":[[1],2],"step":1}')
@example(b'{"inputs":[[1]],"step":1,"step":2}')
@example(b'{"inputs":["["],"step":1}')
@example(b'{"inputs":[[1,2]],"step":18446744073709551615}')
@example(b'{"inputs":[[1e39]],"step":1}')
@example(b'{"inputs":[[]],"step":1}')
def test_one_numbered_step_is_read_as_any_body_is(text: bytes) -> None:
    found = one_step(text)
    if found is None:
        return
    numbers, step = found
    whole = json_codec.parse_any(text)
    inputs = json_codec.rows([numbers], len(numbers) // 8)
    assert (whole.keys(), whole["step"], whole["inputs"].first) == ({"inputs", "step"}, step, len(numbers) // 8)
    if inputs is not None:
        assert (inputs.tobytes(), whole["inputs"].fault) == (whole["inputs"].inputs.tobytes(), "")


def test_steps_of_many_callers_are_converted_together_and_told_apart() -> None:
    bodies = [b'{"inputs":[[1,2]],"step":7}', b'{"step":8,"inputs":[[3,4]]}', b'{"inputs":[[1]]}', b"{", b""]
    first, second, *others = json_codec.one_steps(bodies)
    assert first is not None and second is not None and others == [None, None, None]
    assert (first[1], second[1]) == (7, 8)
    together = json_codec.rows([first[0], second[0]], 2)
    assert together is not None and together.tolist() == [[1, 2], [3, 4]]
    assert json_codec.rows([first[0], np.array([1, np.inf]).tobytes()], 2) is None


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1),
    st.booleans(),
)
def test_answers_to_one_step_each_are_written_as_one_answer_is(values: list[list[float]], by_rows: bool) -> None:
    outputs = np.array(values, np.float32, order="C" if by_rows else "F")
    written = json_codec.one_step_answers(outputs, range(len(outputs)))
    assert written == [json_codec.dump({"outputs": outputs[i : i + 1], "step": i}) for i in range(len(outputs))]


@pytest.mark.parametrize("body", [b'{"sequences":[%b]}', b'{"items":[%b]}'])
@pytest.mark.parametrize("one", [b"1", b"{}", b"[[1]]", b'{"inputs":[[1]]}'])
def test_a_list_of_too_many_things_is_refused_before_any_is_built(body: bytes, one: bytes) -> None:
    json_codec.parse(body % b",".join([one] * 3), most=3)
    with pytest.raises(PayloadTooLarge, match=r"4 (items|sequences); a call has at most 3"):
        json_codec.parse(body % b",".join([one] * 4), most=3)
