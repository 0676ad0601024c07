"""Graphs of any signature, loaded through the examiner and run: right numbers, or a refusal that says what to do."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import InvalidInput, ModelUnusable
from service.models.adapter import AdaptedModel
from service.models.model import Given
from tests.service.models.foreign import TWO, fresh, load, run, two, write


def array(value: object) -> NDArray[np.float64]:
    """What a client gives."""
    return np.asarray(value, np.float64)


SUM = """
g (float[batch, 1] x, float[batch, 1] s) => (float[batch, 1] y, float[batch, 1] s_out)
{ y = Add(x, s)
  s_out = Identity(y) }
"""
OPPOSITE = {"first": "a", "second": "b", "first_after": "updated_a", "second_after": "b_out"}
UNRELATED = {"first": "p", "second": "q", "first_after": "u", "second_after": "v"}


@pytest.mark.parametrize(
    ("names", "toml", "told"),
    [(OPPOSITE, "", "name"), (UNRELATED, 'state = {p = "u", q = "v"}', "declared")],
)
def test_two_states_of_one_shape_are_paired_whatever_the_order_of_their_names(
    tmp_path: Path, names: dict[str, str], toml: str, told: str
) -> None:
    model, fitness = load(write(tmp_path / "model.onnx", TWO.format(**names), toml))
    assert model.signature is not None
    assert {(one.port.name, one.output, one.told) for one in model.signature.states} == {
        (names["first"], names["first_after"], told),
        (names["second"], names["second_after"], told),
    }
    values = [1.0, 2.0, -3.0, 4.0]
    outputs, _ = run(model, [[[value] for value in values]])
    assert outputs[0, :, 0].tolist() == two(values)
    assert fitness.bit_equal


def test_states_that_may_be_paired_in_two_ways_are_refused_and_the_sentence_tells_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"'p' and 'q' may become 'v' or 'u'.* under \[state\]|under \[state\]"):
        load(write(tmp_path / "model.onnx", TWO.format(**UNRELATED)))


def test_states_that_are_paired_wrongly_are_refuted_where_time_is_free(tmp_path: Path) -> None:
    text = """
    g (float[batch, time, 1] x, float[batch, 1] p, float[batch, 1] q)
      => (float[batch, time, 1] y, float[batch, 1] u, float[batch, 1] v)
    <int64[1] one = {1}, int64 axis = {1}, int64[1] last = {-1}, float ten = {10}, int64[1] end = {9223372036854775807}>
    {
      p3 = Unsqueeze(p, one)
      sums = CumSum(x, axis)
      q3 = Unsqueeze(q, one)
      q10 = Mul(q3, ten)
      total = Add(sums, p3)
      y = Add(total, q10)
      tail = Slice(total, last, end, one)
      u = Squeeze(tail, one)
      v = Identity(q)
    }
    """
    model, _ = load(write(tmp_path / "1/model.onnx", text, 'state = {p = "u", q = "v"}'))
    assert run(model, [[[1], [2]]])[0].ravel().tolist() == [1, 3]
    told = r"stepped differs .*if its states are other than p → v, q → u, tell them under \[state\]"
    with pytest.raises(ModelUnusable, match=told):
        load(write(tmp_path / "2/model.onnx", text, 'state = {p = "v", q = "u"}'))


def test_states_that_change_nothing_are_refused(tmp_path: Path) -> None:
    text = SUM.replace("Add(x, s)", "Neg(x)").replace("Identity(y)", "Neg(s)")
    with pytest.raises(ModelUnusable, match="change nothing"):
        load(write(tmp_path / "model.onnx", text))


def test_an_input_with_a_size_of_one_is_no_sequence_where_another_has_time(tmp_path: Path) -> None:
    text = """
    g (float[batch, time, 1] x, float[1, batch, 1] h0, float[1, batch, 1] c0)
      => (float[batch, time, 1] y, float[1, batch, 1] hn)
    { both = Add (h0, c0)
      first = Transpose <perm = [1, 0, 2]> (both)
      y = Add (x, first)
      hn = Neg (h0) }
    """
    with pytest.raises(ModelUnusable, match=r"'c0' is without time where others have it: tell its value by c0 = "):
        load(write(tmp_path / "model.onnx", text))


def test_an_output_that_follows_neither_rows_nor_steps_is_left_out(tmp_path: Path) -> None:
    text = """
    g (float[batch, time, 1] x) => (float[batch, time, 1] y, float total)
    { y = Neg (x)
      total = ReduceMean <keepdims = 0> (y) }
    """
    model, _ = load(write(tmp_path / "model.onnx", text))
    assert model.signature is not None
    assert [port.name for port in model.signature.outputs] == ["y"]
    assert model.signature.left_out == ("total",)


def test_a_model_with_a_constant_may_need_its_sequence_whole(tmp_path: Path) -> None:
    text = """
    g (float[batch, time, 1] x, float gain) => (float[batch, time, 1] y)
    <int64[1] axis = {1}>
    { mean = ReduceMean (x, axis)
      rest = Sub (x, mean)
      y = Mul (rest, gain) }
    """
    model, fitness = load(write(tmp_path / "model.onnx", text, "constants = {gain = 2}"))
    assert not fitness.streamable
    assert run(model, [[[1], [2], [6]]])[0][0, :, 0].tolist() == [-4, -2, 6]


def test_a_batch_axis_that_is_absent_or_second_or_first_gives_the_same_numbers(tmp_path: Path) -> None:
    shapes = {"absent": "[1, 1]", "first": "[batch, 1]", "second": "[1, batch]", "unnamed": "[?, 1]"}
    for name, shape in shapes.items():
        model, fitness = load(write(tmp_path / name / "model.onnx", SUM.replace("[batch, 1]", shape)))
        assert isinstance(model, AdaptedModel)
        assert model.signature.batched is (name != "absent")
        outputs, after = model.run(np.float32([[[1], [2], [9]], [[5], [9], [9]]]), np.int32([2, 1]), fresh(model, 2))
        assert outputs[0, :2].ravel().tolist() == [1, 3]
        assert outputs[1, 0].tolist() == [5]
        assert after["s"].ravel().tolist() == [3, 5]
        assert fitness.streamable and fitness.bit_equal


@pytest.mark.parametrize("kind", ["float16", "double", "int64", "int32", "uint8"])
def test_inputs_and_states_of_other_types_are_carried_exactly(tmp_path: Path, kind: str) -> None:
    model, fitness = load(write(tmp_path / "model.onnx", SUM.replace("float", kind)))
    outputs, after = run(model, [[[3]] * 5])
    assert outputs.ravel().tolist() == [3, 6, 9, 12, 15]
    assert run(model, [[[2]]], after)[0].item() == 17
    assert fitness.bit_equal


@pytest.mark.parametrize("value", [2**40 + 1, -(2**62) - 3, 0.1 + 2**-50])
def test_a_state_of_64_bits_loses_none(tmp_path: Path, value: float) -> None:
    """It begins with a value that float32 cannot hold; y is how many small steps it has come from there."""
    kind = "double" if isinstance(value, float) else "int64"
    zero, small = ("0.0", str(2.0**-30)) if kind == "double" else ("0", "1")
    text = f"""
    g ({kind}[batch, 1] x, {kind}[batch, 1] s) => (float[batch, 1] y, {kind}[batch, 1] s_out)
    <{kind} begin = {{{value!r}}}, {kind} zero = {{{zero}}}, {kind} small = {{{small}}}>
    {{
      fresh = Equal(s, zero)
      now = Where(fresh, begin, s)
      gone = Sub(now, begin)
      steps = Div(gone, small)
      y = Cast<to = 1>(steps)
      more = Mul(x, small)
      s_out = Add(now, more)
    }}
    """
    model, _ = load(write(tmp_path / "model.onnx", text, 'inputs = ["x"]'))
    assert run(model, [[[1]] * 4])[0].ravel().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "bad"), [("int64", 2.5), ("int32", 2.0**31), ("uint8", -1), ("uint8", 256), ("float16", 1e5)]
)
def test_a_value_that_the_type_of_an_input_cannot_hold_is_told(tmp_path: Path, kind: str, bad: float) -> None:
    model, _ = load(write(tmp_path / "model.onnx", SUM.replace("float", kind)))
    with pytest.raises(ValueError, match=f"x: .* is no {kind}"):
        run(model, [[[bad]]])


def test_several_inputs_and_outputs_are_one_row_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
    g (float[batch, time, 2] b, int64[batch, time] a) => (float[batch, time, 1] total, float[batch, time, 2] twice)
    <int64[1] two = {2}, float by = {2}>
    {
      part = ReduceSum(b, two)
      more = Cast<to = 1>(a)
      wide = Unsqueeze(more, two)
      total = Add(part, wide)
      twice = Mul(b, by)
    }
    """
    model, fitness = load(write(tmp_path / "model.onnx", text))
    assert [one.name for one in model.description.features] == ["b.0", "b.1", "a.0"]
    assert [one.name for one in model.description.outputs] == ["total.0", "twice.0", "twice.1"]
    assert run(model, [[[1, 2, 3]]])[0].ravel().tolist() == [6, 2, 4]
    assert fitness.streamable


