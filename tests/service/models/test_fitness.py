"""What the examination finds in good models, and the wrong ones that it refuses."""

from pathlib import Path

import numpy as np
import pytest

from service.errors import ModelUnusable
from service.models.files import read
from service.models.fitness import Fitness, examine
from service.models.model import Array, Lengths, OnnxModel, State
from service.models.speed import Policy, measured
from tests.fakes import FakeClock, RunningSum
from tests.graphs import Cell, write
from tests.service.models import foreign


def found(model: OnnxModel | RunningSum) -> Fitness:
    return examine(model, Policy(batch=4, chunk=8, steps=32))


class Wrong(RunningSum):
    """A model that is wrong in one way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        if how == "swaps its states":
            self.state_shapes = {"h": (1,), "c": (1,)}

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        match self.how:
            case "swaps its states":
                sums, after = super().run(inputs, lengths, {"sum": state["h"]})
                return sums + state["c"][:, None], {"h": state["c"] + 1, "c": after["sum"]}
            case "mixes rows":
                return super().run(inputs, lengths, {"sum": state["sum"][::-1] + inputs[0, 0]})
            case "ignores lengths":
                return super().run(inputs + 1, np.full_like(lengths, inputs.shape[1]), state)
            case "forgets its state":
                return super().run(inputs, lengths, {"sum": 0 * state["sum"]})
            case "is NaN when stepped":
                outputs, after = super().run(inputs, lengths, state)
                return (outputs * np.nan if inputs.shape[1] == 1 else outputs), after
        raise AssertionError(self.how)


@pytest.mark.parametrize("cell", ["lstm", "gru", "feedforward"])
def test_a_good_cell_is_streamable_bit_for_bit(tmp_path: Path, cell: Cell) -> None:
    fitness = found(OnnxModel(*read(write(tmp_path / "model.onnx", cell))))
    assert (fitness.streamable, fitness.bit_equal, fitness.min_batch) == (True, True, 1)
    assert fitness.seconds_per_step > 0


def test_a_plain_rnn_is_bit_equal_in_company_only(tmp_path: Path) -> None:
    fitness = found(OnnxModel(*read(write(tmp_path / "model.onnx", "rnn"))))
    assert (fitness.streamable, fitness.bit_equal, fitness.min_batch) == (True, True, 2)


def test_a_model_that_needs_the_whole_sequence_is_not_streamable(tmp_path: Path) -> None:
    fitness = found(OnnxModel(*read(write(tmp_path / "model.onnx", "bidirectional"))))
    assert (fitness.streamable, fitness.bit_equal, fitness.min_batch) == (False, True, 1)


LOOK_AHEAD = """
g (float[batch, time, 1] x) => (float[batch, time, 1] y)
<float mean = {MEAN}, float deviation = {20.0}, float low = {-3.0}, float high = {3.0}, int64[1] axis = {1},
 float small = {0.00001}>
{ moved = Sub (x, mean)
  scaled = Div (moved, deviation)
  z = Clip (scaled, low, high)
  level = ReduceMean (z, axis)
  sum = Add (z, level)
  y = SIZED }
