"""Bodies of one step each: read together they are what each is by itself."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.api.json import codec as json_codec
from service.api.json import single_steps
from service.api.json.single_steps import answers, one_steps, rows
from tests.service.api.json.bodies import mutated, written


def one_step(text: bytes) -> tuple[bytes, int] | None:
    [found] = one_steps([text])
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
    inputs = rows([numbers], len(numbers) // 8)
    assert (whole.keys(), whole["step"], whole["inputs"].first) == ({"inputs", "step"}, step, len(numbers) // 8)
    if inputs is not None:
        assert (inputs.tobytes(), whole["inputs"].fault) == (whole["inputs"].inputs.tobytes(), "")


def test_steps_of_many_callers_are_converted_together_and_told_apart() -> None:
    bodies = [b'{"inputs":[[1,2]],"step":7}', b'{"step":8,"inputs":[[3,4]]}', b'{"inputs":[[1]]}', b"{", b""]
    first, second, *others = one_steps(bodies)
    assert first is not None and second is not None and others == [None, None, None]
    assert (first[1], second[1]) == (7, 8)
    together = rows([first[0], second[0]], 2)
    assert together is not None and together.tolist() == [[1, 2], [3, 4]]
    assert rows([first[0], np.array([1, np.inf]).tobytes()], 2) is None


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1),
    st.booleans(),
)
def test_answers_to_one_step_each_are_written_as_one_answer_is(values: list[list[float]], by_rows: bool) -> None:
    outputs = np.array(values, np.float32, order="C" if by_rows else "F")
    written = answers(outputs, range(len(outputs)))
    assert written == [json_codec.dump({"outputs": outputs[i : i + 1], "step": i}) for i in range(len(outputs))]


GOOD = b'{"inputs":[[%d,0.5]],"step":%d}'
good = st.builds(lambda value, step: GOOD % (value, step), st.integers(-9, 9), st.integers(0, 9))


@st.composite
def cut(draw: st.DrawFn) -> list[bytes]:
    """Bodies whose bytes may lie in a wrong one of them."""
    texts = draw(st.lists(st.one_of(good, written(), mutated()), min_size=1, max_size=4))
    whole = b",".join(texts)
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    return texts if draw(st.booleans()) else [whole[a:b] for a, b in zip([0, *places], [*places, None], strict=True)]


@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(good, good, mutated()), max_size=5).map(list) | cut())
@example([b'{"inputs":[[1]],"step":0,"a":"}', b'{","b":2}'])
@example([b'{"inputs":[[1]],"step":0},{"inputs":[[9]],"step":0}', b""])
@example([b'{"inputs":[[1', b'2]],"step":0}'])
@example([b'{"inputs":[[1]],"step":0}\n', GOOD % (1, 2)])
@example([b'{"a":"}', b'{":[[1]]}'])
def test_each_body_is_read_as_if_it_were_alone(bodies: list[bytes]) -> None:
    assert one_steps(bodies) == [one_step(text) for text in bodies]


def test_plain_bodies_are_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = list[bytes]()

    class Counted:
        """A parser that says what it was given."""

        def parse(self, text: bytes) -> object:
            parsed.append(text)
            return json_codec.Parser().parse(text)

    monkeypatch.setattr(single_steps, "_parser", Counted())
    bodies = [GOOD % (value, value) for value in range(3)]
    assert [found and found[1] for found in one_steps(bodies)] == [0, 1, 2]
    assert parsed == [b"[%b]" % b",".join(bodies)]
