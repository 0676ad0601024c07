"""Files of other people by `tritonclient`, as a client of another server asks them: their names, types and axes."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton

from tests.service.models import foreign
from tests.wire.server import Server
from tests.wire.test_foreign import LAST, RATED, TOKENS
from tests.wire.triton import refused

# Time first; y is the running sum of x.
TURNED = """
g (float[time, batch, 2] x, float[batch, 2] s) => (float[time, batch, 2] y, float[batch, 2] s_out)
<int64 axis = {0}, int64[1] zero = {0}, int64[1] last = {-1}, int64[1] end = {9223372036854775807}>
{ sums = CumSum(x, axis)
  before = Unsqueeze(s, zero)
  y = Add(sums, before)
  tail = Slice(y, last, end, zero)
  s_out = Squeeze(tail, zero) }
"""
# Two inputs and two outputs of several types.
SEVERAL = """
g (double[batch, time, 1] a, int32[batch, time, 2] b, bool[batch, time] on)
  => (double[batch, time, 1] sum, int32[batch, time, 2] twice, bool[batch, time] off)
<int32 two = {2}>
{ single = Cast<to = 11>(b)
  axis = Constant<value_ints = [-1]>()
  total = ReduceSum<keepdims = 1>(single, axis)
  sum = Add(a, total)
  twice = Mul(b, two)
  off = Not(on) }
"""
WEIGHED = """
g (float[batch, time, 1] x, float[batch, 2] weights, float[batch, 1] s)
  => (float[batch, time, 1] y, float[batch, 1] s_out)
<int64[1] one = {1}, int64 axis = {1}, int64[1] last = {-1}, int64[1] end = {9223372036854775807}>
{ factor = ReduceSum<keepdims = 1>(weights, one)
  factors = Unsqueeze(factor, one)
  part = Mul(x, factors)
  sums = CumSum(part, axis)
  before = Unsqueeze(s, one)
  y = Add(sums, before)
  tail = Slice(y, last, end, one)
  s_out = Squeeze(tail, one) }
"""
# It takes one length for all of its rows, and adds it.
MEASURED = """
g (float[batch, time, 1] x, int64 x_len) => (float[batch, time, 1] y)
{ length = Cast<to = 1>(x_len)
  y = Add(x, length) }
"""

_WIDE = 20  # inputs, and outputs
WIDE = f"""
g ({", ".join(f"float[batch, time, 1] x{i}" for i in range(_WIDE))})
  => ({", ".join(f"float[batch, time, 1] y{i}" for i in range(_WIDE))})
{{ {" ".join(f"y{i} = Neg(x{i})" for i in range(_WIDE))} }}
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("foreign")
    foreign.write(folder / "rated/1/model.onnx", RATED, "[constants]\nrate = 2\n[initial]\ns = 100")
    foreign.write(folder / "weighed/1/model.onnx", WEIGHED, "[constants]\nweights = 0.5")
    for name, text in {
        "tokens": TOKENS,
        "last": LAST,
        "turned": TURNED,
        "several": SEVERAL,
        "measured": MEASURED,
        "wide": WIDE,
    }.items():
        foreign.write(folder / f"{name}/1/model.onnx", text)
    server = Server(folder, tmp_path_factory.mktemp("server") / "log").wait_until_ready()
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as one:
        one.file = lambda name: ort.InferenceSession(folder / f"{name}/1/model.onnx")
        yield one
    assert server.stop() == 0, server.log
    assert not server.errors()


def given(binary: bool = True, /, **arrays: Any) -> list[Any]:
    """Tensors by name; the type is that of the array."""
    kinds = {"f": "FP", "i": "INT", "b": "BOOL"}
    inputs = []
    for name, array in arrays.items():
        kind = kinds[array.dtype.kind] + ("" if array.dtype == bool else str(8 * array.itemsize))
        inputs.append(triton.InferInput(name, [*array.shape], kind))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    return inputs


def f32(*values: Any) -> Any:
    return np.array(values, np.float32)


