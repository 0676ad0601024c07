"""`carousel check` and `carousel adapt`, as they are called."""

import subprocess
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from tests import graphs
from tests.exports import Network
from tests.service.models.foreign import load, run, write
from tests.service.models.test_foreign import CONSTANTS, SUM
from tests.service.models.test_rewrite import export
from tests.wire.server import CAROUSEL


def carousel(*arguments: str | Path) -> tuple[int, str]:
    ended = subprocess.run([CAROUSEL, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def test_a_file_is_described(tmp_path: Path) -> None:
    code, told = carousel("check", write(tmp_path / "model.onnx", SUM, "[initial]\ns = 2"))
    assert code == 0
    for line in (
        "input     x float32 [batch, 1]",
        "output    y float32 [batch, 1]",
        "state     s float32 [batch, 1] → s_out (name), begins as what was told",
        "a call    takes rows × one step",
        "serves    sequences whole, and streams: 8 bytes of state a session",
        "equal     stepped, in chunks and in a batch: bit for bit",
    ):
        assert line in told


def test_all_under_a_folder_is_told_and_one_fault_makes_the_exit_code(tmp_path: Path) -> None:
    graphs.write(tmp_path / "ours/1/model.onnx", "bidirectional")
    graphs.write(tmp_path / "ours/latest/model.onnx")
    write(tmp_path / "theirs/2/model.onnx", CONSTANTS)
    (tmp_path / "empty/1").mkdir(parents=True)
    (tmp_path / "flat.onnx").write_bytes(b"")
    graphs.write(tmp_path / "our own/1/model.onnx")
    graphs.write(tmp_path / "unnumbered/model.onnx")
    code, told = carousel("check", tmp_path)
    assert code == 1
    for line in (
        "it does not stream: LSTM '' is bidirectional: it reads the sequence whole",
        "a version is a decimal number: rename its folder",
        "'scale' is no sequence and no state",
        "'offset' is",
        "not served: it has no model.onnx",
        "not served: a model is NAME/VERSION/model.onnx\n",
        "not served: a name is 1-128 characters",
        "not served: a model is NAME/VERSION/model.onnx, VERSION a decimal number",
    ):
        assert line in told
    assert carousel("check", tmp_path / "ours/1")[0] == 0


def test_a_file_is_written_anew_in_the_contract_with_the_same_numbers(tmp_path: Path) -> None:
    path = export(Network("LSTM", 2, batch_first=False), tmp_path / "model.onnx", x={0: "time", 1: "batch"})
    code, told = carousel("adapt", path, "-o", tmp_path / "new/model.onnx")
    assert code == 0, told
    model, fitness = load(tmp_path / "new/model.onnx")
    assert model.signature is None
    assert fitness.streamable and fitness.bit_equal
    session = ort.InferenceSession(tmp_path / "new/model.onnx")
    names = [node.name for node in session.get_inputs()]
    assert names == ["input", "lengths", "state.h0", "state.c0", "state.h1", "state.c1"]
    inputs = np.random.default_rng(0).normal(0, 1, (3, 6, 3)).astype(np.float32)
    assert run(model, inputs)[0].tobytes() == run(load(path)[0], inputs)[0].tobytes()


@pytest.mark.parametrize(
    ("graph", "reason"), [(SUM, "one call gives one answer"), (CONSTANTS, "no sequence and no state")]
)
def test_what_the_contract_has_no_place_for_is_told_and_nothing_is_written(
    tmp_path: Path, graph: str, reason: str
) -> None:
    code, told = carousel("adapt", write(tmp_path / "model.onnx", graph), "-o", tmp_path / "new.onnx")
    assert code == 1
    assert reason in told
    assert not (tmp_path / "new.onnx").exists()
