"""The Lightning run: one network, its windows, a validation stream; early stopping, checkpoint of the best, seed.

Knows nothing of tables, features or files of models. What Lightning writes (checkpoints, curves) goes under `runs`.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from torch.utils.data import DataLoader, TensorDataset

from training.networks import Lstm

HINTS = (
    ".*does not have many workers",  # the data is in memory already
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 under torch 2.13: theirs to mend
)
Batch = list[Tensor]  # x [B,T,F], y [B,T,K], counts [B,T]: which steps the loss counts


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn."""

    epochs: int = 24  # at most; the learning rate falls to zero over them along a cosine
    patience: int = 6  # epochs without a better validation error before the run stops
    batch: int = 16
    learning_rate: float = 0.01
    clip: float = 1.0  # largest norm of the gradient


class Forecaster(LightningModule):
    """The mean squared error of a network's forecasts in units of the target's deviation, as Lightning drives it."""

    def __init__(self, network: Lstm, schedule: Schedule) -> None:
        super().__init__()
        self.network, self.schedule = network, schedule

    def loss(self, batch: Batch) -> Tensor:
        """Return the error of one batch over the steps that count, every sequence from the zero state."""
        x, y, counts = batch
        forecast, _ = self.network(x, torch.full((len(x),), x.shape[1]), self.network.zero_state(len(x)))
        loss: Tensor = ((forecast - y) / self.network.head.std)[counts].square().mean()
        return loss

    def training_step(self, batch: Batch) -> Tensor:
        """Return the training loss of one batch of windows."""
        loss = self.loss(batch)
        self.log("train_mse", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Log the error on the validation stream, by which the best epoch is chosen."""
        self.log("validation_mse", self.loss(batch), prog_bar=True)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Adam, its rate annealed over the epochs."""
        optimizer = Adam(self.parameters(), lr=self.schedule.learning_rate)
        return [optimizer], [CosineAnnealingLR(optimizer, self.schedule.epochs)]


class Progress(RichProgressBar):
    """One line that shows the epoch and both errors."""

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return what the line shows; not the number of the log folder."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


def fit(
    build: Callable[[], Lstm],
    training: TensorDataset,
    validation: TensorDataset,
    *,
    schedule: Schedule,
    seed: int,
    runs: Path,
) -> Lstm:
    """Train what `build` makes and return it as it was at its best validation error, ready to be evaluated.

    The same seed gives the same weights on the same machine: `build` is called after the seed is set, on one thread.
    """
    with _one_thread(), _quiet_lightning():
        seed_everything(seed, workers=True, verbose=False)
        forecaster = Forecaster(build(), schedule)
        best = ModelCheckpoint(monitor="validation_mse")
        trainer = _trainer(schedule, runs, [best, EarlyStopping("validation_mse", patience=schedule.patience)])
        trainer.fit(forecaster, DataLoader(training, schedule.batch, shuffle=True), DataLoader(validation))
        checkpoint = torch.load(best.best_model_path, weights_only=True)
    forecaster.load_state_dict(checkpoint["state_dict"])
    return forecaster.network.eval()


def _trainer(schedule: Schedule, runs: Path, callbacks: list[Callback]) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=schedule.epochs,
        gradient_clip_val=schedule.clip,
        logger=CSVLogger(runs.parent, name=runs.name),
        callbacks=[*callbacks, Progress()],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_model_summary=False,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small recurrent networks gain nothing from a second thread, and sums keep their order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep hints that no user of a recipe can act on out of the terminal."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for hint in HINTS:
                warnings.filterwarnings("ignore", hint)
            yield
    finally:
        log.setLevel(level)