def test_metadata_have_the_names_types_and_axes_of_the_file_and_no_states(client: Any) -> None:
    def told(model: str) -> dict[str, tuple[str, list[int]]]:
        seen = client.get_model_metadata(model)
        return {one["name"]: (one["datatype"], one["shape"]) for one in seen["inputs"] + seen["outputs"]}

    assert told("turned") == {"x": ("FP32", [-1, -1, 2]), "y": ("FP32", [-1, -1, 2])}
    assert told("rated") == {"x": ("FP32", [-1, 1]), "rate": ("FP32", []), "y": ("FP32", [-1, 1])}
    assert told("several") == {
        "a": ("FP64", [-1, -1, 1]),
        "b": ("INT32", [-1, -1, 2]),
        "on": ("BOOL", [-1, -1]),
        "sum": ("FP64", [-1, -1, 1]),
        "twice": ("INT32", [-1, -1, 2]),
        "off": ("BOOL", [-1, -1]),
    }
    config = client.get_model_config("weighed")
    assert config["max_batch_size"] > 0
    assert config["input"] == [
        {"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 1]},
        {"name": "weights", "data_type": "TYPE_FP32", "dims": [2]},
    ]
    assert client.get_model_config("turned")["max_batch_size"] == 0


@pytest.mark.parametrize(("sent", "asked"), [*product((True, False), (True, False, None))])
def test_tensors_of_all_types_go_in_and_out_as_the_runtime_has_them(
    client: Any, rng: np.random.Generator, sent: bool, asked: bool | None
) -> None:
    arrays = {
        "a": rng.integers(-99, 99, (2, 3, 1)).astype(np.float64),
        "b": rng.integers(-99, 99, (2, 3, 2)).astype(np.int32),
        "on": rng.random((2, 3)) > 0.5,
    }
    names = ["off", "sum", "twice"]
    outputs = None if asked is None else [triton.InferRequestedOutput(name, binary_data=asked) for name in names]
    answer = client.infer("several", given(sent, **arrays), outputs=outputs)
    for name, array in zip(names, client.file("several").run(names, arrays), strict=True):
        assert answer.as_numpy(name).dtype == array.dtype
        assert np.array_equal(answer.as_numpy(name), array)


def test_as_many_tensors_as_the_file_has(client: Any) -> None:
    asked = [triton.InferRequestedOutput(f"y{index}") for index in range(_WIDE)]
    answer = client.infer("wide", given(**{f"x{index}": f32([[index]]) for index in range(_WIDE)}), outputs=asked)
    assert [answer.as_numpy(one.name()).item() for one in asked] == [-index for index in range(_WIDE)]


def test_one_length_may_be_that_of_all_rows(client: Any) -> None:
    arrays = {"x": f32([[1], [2]], [[3], [4]]), "x_len": np.array(2)}
    assert np.array_equal(client.infer("measured", given(**arrays)).as_numpy("y"), arrays["x"] + 2)


def test_only_the_outputs_that_are_asked_for_are_answered(client: Any) -> None:
    arrays = {"a": np.zeros((1, 1, 1)), "b": np.ones((1, 1, 2), np.int32), "on": np.ones((1, 1), bool)}
    wanted = [triton.InferRequestedOutput("twice"), triton.InferRequestedOutput("off", binary_data=False)]
    answer = client.infer("several", given(**arrays), outputs=wanted)
    assert [one["name"] for one in answer.get_response()["outputs"]] == ["twice", "off"]
    assert (answer.as_numpy("twice").tolist(), answer.as_numpy("off").tolist()) == ([[[2, 2]]], [[False]])
    outputs = [triton.InferRequestedOutput("h")]
    assert "no output 'h'" in refused(lambda: client.infer("several", given(**arrays), outputs=outputs))[0]


def test_time_may_come_first_and_sequences_go_on_where_they_were(client: Any, rng: np.random.Generator) -> None:
    x, s = rng.integers(-9, 9, (6, 1, 2)).astype(np.float32), np.zeros((1, 2), np.float32)
    whole, _ = client.file("turned").run(["y", "s_out"], {"x": x, "s": s})
    assert np.array_equal(client.infer("turned", given(x=x)).as_numpy("y"), whole)
    for start, end in ((0, 2), (2, 3), (3, 6)):
        how = {"sequence_id": 7, "sequence_start": start == 0, "sequence_end": end == 6}
        assert np.array_equal(client.infer("turned", given(x=x[start:end]), **how).as_numpy("y"), whole[start:end])
    batch = rng.standard_normal((3, 5, 2)).astype(np.float32)
    assert client.infer("turned", given(x=batch)).as_numpy("y").shape == (3, 5, 2)


def test_a_constant_in_the_request_is_that_of_its_rows_or_of_its_sequence(client: Any) -> None:
    def step(rate: float | None, **how: Any) -> float:
        arrays = {"x": f32([1])} | ({} if rate is None else {"rate": np.array(rate, np.float32)})
        return float(client.infer("rated", given(**arrays), **how).as_numpy("y").item())

    assert (step(None), step(10), step(2)) == (102, 110, 102)
    started = {"sequence_id": 3, "sequence_start": True}
    assert [step(10, **started), step(10, sequence_id=3), step(None, sequence_id=3)] == [110, 120, 130]
    message, status = refused(lambda: step(5, sequence_id=3))
    assert (status, "rate: another value" in message) == (422, True)
    assert step(10, sequence_id=3, sequence_end=True) == 140
    assert step(7, sequence_id=4, sequence_start=True, sequence_end=True) == 107
    assert [step(None, **started), step(2, sequence_id=3, sequence_end=True)] == [102, 104]
    assert refused(lambda: step(float("nan")))[1] == 422


def test_every_row_of_a_batch_has_constants_of_its_own(client: Any) -> None:
    x, weights = f32([[1], [2]], [[3], [4]]), f32([1, 2], [10, 0])
    answer = client.infer("weighed", given(x=x, weights=weights)).as_numpy("y")
    assert answer.tolist() == [[[3], [9]], [[30], [70]]]
    assert client.infer("weighed", given(x=x)).as_numpy("y").tolist() == [[[1], [3]], [[3], [7]]]
    assert refused(lambda: client.infer("weighed", given(x=x, weights=weights[:1])))[1] == 422


def test_a_model_of_one_answer_a_sequence_has_no_time_in_its_answer(client: Any) -> None:
    assert client.infer("last", given(x=f32([[1], [2]], [[3], [4]]))).as_numpy("y").tolist() == [[3], [7]]
    assert client.infer("last", given(x=f32([[1], [2]])), sequence_id=1, sequence_start=True).as_numpy("y") == [[3]]
    assert client.infer("last", given(x=f32([[5]])), sequence_id=1, sequence_end=True).as_numpy("y") == [[8]]


def test_a_tensor_that_the_file_does_not_take_is_refused_and_the_message_names_what_it_does(client: Any) -> None:
    for arrays, status, told in (
        ({"input": f32([[1]])}, 400, "no input 'input'; the model takes 'token'"),
        ({"token": f32([1])}, 400, "datatype FP32; 'token' is INT64"),
        ({"token": np.ones((1, 1, 1), np.int64)}, 422, "the model takes [batch, time] or [batch]"),
        ({"token": np.array([[2**24 + 1]])}, 422, "token: a whole number beyond"),
        ({"token": np.array([[2**63 - 1]])}, 422, "token: a whole number beyond"),
    ):
        message, code = refused(lambda arrays=arrays: client.infer("tokens", given(**arrays)))  # type: ignore[misc]
        assert (code, told in message) == (status, True), message
    states = {"x": f32([1]), "s": f32([0])}
    assert "s'" in refused(lambda: client.infer("rated", given(**states)))[0]
    rows = {"a": np.zeros((2, 1, 1)), "b": np.ones((1, 1, 2), np.int32), "on": np.ones((1, 1), bool)}
    assert "rows and steps differ" in refused(lambda: client.infer("several", given(**rows)))[0]