CONSTANTS = """
g (float[batch, time, 2] x, float scale, float[batch, 2] offset) => (float[batch, time, 2] y)
<int64[1] one = {1}>
{
  scaled = Mul(x, scale)
  wide = Unsqueeze(offset, one)
  y = Add(scaled, wide)
}
"""


def test_constants_are_fixed_for_a_session_and_strangers_keep_theirs(tmp_path: Path) -> None:
    model, _ = load(write(tmp_path / "model.onnx", CONSTANTS, "[constants]\nscale = 2\noffset = [0, 1]"))
    ours, theirs = model.opening({"scale": array(10)}, {}), model.opening({"offset": array([5, 6])}, {})
    assert ours is not None and theirs is not None
    state = {name: np.concatenate([array[:1], ours[name], theirs[name]]) for name, array in fresh(model, 1).items()}
    outputs, after = run(model, [[[1, 1]]] * 3, state)
    assert outputs[:, 0].tolist() == [[2, 3], [10, 11], [7, 8]]
    assert run(model, [[[1, 1]]] * 3, after)[0][:, 0].tolist() == [[2, 3], [10, 11], [7, 8]]


@pytest.mark.parametrize(
    ("constants", "initial", "place"),
    [
        ({"rate": array(1)}, {}, "constants.rate: the model has offset, scale"),
        ({"offset": array([1, 2, 3])}, {}, r"constants.offset: shape \[3\], the model has \[2\]"),
        ({"scale": None}, {}, "constants.scale: not finite numbers"),
        ({}, {"scale": array(1)}, "initial.scale: the model has none"),
    ],
)
def test_beginnings_that_do_not_fit_are_refused_by_their_place(
    tmp_path: Path, constants: Given, initial: Given, place: str
) -> None:
    model, _ = load(write(tmp_path / "model.onnx", CONSTANTS, "[constants]\nscale = 2\noffset = [0, 1]"))
    with pytest.raises(InvalidInput, match=place):
        model.opening(constants, initial)


