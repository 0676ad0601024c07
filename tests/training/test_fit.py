from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from tests.training import tiny
from training.fit import Forecaster, Schedule, fit
from training.networks import Lstm


def task(windows: int, seed: int) -> TensorDataset:
    """Forecast the sum of this load and the one before: only a network that remembers can."""
    x = np.stack([tiny.rows(12, seed + i) for i in range(windows)])
    y = x[..., :1].copy()
    y[:, 1:] += x[:, :-1, :1] - 50
    counts = np.ones(y.shape[:2], bool)
    counts[:, 0] = False
    return TensorDataset(*(torch.from_numpy(array) for array in (x, y, counts)))


def run(tmp_path: Path, epochs: int, seed: int = 3) -> Lstm:
    schedule = Schedule(epochs=epochs, patience=epochs, learning_rate=0.05)
    return fit(tiny.network, task(64, 0), task(8, 1000), schedule=schedule, seed=seed, runs=tmp_path / "runs" / "tiny")


def test_a_fit_learns_what_needs_memory(tmp_path: Path) -> None:
    without_memory = 1.0  # the variance of the load before, which only the state can know
    trained = Forecaster(run(tmp_path, epochs=20), Schedule()).loss(list(task(8, 1000).tensors)).item()
    assert trained < without_memory / 4


def test_one_seed_gives_one_network_and_leaves_the_threads_alone(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    first, second, other = run(tmp_path, 1), run(tmp_path, 1), run(tmp_path, 1, seed=4)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first.recurrent.weight_ih_l0, other.recurrent.weight_ih_l0)
    assert torch.get_num_threads() == threads


def test_checkpoint_and_curves_stay_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run(tmp_path, 1)
    assert list(elsewhere.iterdir()) == []
    written = {path.suffix for path in (tmp_path / "runs" / "tiny").rglob("*") if path.is_file()}
    assert {".ckpt", ".csv"} <= written


def test_steps_that_do_not_count_do_not_move_the_loss() -> None:
    x, y, counts = task(4, 0).tensors
    forecaster = Forecaster(tiny.network(), Schedule())
    wrong = torch.where(counts[..., None], y, torch.tensor(1e9))
    assert torch.equal(forecaster.loss([x, y, counts]), forecaster.loss([x, wrong, counts]))
