"""Execution providers by short names, and what is asked of a model by another one than the CPU's."""

from pathlib import Path

import numpy as np
import pytest

from service.errors import ModelUnusable
from service.models.files import read
from service.models.fitness import Fitness, compared
from service.models.model import Array, Lengths, OnnxModel, State
from service.models.providers import CPU, Provider, providers_of
from tests.fakes import RunningSum
from tests.graphs import write

THERE = ["CUDAExecutionProvider", "OpenVINOExecutionProvider", "CPUExecutionProvider"]
FIT = Fitness(True, 0.0, 1, 0.0)


def names(asked: str, available: list[str] = THERE) -> list[str]:
    return [one.short for one in providers_of(asked.split(","), available)]


def test_providers_are_taken_in_the_order_asked() -> None:
    assert names("cuda,cpu") == ["cuda", "cpu"]
    assert names("openvino") == ["openvino"]
    assert providers_of(["cpu"], THERE) == CPU


def test_one_that_is_missing_is_an_error_unless_cpu_follows() -> None:
    assert names("tensorrt,cuda,cpu") == ["cuda", "cpu"]
    for asked in ("tensorrt", "tensorrt,cuda", "cpu,tensorrt", "cudda,openvino"):
        with pytest.raises(ValueError, match=r"is not there; this ONNX Runtime has cuda, openvino, cpu"):
            names(asked)


def test_options_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text("[cuda]\ndevice_id = 1\nuse_tf32 = false\n")
    (cuda, _) = providers_of(["cuda", "cpu"], THERE, path)
    assert cuda == Provider("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "false"})
    with pytest.raises(ValueError, match="cuda, which is not asked for"):
        providers_of(["cpu"], THERE, path)
    for text in ("cuda = 1", "[cuda", "[cudda]\nx = 1"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"providers\.toml"):
            providers_of(["cuda"], THERE, path)
    with pytest.raises(ValueError, match="No such file"):
        providers_of(["cuda"], THERE, tmp_path / "none.toml")


def test_rows_of_one_length_run_together_where_lengths_may_be_overlooked(tmp_path: Path) -> None:
    model = OnnxModel(*read(write(tmp_path / "model.onnx", "lstm")))
    rng, lengths = np.random.default_rng(0), np.array([5, 2, 5, 1, 3], np.int32)
    inputs = rng.standard_normal((5, 5, 3)).astype(np.float32)
    state = {name: rng.standard_normal((5, 8)).astype(np.float32) for name in model.state_shapes}
    outputs, after = model.run(inputs, lengths, state)
    model.provider = "another"
    apart, states = model.run(inputs, lengths, state)
    for row, length in enumerate(lengths):
        assert np.array_equal(apart[row, :length], outputs[row, :length])
        assert all(np.array_equal(states[name][row], after[name][row]) for name in after)


class Off(RunningSum):
    """Answers a little more than it should."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self._by = np.float32(1 + by)

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        outputs, after = super().run(inputs, lengths, state)
        return outputs * self._by, after


def test_a_provider_is_compared_with_the_cpu() -> None:
    assert compared(FIT, RunningSum(), RunningSum()) == FIT
    assert 0 < compared(FIT, Off(1e-5), RunningSum()).tolerance < 1e-4
    with pytest.raises(ModelUnusable, match=r"differs from the CPU's by 0\.1"):
        compared(FIT, Off(0.1), RunningSum())
