import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import tiny
from training.data.batches import Window, carried, collate, loader, streams
from training.data.dataset import Sequence, Stretch
from training.errors import Interrupted as Halted
from training.errors import TrainingError
from training.net.fit import fit
from training.net.learner import Learner
from training.net.networks import Network
from training.recipe.recipe import Training

SERIES = [tiny.rows(33, seed) for seed in range(4)]  # two for each lane


class Interrupted(Exception):
    pass


class Fuse(list[Window]):
    """Windows that can be taken so many times; then the run is interrupted."""

    def __init__(self, windows: list[Window], left: int) -> None:
        super().__init__(windows)
        self.left = left

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise Interrupted
        return super().__getitem__(index)


def task(windows: int, seed: int) -> list[Window]:
    """Forecast the sum of this load and the one before: only a network that remembers can."""
    x = np.stack([tiny.rows(12, seed + i) for i in range(windows)])
    y = x[..., :1].copy()
    y[:, 1:] += x[:, :-1, :1] - 50
    y[:, 0] = np.nan
    return [Window(*pair) for pair in zip(x, y, strict=True)]


def run(
    folder: Path, epochs: int, seed: int = 3, training: list[Window] | None = None, resume: bool = False
) -> Network:
    how = Training(epochs=epochs, patience=epochs, learning_rate=0.05)
    training = task(64, 0) if training is None else training
    batches = loader(training, how.batch, shuffle=True), loader(task(8, 1000), how.batch)
    return fit(tiny.network, *batches, how=how, seed=seed, folder=folder, resume=resume)


def loss(network: Network, windows: list[Window]) -> float:
    batch = collate(windows)
    return Learner(network, Training()).loss(batch, network.zero_state(len(batch.x)))[0].item()


def same(first: Network, second: Network) -> bool:
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_a_fit_learns_what_needs_memory(tmp_path: Path) -> None:
    without_memory = 1.0  # the variance of the load before, which only the state can know
    assert loss(run(tmp_path, epochs=20), task(8, 1000)) < without_memory / 4


def test_one_seed_gives_one_network_and_leaves_the_threads_alone(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    first, second, other = run(tmp_path / "a", 1), run(tmp_path / "b", 1), run(tmp_path / "c", 1, seed=4)
    assert same(first, second)
    assert not same(first, other)
    assert torch.get_num_threads() == threads


def test_a_resumed_fit_gives_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 4)
    with pytest.raises(Interrupted):
        run(tmp_path / "broken", 4, training=Fuse(task(64, 0), 64 * 2 + 20))
    resumed = run(tmp_path / "broken", 4, resume=True)
    assert same(whole, resumed)
    curves = [(tmp_path / name / "curves.json").read_text(encoding="utf-8") for name in ("whole", "broken")]
    assert curves[0] == curves[1]


def test_a_fit_begins_anew_unless_it_is_told_to_resume(tmp_path: Path) -> None:
    assert same(run(tmp_path, 1), run(tmp_path, 1))


def test_there_may_be_nothing_to_resume(tmp_path: Path) -> None:
    assert same(run(tmp_path / "a", 1, resume=True), run(tmp_path / "b", 1))


def test_all_that_is_left_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run(tmp_path / "runs", 1)
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"best.ckpt", "last.ckpt", "curves.json"}


def test_neither_uncounted_answers_nor_padding_move_the_loss() -> None:
    first, second = task(2, 0)
    short = Window(first.x[:6], first.answers[:6])
    uncounted = Window(second.x, np.full_like(second.answers, np.nan))
    assert loss(tiny.network(), [short, uncounted]) == pytest.approx(loss(tiny.network(), [short]))


def test_carried_windows_are_to_the_loss_what_the_whole_series_is() -> None:
    series = [Stretch(Sequence(str(i), np.arange(33), x, x[:, :1]), 0, 33, (1,)) for i, x in enumerate(SERIES)]
    network = tiny.network()
    learner = Learner(network, Training(window=8, batch=2, carry=True))
    with torch.no_grad():
        pieces = [learner.advance(batch).item() for batch in carried(series, learner.how)]
    assert np.mean(pieces) == pytest.approx(loss(network, streams(series, 0)), rel=1e-6)


def test_a_batch_without_an_answer_teaches_nothing() -> None:
    (one,) = task(1, 0)
    assert loss(tiny.network(), [Window(one.x, np.full_like(one.answers, np.nan))]) == 0


def test_a_loss_that_is_no_number_ends_a_fit_in_words(tmp_path: Path) -> None:
    nothing = [one._replace(answers=np.full_like(one.answers, 3e38)) for one in task(8, 0)]
    batches = loader(nothing, 4, shuffle=True), loader(nothing, 4)
    with pytest.raises(
        TrainingError, match=r"the validation loss is no finite number from epoch 1 on; lower training\.l"
    ):
        fit(tiny.network, *batches, how=Training(epochs=3), seed=0, folder=tmp_path)


def test_a_loss_that_does_not_move_ends_a_fit_early_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = Training(epochs=50, patience=50, learning_rate=1e-30)
    batches = loader(task(4, 0), 4, shuffle=True), loader(task(4, 1000), 4)
    fit(tiny.network, *batches, how=how, seed=0, folder=tmp_path)
    assert re.search(r"Stopped after epoch \d: the losses have not moved for 3 epochs", capsys.readouterr().out)


def test_a_broken_checkpoint_is_told_in_words(tmp_path: Path) -> None:
    run(tmp_path, 1)
    last = tmp_path / "last.ckpt"
    for content in (last.read_bytes()[:1000], b"", b"no checkpoint"):
        last.write_bytes(content)
        with pytest.raises(TrainingError, match=r"last\.ckpt: the checkpoint is broken .* fit again without --resume"):
            run(tmp_path, 2, resume=True)


class Signal(Fuse):
    """Windows that send a signal to this process when so many were taken."""

    def __init__(self, windows: list[Window], left: int, number: int) -> None:
        super().__init__(windows, left)
        self.number = number

    def __getitem__(self, index):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)
        return list.__getitem__(self, index)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_fit_with_its_own_exit_code_and_the_way_to_go_on(tmp_path: Path, number: int) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(Halted, match=r"in epoch 2, without a model; .* --resume") as caught:
            run(tmp_path, 3, training=Signal(task(64, 0), 90, number))
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.exit_code == 128 + number
    assert same(run(tmp_path, 3, resume=True), run(tmp_path / "whole", 3))