"""


@pytest.mark.parametrize(
    ("sized", "mean"), [("Identity (sum)", "500.0"), ("Identity (sum)", "-60.0"), ("Mul (sum, small)", "500.0")]
)
def test_a_model_that_clips_what_it_takes_or_gives_tiny_numbers_is_seen_to_need_its_sequence_whole(
    tmp_path: Path, sized: str, mean: str
) -> None:
    text = LOOK_AHEAD.replace("SIZED", sized).replace("MEAN", mean)
    _, fitness = foreign.load(foreign.write(tmp_path / "model.onnx", text))
    assert not fitness.streamable


def test_a_model_with_nan_among_its_outputs_is_judged_by_the_others(tmp_path: Path) -> None:
    assert found(OnnxModel(*read(write(tmp_path / "model.onnx", head="log")))).tolerance < 1e-5


def test_the_fake_of_these_tests_is_a_good_model() -> None:
    assert found(RunningSum()).bit_equal


def test_a_model_without_a_finite_answer_is_refused_with_the_reason(tmp_path: Path) -> None:
    text = "g (float[batch, time, 1] x) => (float[batch, time, 1] y) <float zero = {0}>"
    text += " { none = Mul (x, zero) y = Div (none, none) }"
    with pytest.raises(ModelUnusable, match="no answer is finite"):
        foreign.load(foreign.write(tmp_path / "model.onnx", text))


@pytest.mark.parametrize(
    "how", ["swaps its states", "mixes rows", "ignores lengths", "forgets its state", "is NaN when stepped"]
)
def test_a_model_that_is_wrong_is_refused(how: str) -> None:
    with pytest.raises(ModelUnusable, match="self-test"):
        found(Wrong(how))


class Rounding(RunningSum):
    """A model of another machine: in company its outputs are a little larger. Whole sequences only, if so told."""

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        if whole:
            self.state_shapes = {}

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        before = state if state else {"sum": np.zeros((len(inputs), 1), np.float32)}
        outputs, after = super().run(inputs, lengths, before)
        company = np.float32(1 + 1e-6 * (len(inputs) - 1))
        return outputs * company, {} if self.whole else after


@pytest.mark.parametrize("whole", [False, True])
def test_a_deviation_by_rounding_is_stated_as_it_is_for_a_lone_row(whole: bool) -> None:
    fitness = found(Rounding(whole=whole))
    assert (fitness.streamable, fitness.bit_equal, fitness.min_batch) == (not whole, False, 1)
    assert 7.5e-6 < fitness.tolerance < 8.5e-6  # nine rows together against one alone


class Shy(Rounding):
    """A model of whole sequences that computes a lone row differently."""

    def __init__(self) -> None:
        super().__init__(whole=True)

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        outputs, _ = RunningSum().run(inputs, lengths, {"sum": np.zeros((len(inputs), 1), np.float32)})
        return outputs * np.float32(1.00001 if len(inputs) == 1 else 1), {}


def test_a_model_that_cannot_be_stepped_is_given_the_company_it_needs() -> None:
    fitness = found(Shy())
    assert (fitness.streamable, fitness.bit_equal, fitness.min_batch) == (False, True, 2)


class Signed(RunningSum):
    """A model whose zeros are negative in company."""

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        outputs, after = super().run(inputs, lengths, state)
        return outputs * np.float32(0 if len(inputs) == 1 else -0.0), after


def test_zeros_of_another_sign_are_a_deviation() -> None:
    assert (found(Signed()).bit_equal, found(Signed()).min_batch) == (True, 2)


class Timed(RunningSum):
    """A model that takes 10 µs a row and step of a fake clock; `features` are not looked at."""

    def __init__(self, features: int = 1) -> None:
        super().__init__()
        self.features, self.clock = features, FakeClock()  # type: ignore[misc]  # a class attribute of the fake

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        self.clock.advance(1e-5 * inputs.shape[0] * inputs.shape[1])
        return super().run(inputs[:, :, :1], lengths, state)


def test_the_policy_is_the_least_that_has_nearly_the_best_throughput() -> None:
    model = Timed()
    # 256 rows: 256 / (0.36 + 2.56 ms) = 87.7 rows/ms; 1024: 96.6; 8 rows, 64 steps: 93.4 steps/ms; 32: 87.7
    assert measured(model, clock=model.clock) == Policy(batch=256, chunk=32, steps=2191)


def test_a_given_batch_and_chunk_are_the_policy() -> None:
    model = Timed()
    policy = measured(model, batch=3, chunk=5, clock=model.clock)
    assert (policy.batch, policy.chunk) == (3, 5)


def test_a_run_of_a_wide_model_is_bounded_whatever_is_given() -> None:
    model = Timed(features=2**16)
    for given in ({}, {"batch": 10**6, "chunk": 10**6}):
        policy = measured(model, clock=model.clock, **given)
        assert policy.batch * 2**16 <= 2**24
        assert 8 * policy.chunk * 2**16 <= 2**24
        assert policy.steps * 2**16 <= 2**24


class Misshapen(RunningSum):
    """A model whose output has one step, whatever goes in."""

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        outputs, after = super().run(inputs, lengths, state)
        return outputs[:, :1], after


def test_an_output_of_another_shape_than_the_input_is_refused() -> None:
    with pytest.raises(ModelUnusable, match=r"'output' is \[2, 1, 1\], not \[2, 9, 1\]"):
        found(Misshapen())
