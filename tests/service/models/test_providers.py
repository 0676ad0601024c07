"""Execution providers by short names, and what is asked of a model by another one than the CPU's."""

from pathlib import Path

import numpy as np
import pytest

from service.errors import ModelUnusable
from service.models.examiner import Examiner
from service.models.files import read
from service.models.fitness import Fitness, compared
from service.models.model import Array, Lengths, OnnxModel, State, available
from service.models.providers import CPU, Provider, providers_of, read_options
from tests.fakes import RunningSum
from tests.graphs import write
from tests.service.models import foreign

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
    options = read_options(path, THERE)
    (cuda, _) = providers_of(["cuda", "cpu"], THERE, options)
    assert cuda == Provider("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "false"})
    assert providers_of(["cpu"], THERE, options) == CPU  # a model may ask for the other one
    assert read_options(None, THERE) == {}
    for text in ("cuda = 1", "[cuda", "[cudda]\nx = 1"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"providers\.toml"):
            read_options(path, THERE)
    with pytest.raises(ValueError, match="No such file"):
        read_options(tmp_path / "none.toml", THERE)


def test_a_model_may_have_providers_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "model.onnx", "lstm")
    toml, examiner = tmp_path / "model.toml", Examiner()
    toml.write_text('providers = ["cuda", "cpu"]')  # this build lacks the first
    model, fitness = examiner.load(tmp_path / "model.onnx")
    assert (model.provider, model.signature, fitness.bit_equal) == ("cpu", None, True)
    toml.write_text('providers = ["cuda"]')
    with pytest.raises(ModelUnusable, match=r"model\.toml: providers: cuda is not there.*or let cpu follow"):
        examiner.load(tmp_path / "model.onnx")
    toml.write_text('providers = "cuda"')
    with pytest.raises(ModelUnusable, match="providers is a list"):
        examiner.load(tmp_path / "model.onnx")
    examiner.close()


@pytest.mark.parametrize("provider", {"cpu", "openvino"} & {Provider(name, {}).short for name in available()})
@pytest.mark.parametrize("text", [None, foreign.TWO.format(first="h", first_after="hn", second="c", second_after="cn")])
def test_a_model_runs_by_each_provider_that_is_installed(tmp_path: Path, text: str | None, provider: str) -> None:
    path, examiner = tmp_path / "model.onnx", Examiner()
    foreign.write(path, text) if text else write(path, "lstm")
    path.with_name("model.toml").write_text(f'providers = ["{provider}"]')
    model, fitness = examiner.load(path)
    examiner.close()
    assert (model.provider, model.signature is None) == (provider, text is None)
    assert fitness.streamable
    assert fitness.tolerance < 1e-3


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
