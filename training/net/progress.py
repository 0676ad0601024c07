"""Callbacks that report a training run: a progress line, why it ended early, and the losses of each epoch in a file."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

STILL = 3  # epochs with the same losses, after which a training stops
LOWER = "lower training.learning_rate, or look for huge values in the data"


class ProgressLine(Callback):
    """Epoch, batch and both losses on one line of at most 80 columns (Lightning's own bar is longer)."""

    def __init__(self, console: Console | None = None) -> None:
        columns = TextColumn("epoch {task.fields[epoch]}"), BarColumn(16), TextColumn("{task.fields[losses]}")
        self.line = Progress(*columns, console=console)
        self.task = self.line.add_task("", epoch="", losses="")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the line, in the first process."""
        if trainer.is_global_zero:
            self.line.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the bar."""
        batches = float(trainer.num_training_batches)
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        total = batches if isfinite(batches) else None  # with `carry` the number of batches is unknown
        self.line.reset(self.task, total=total, epoch=epoch, losses=_losses(trainer))

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Advance the bar."""
        self.line.advance(self.task)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the losses."""
        self.line.update(self.task, losses=_losses(trainer))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release the terminal, also after an error."""
        if trainer.is_global_zero:
            self.line.stop()


def _losses(trainer: Trainer) -> str:
    seen = trainer.callback_metrics
    pairs = (("train", "train_loss"), ("validation", "validation_loss"))
    return "  ".join(f"{word} {float(seen[key]):.4g}" for word, key in pairs if key in seen)


class Ending(Callback):
    """Stop when the losses do not move, and tell why a training ended before its last epoch."""

    def __init__(self, early: EarlyStopping, console: Console | None = None) -> None:
        self.early, self.console = early, console or Console()
        self.losses: list[tuple[float, ...]] = []
        self.reason = ""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if the last epochs had the same losses to the last bit."""
        self.losses.append(tuple(float(value) for value in trainer.callback_metrics.values()))
        if len(self.losses) >= STILL and len(set(self.losses[-STILL:])) == 1:
            self.reason = (
                f"the losses have not moved for {STILL} epochs; look at the learning rate, features and target"
            )
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the reason."""
        if not isfinite(float(trainer.callback_metrics.get("validation_loss", 0.0))):
            self.reason = f"the validation loss is no finite number any more; {LOWER}"
        elif self.early.stopped_epoch and not self.reason and trainer.current_epoch < (trainer.max_epochs or 0):
            self.reason = f"the validation loss has not fallen for {self.early.patience} epochs"
        if self.reason and trainer.is_global_zero:
            self.console.print(f"Stopped after epoch {trainer.current_epoch}: {self.reason}.", soft_wrap=True)


class Curves(Callback):
    """Losses of every epoch, in curves.json and in the checkpoint, so that a resumed run has them all."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "curves.json"
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the losses so far."""
        losses = {key: float(value) for key, value in trainer.callback_metrics.items()}
        self.epochs.append({"epoch": trainer.current_epoch + 1, **losses})
        if trainer.is_global_zero:
            self.path.write_text(json.dumps(self.epochs, indent=1), encoding="utf-8")

    def state_dict(self) -> dict[str, Any]:
        """Return the part of the checkpoint."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore from a checkpoint."""
        self.epochs = list(state_dict["epochs"])