def test_a_constant_without_a_value_is_refused_and_the_sentence_tells_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"'scale' is no sequence and no state: .*scale = … under \[constants\]"):
        load(write(tmp_path / "model.onnx", CONSTANTS, "[constants]\noffset = 0"))


def test_initial_states_come_from_the_file_beside_it_or_from_the_session(tmp_path: Path) -> None:
    model, fitness = load(write(tmp_path / "model.onnx", SUM, "[initial]\ns = [100]"))
    outputs, after = run(model, [[[1], [2]]])
    assert outputs.ravel().tolist() == [101, 103]
    assert run(model, [[[1]]], after)[0].item() == 104
    assert run(model, [[[1]]], model.opening({}, {"s": array(7)}))[0].item() == 8
    assert fitness.streamable


WIDE = """
g (float[batch, 1] x, double[batch, 1] s, double gain) => (float[batch, 1] y, double[batch, 1] s_out)
{ xd = Cast <to = 11> (x)
  scaled = Mul (xd, gain)
  s_out = Add (scaled, s)
  y = Cast <to = 1> (s_out) }
"""


def test_numbers_beyond_float32_are_refused_where_float64_holds_them_too(tmp_path: Path) -> None:
    model, _ = load(write(tmp_path / "model.onnx", WIDE, "constants = {gain = 2}"))
    with pytest.raises(InvalidInput, match=r"gain: 1e\+39 is no float32"):
        model.begun({"gain": np.array([1e39])}, 1)
    with pytest.raises(ModelUnusable, match=r"gain: 1e\+39 is no float32"):
        load(write(tmp_path / "model.onnx", WIDE, "constants = {gain = 1e39}"))


