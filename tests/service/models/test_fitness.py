"""What the examination finds in good models, and the wrong ones that it refuses."""

from pathlib import Path

import numpy as np
import pytest

from service.errors import ModelUnusable
from service.models.files import read
from service.models.fitness import Fitness, Policy, examine
from service.models.model import Array, Lengths, OnnxModel, State
from tests.fakes import RunningSum
from tests.graphs import Cell, write


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


def test_a_model_with_nan_among_its_outputs_is_judged_by_the_others(tmp_path: Path) -> None:
    assert found(OnnxModel(*read(write(tmp_path / "model.onnx", head="log")))).tolerance < 1e-5


def test_the_fake_of_these_tests_is_a_good_model() -> None:
    assert found(RunningSum()).bit_equal


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
