import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import tables, tiny
from tests.training.net import shares
from training.data.batches import Window, collate, share
from training.errors import TrainingError
from training.file.contract import read_metadata
from training.net.hardware import Hardware
from training.recipe.recipe import Training

TORCHRUN = Path(sys.executable).with_name("torchrun")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process left, and what two left."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for folder in (one, two):
        tables.recipe(folder, table=tables.line(60))
    shares.main(one)
    command = [TORCHRUN, "--standalone", "--nproc-per-node", "2", "-m", "tests.training.net.shares", two]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return one, two


@pytest.mark.parametrize("batches", ["alone", "lanes"])
def test_two_processes_learn_what_one_learns(folders: tuple[Path, Path], batches: str) -> None:
    one, two = folders
    alone, first, second = (
        torch.load(path) for path in (one / f"{batches}-alone.pt", *(two / f"{batches}-{rank}.pt" for rank in (0, 1)))
    )
    for name, value in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)


def test_the_first_process_writes_the_model(folders: tuple[Path, Path]) -> None:
    _, two = folders
    path = two / "models/tiny/1/model.onnx"
    assert [(two / f"{rank}.txt").read_text(encoding="utf-8") for rank in (0, 1)] == [str(path)] * 2
    figures = [read_metadata(folder / "models/tiny/1/model.onnx")["metrics"]["test_mse_z"] for folder in folders]
    assert figures[0] == pytest.approx(figures[1], rel=1e-3)
    card = path.with_name("card.md").read_text(encoding="utf-8")
    assert "torchrun --nnodes 1 --nproc-per-node 2 --no-python carousel-train fit tiny" in card
    assert len(list((two / "runs").rglob("*.ckpt"))) == 6


def test_every_lane_is_taken_by_one_process_and_weighs_as_much_as_alone() -> None:
    short, long = np.zeros((2, 1), np.float32), np.ones((5, 1), np.float32)
    whole = collate([Window(x, x) for x in (short, long, short)])
    first, second, third, fourth = (share(whole, rank, 4) for rank in range(4))
    assert (first.x.shape, second.x.shape, third.lanes.tolist()) == ((1, 2, 1), (1, 5, 1), [2])
    assert [part.weight for part in (first, second, third, fourth)] == pytest.approx([8 / 9, 20 / 9, 8 / 9, 0])
    assert (fourth.lengths.tolist(), fourth.answers.isnan().tolist()) == ([1], [[[True]]])


def test_hardware_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="--accelerator abacus: You selected an invalid"):
        Hardware("abacus").trainer()
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="--devices 3: torchrun has started 2 here"):
        Hardware(devices=3).trainer()


def test_the_command_tells_the_hardware() -> None:
    assert Hardware().command("fit") == "fit"
    assert Hardware("gpu", precision="bf16-mixed").command("fit") == "fit --accelerator gpu --precision bf16-mixed"


@pytest.mark.parametrize("cell", ["feedforward", "rnn", "gru", "lstm"])
@pytest.mark.parametrize("how", [shares.ALONE, shares.LANES], ids=["alone", "lanes"])
def test_cells_may_compute_in_bfloat16_and_learn_the_same(
    cell: str, how: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)  # few processors have bfloat16 in it

    def learnt(hardware: Hardware) -> dict[str, torch.Tensor]:
        return shares.fitted(how, tmp_path, lambda: tiny.network(cell), hardware).state_dict()

    whole, half = learnt(Hardware()), learnt(Hardware(precision="bf16-mixed"))
    assert any(not torch.equal(value, half[name]) for name, value in whole.items())
    for name, value in whole.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], value, rtol=0.1, atol=0.05)