def test_states_in_a_branch_and_without_any_recurrent_node_are_served(tmp_path: Path) -> None:
    """A window of three inputs, kept by a branch: a convolution's cache."""
    text = """
    g (float[batch, 1] x, float[batch, 3] cache_in) => (float[batch, 1] y, float[batch, 3] cache_out)
    <int64[1] one = {1}, int64[1] end = {9}, int64[1] axis = {1}, bool yes = {1}>
    {
      cache_out = If (yes) <
        then_branch = then () => (float[batch, 3] kept) {
          tail = Slice(cache_in, one, end, axis)
          kept = Concat<axis = 1>(tail, x) },
        else_branch = other () => (float[batch, 3] same) { same = Identity(cache_in) }
      >
      y = ReduceSum(cache_out, axis)
    }
    """
    model, fitness = load(write(tmp_path / "model.onnx", text))
    assert run(model, [[[1], [2], [3], [4]]])[0].ravel().tolist() == [1, 3, 6, 9]
    assert fitness.bit_equal


def test_operators_of_com_microsoft_are_run(tmp_path: Path) -> None:
    text = SUM.replace("s_out = Identity(y)", "s_out = com.microsoft.Gelu(y)")
    assert load(write(tmp_path / "model.onnx", text))[1].streamable


def test_a_state_that_grows_is_refused(tmp_path: Path) -> None:
    text = """
    g (float[batch, 1, 4] x, float[batch, past, 4] past_key) => (float[batch, 1, 4] y, float[batch, all, 4] present_key)
    <int64[1] one = {1}>
    { present_key = Concat<axis = 1>(past_key, x)
      y = ReduceSum(present_key, one) }
    """
    with pytest.raises(
        ModelUnusable, match=r"the state 'past_key' is \[batch, past, 4\]: at most its batch may be free"
    ):
        load(write(tmp_path / "model.onnx", text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "g (float[batch, time, 1] x, int32[batch] n) => (float[batch, time, 1] y) { y = Relu(x) }",
            'or its output under [state], or lengths = "n"',
        ),
        (
            "g (float[batch, 2] x) => (float[batch, 2] y, string[batch] s) { y = Relu(x)  s = Cast<to = 8>(x) }",
            'which is not served: numbers and truth values are; tell the others by outputs = ["NAME"]',
        ),
        ("g (float x) => (float y) { y = Relu(x) }", 'or its sizes by x = ["batch", "time", 3], say, under [shapes]'),
        (
            "g (float[b, 1, time] x) => (float[b, 1, u] y) { y = MaxPool<kernel_shape = [1], strides = [2]>(x) }",
            "is [2, 1, 2] for 3 steps and [2, 1, 3] for 6; it has to have as many steps",
        ),
        (
            "g (float[batch, 2] x) => (float[batch, 2] y) { noise = RandomNormalLike(x)  y = Add(x, noise) }",
            "the same sequence gives other numbers each time: is a Dropout in training mode?",
        ),
        (
            "g (float[batch, 2] x) => (float[batch, 4] y) <int64[2] sizes = {-1, 4}> { y = Reshape(x, sizes) }",
            "it does not run on x [3, 2]: The input tensor cannot be reshaped",
        ),
    ],
)
def test_what_cannot_be_served_is_told_by_its_place_and_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ModelUnusable) as caught:
        load(write(tmp_path / "model.onnx", text))
    assert told in str(caught.value)


def test_an_output_of_steps_by_steps_may_be_left_out(tmp_path: Path) -> None:
    text = """
    g (float[batch, time, 1] x) => (float[batch, time, 1] y, float[batch, time, time] scores)
    { turned = Transpose<perm = [0, 2, 1]>(x)  scores = MatMul(x, turned)  y = Relu(x) }
    """
    with pytest.raises(ModelUnusable, match=r"the output 'scores' is .* tell the others by outputs"):
        load(write(tmp_path / "model.onnx", text))
    model, _ = load(write(tmp_path / "model.onnx", text, 'outputs = ["y"]'))
    assert run(model, [[[1], [-1]]])[0].tolist() == [[[1], [0]]]


def test_an_output_of_words_may_be_left_out(tmp_path: Path) -> None:
    text = "g (float[batch, 2] x) => (float[batch, 2] y, string[batch, 2] s) { y = Relu(x)  s = Cast<to = 8>(x) }"
    model, _ = load(write(tmp_path / "model.onnx", text, 'outputs = ["y"]'))
    assert run(model, [[[1, -1]]])[0].tolist() == [[[1, 0]]]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = "g (float[batch, 1] x, string[batch] s, float rate) => (float[batch, 1] y) { y = Mul(x, rate) }"
    with pytest.raises(ModelUnusable) as caught:
        load(write(tmp_path / "model.onnx", text, 'state = {h = "hn"}'))
    for told in ("an input 'h'", "an output 'hn'", "'s' is string", "'rate' is no sequence"):
        assert told in str(caught.value)


