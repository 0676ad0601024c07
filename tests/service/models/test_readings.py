"""Which inputs are states, lengths and sequences, and which numbers they take, in files of other people."""

from pathlib import Path

import pytest

from service.errors import ModelUnusable
from tests.service.models.foreign import TWO, load, run, two, write

SUM = """
g (int64[batch, 1] x, int64[batch, 1] s) => (int64[batch, 1] y, int64[batch, 1] s_out)
{ y = Add(x, s)
  s_out = Identity(y) }
"""


@pytest.mark.parametrize("name", ["hop_length", "calendar", "wavelength", "max_len"])
def test_a_number_whose_name_holds_len_is_not_fed_with_lengths(tmp_path: Path, name: str) -> None:
    text = f"""
    g (float[batch, time, 1] x, int64{{shape}} {name}) => (float[batch, time, 1] y)
    {{ number = Cast<to = 1>({name})
       y = Add(x, number) }}
    """
    for shape in ("", "[1]"):
        with pytest.raises(ModelUnusable, match=f'or lengths = "{name}"'):
            load(write(tmp_path / f"{len(shape)}/model.onnx", text.replace("{shape}", shape)))


def test_lengths_that_a_file_gives_back_are_no_state(tmp_path: Path) -> None:
    text = """
    g (float[batch, time, 1] x, int64[batch] lengths) => (float[batch, time, 1] y, int64[batch] lengths_out)
    { y = Neg(x)
      lengths_out = Identity(lengths) }
    """
    model, _ = load(write(tmp_path / "model.onnx", text))
    assert model.signature is not None and not model.signature.states
    assert run(model, [[[1], [2]]])[0].ravel().tolist() == [-1, -2]


def test_a_state_may_be_one_number(tmp_path: Path) -> None:
    text = """
    g (float[batch, 1] x, int64 position) => (float[batch, 1] y, int64 position_out)
    <int64 one = {1}>
    { place = Cast<to = 1>(position)
      y = Mul(x, place)
      position_out = Add(position, one) }
    """
    model, _ = load(write(tmp_path / "model.onnx", text))
    assert run(model, [[[1]] * 4])[0].ravel().tolist() == [0, 1, 2, 3]


def test_the_one_input_that_is_left_is_the_sequence_whatever_outputs_there_are(tmp_path: Path) -> None:
    text = """
    g (float[batch, 1] x, float[batch, 2] h) => (float[batch, 1] y, float[batch, 2] z, float[batch, 2] h_out)
    { y = Neg(x)
      h_out = Add(h, x)
      z = Neg(h_out) }
    """
    model, _ = load(write(tmp_path / "model.onnx", text))
    assert run(model, [[[1], [2]]])[0].tolist() == [[[-1, -1, -1], [-2, -3, -3]]]


@pytest.mark.parametrize(
    "names",
    [("initial_h", "initial_c", "final_h", "final_c"), ("hx", "cx", "hy", "cy"), ("h", "c", "h_final", "c_final")],
)
def test_states_of_usual_names_are_paired(tmp_path: Path, names: tuple[str, ...]) -> None:
    first, second, first_after, second_after = names
    told = {"first": first, "second": second, "first_after": first_after, "second_after": second_after}
    model, _ = load(write(tmp_path / "model.onnx", TWO.format(**told)))
    assert run(model, [[[1], [2], [3]]])[0].ravel().tolist() == two([1, 2, 3])


def test_an_output_without_numbers_is_refused(tmp_path: Path) -> None:
    text = """
    g (float[batch, time, 1] x) => (float[batch, time, none] y)
    <int64[1] zero = {0}, int64[1] axis = {2}>
    { y = Slice(x, zero, zero, axis) }
    """
    with pytest.raises(ModelUnusable, match="'y' has no numbers"):
        load(write(tmp_path / "model.onnx", text))


def test_a_whole_number_that_float32_may_have_rounded_is_refused(tmp_path: Path) -> None:
    model, _ = load(write(tmp_path / "model.onnx", SUM))
    assert run(model, [[[2**24 - 1]]])[0].item() == 2**24 - 1
    with pytest.raises(ValueError, match="x: a whole number of 16777216 or more may have lost digits"):
        run(model, [[[2**24 + 1]]])