@pytest.mark.parametrize(
    "toml",
    [
        "stat = 1",
        "state = 1",
        "state = {h = 1}",
        'inputs = "x"',
        'shapes = {x = ["rows", 3]}',
        "shapes = {x = [0]}",
        "[",
    ],
)
def test_a_model_toml_that_cannot_be_read_is_refused(tmp_path: Path, toml: str) -> None:
    with pytest.raises(ModelUnusable, match="cannot be read"):
        load(write(tmp_path / "model.onnx", SUM, toml))


def test_model_toml_is_part_of_the_digest(tmp_path: Path) -> None:
    digests = {
        load(write(tmp_path / name / "model.onnx", SUM, toml))[0].description.digest
        for name, toml in (("1", ""), ("2", "[initial]\ns = 1"), ("3", "[initial]\ns = 2"))
    }
    assert len(digests) == 3


def test_a_state_space_model_is_stepped(tmp_path: Path) -> None:
    text = """
    ssm (float[batch, 1] u, float[batch, 2] x_prev) => (float[batch, 1] y, float[batch, 2] x_next)
    <float[2, 2] A = {0.5, 0.25, -0.25, 0.5}, float[1, 2] B = {1, 2}, float[2, 1] C = {1, -1}>
    { moved = MatMul(x_prev, A)
      driven = MatMul(u, B)
      x_next = Add(moved, driven)
      y = MatMul(x_next, C) }
    """
    model, _ = load(write(tmp_path / "model.onnx", text))
    A, B, C = np.array([[0.5, 0.25], [-0.25, 0.5]]), np.array([1, 2]), np.array([1, -1])
    state, expected = np.zeros(2), []
    for value in (1, 2, 3):
        state = state @ A + value * B
        expected.append(state @ C)
    assert run(model, [[[1], [2], [3]]])[0].ravel().tolist() == expected


def test_a_window_of_attention_is_a_state_like_others(tmp_path: Path) -> None:
    """Attention of a token over itself and the two before it, which are kept as keys and values in one."""
    text = """
    window (float[batch, 2] token, float[batch, 2, 2] cache) => (float[batch, 2] y, float[batch, 2, 2] new_cache)
    <int64[1] one = {1}, int64[1] end = {9}, int64[1] last = {2}>
    { row = Unsqueeze(token, one)
      keys = Concat<axis = 1>(cache, row)
      turned = Transpose<perm = [0, 2, 1]>(keys)
      scores = MatMul(row, turned)
      weights = Softmax<axis = -1>(scores)
      mixed = MatMul(weights, keys)
      y = Squeeze(mixed, one)
      new_cache = Slice(keys, one, end, one) }
    """
    model, fitness = load(write(tmp_path / "model.onnx", text))
    tokens = np.random.default_rng(0).normal(0, 1, (6, 2)).astype(np.float32)
    seen, expected = [np.zeros(2, np.float32)] * 2, []
    for token in tokens:
        keys = np.array([*seen[-2:], token])
        weights = np.exp(keys @ token)
        expected.append(weights @ keys / weights.sum())
        seen.append(token)
    outputs, _ = run(model, tokens[None])
    np.testing.assert_allclose(outputs[0], expected, atol=1e-6)
    assert fitness.streamable


def test_lengths_of_other_names_and_ranks_are_fed(tmp_path: Path) -> None:
    for name, shape in (("x_lens", "[batch]"), ("seq_length", "")):
        text = f"""
        g (float[batch, time, 1] x, int64{shape} {name}) => (float[batch, time, 1] y)
        <int64[1] one = {{-1}}, int64[3] to = {{-1, 1, 1}}, float zero = {{0}}>
        {{ flat = Reshape({name}, to)
           count = Cast<to = 1>(flat)
           nothing = Mul(count, zero)
           y = Add(x, nothing) }}
        """
        model, fitness = load(write(tmp_path / name / "model.onnx", text))
        assert model.signature is not None and model.signature.lengths is not None
        assert model.signature.lengths.name == name
        assert run(model, [[[1], [2]]])[0].ravel().tolist() == [1, 2]
        assert fitness.streamable
