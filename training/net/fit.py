"""Train a network with Lightning: seed, early stopping, checkpoints, resume.

Several processes, on one or several hosts, share each batch, so that they learn what one process learns. Checkpoints
and curves are written to one folder.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from torch.utils.data import DataLoader

from training.data.batches import Batch, share
from training.errors import Interrupted, TrainingError
from training.net.hardware import PLAIN, Hardware, is_first, one_thread
from training.net.networks import Network, State
from training.net.progress import LOWER, Curves, Ending, ProgressLine
from training.recipe.recipe import Training

HINTS = (
    ".*does not have many workers",  # the data are in memory
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 with torch 2.13
    ".*Checkpoint directory .* exists and is not empty",  # emptied or resumed on purpose
)
for half in ("pytorch", "fabric"):
    logging.getLogger(f"lightning.{half}").setLevel(logging.WARNING)  # no banners


class Learner(LightningModule):
    """Network and loss for Lightning.

    `carried` is the state of each lane after its last window; only `advance` changes it. `learnt` holds loss and number
    of rows of each batch of the epoch.
    """

    def __init__(self, network: Network, how: Training) -> None:
        super().__init__()
        self.network, self.how = network, how
        self.carried: State = {}
        self.learnt: list[tuple[Tensor, int]] = []

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, State]:
        """Return the loss of a batch from `state`, and the state after it, which is right with `carry` only.

        Else padding is run like steps: its answers do not count, and packed sequences take four times as long.
        """
        ends = self.how.carry or not self.network.streamable
        lengths = batch.lengths if ends else torch.full_like(batch.lengths, batch.x.shape[1])
        h, after = self.network.hidden_values(batch.x, lengths, state)
        with torch.autocast(h.device.type, enabled=False):  # full precision for the loss
            return self.network.head.loss(h.float(), self.network.wanted(batch.x, batch.answers)), after

    def advance(self, batch: Batch) -> Tensor:
        """Return the loss of a batch from the states of its lanes, and update these."""
        loss, after = self.loss(batch, self._start(batch))
        for name, value in after.items() if self.how.carry else ():
            self.carried[name][batch.lanes] = value.detach().float()
        return loss

    def on_train_epoch_start(self) -> None:
        """Use the first process's random state, so that all processes take the windows in one order."""
        torch.set_rng_state(self.trainer.strategy.broadcast(torch.get_rng_state()))
        self.learnt.clear()

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Return this process's share of a batch."""
        world = self.trainer.world_size
        return batch if world == 1 else share(batch, self.global_rank, world)

    def training_step(self, batch: Batch) -> Tensor:
        """Return the training loss of a batch."""
        loss = self.advance(batch)
        self.learnt.append((loss.detach(), len(batch.x)))
        return loss * batch.weight

    def validation_step(self, batch: Batch) -> None:
        """Log the validation loss, which selects the best epoch."""
        loss, _ = self.loss(batch, self.network.zero_state(len(batch.x)))
        counted = int((~batch.answers.isnan()).any(-1).sum())
        self.log("validation_loss", loss, batch_size=counted, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log the mean training loss once per epoch: `self.log` at each step slows small networks by a tenth."""
        losses, rows = (torch.tensor(column) for column in zip(*self.learnt, strict=True))
        sums = torch.stack([losses @ rows.to(losses), rows.sum().to(losses)]).to(self.device)
        total, count = self.trainer.strategy.reduce(sums, reduce_op="sum")
        self.log("train_loss", total / count)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Return Adam with a cosine schedule over the epochs."""
        optimizer = Adam(self.parameters(), lr=self.how.learning_rate)
        return [optimizer], [CosineAnnealingLR(optimizer, self.how.epochs)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the random state, so that a resumed run takes the windows in the same order."""
        checkpoint["random_state"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the random state."""
        torch.set_rng_state(checkpoint["random_state"].cpu())

    def _start(self, batch: Batch) -> State:
        if not self.how.carry:
            return self.network.zero_state(len(batch.x))
        self.carried = self.carried or self.network.zero_state(self.how.batch)
        kept = (~batch.fresh).to(batch.x)
        return {
            name: value[batch.lanes] * kept.view(-1, *[1] * (value.dim() - 1)) for name, value in self.carried.items()
        }


def fit(
    build: Callable[[], Network],
    training: DataLoader[Any],
    validation: DataLoader[Any],
    *,
    how: Training,
    seed: int,
    folder: Path,
    resume: bool = False,
    hardware: Hardware = PLAIN,
) -> Network:
    """Train the network that `build` returns; return it with the weights of its best validation loss, in eval mode.

    The same seed gives the same weights on the same machine: `build` is called after the seed is set, on one thread.
    `resume` continues from the last epoch in `folder`, with the same result as an uninterrupted run. Several processes
    share the folder.

    Raises:
        TrainingError: the hardware does not exist, more processes than rows in a batch, a broken checkpoint, no
            finite loss, or `Interrupted`.

    """
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.ckpt"
    for old in folder.glob("*.ckpt") if is_first() and not resume else ():
        old.unlink()
    with one_thread(), quiet_lightning():
        seed_everything(seed, workers=True, verbose=False)
        learner = Learner(build(), how)
        best = ModelCheckpoint(folder, "best", monitor="validation_loss", enable_version_counter=False)
        trainer = _trainer(how, folder, hardware, best)
        if trainer.world_size > how.batch:
            raise TrainingError(f"training.batch is {how.batch}, too few for {trainer.world_size} processes to share")
        start = _checked(last) if resume and last.exists() else None
        try:
            trainer.fit(learner, training, validation, ckpt_path=start)
        except SystemExit as end:  # Lightning turns signals into it, SIGTERM into one with exit code 0
            signal = SIGTERM if isinstance(end, SIGTERMException) else SIGINT
            raise Interrupted(signal, f"in epoch {trainer.current_epoch + 1}") from None
        if best.best_model_score is None or not best.best_model_score.isfinite():
            raise TrainingError(f"the validation loss is no finite number from epoch 1 on; {LOWER}")
        learner.load_state_dict(_read(Path(best.best_model_path))["state_dict"])
    return learner.network.cpu().eval()


def _trainer(how: Training, folder: Path, hardware: Hardware, best: ModelCheckpoint) -> Trainer:
    """Return the trainer; it writes `last.ckpt` after each epoch, and `best` by its own rule."""
    stop = EarlyStopping("validation_loss", patience=how.patience)
    every = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    return hardware.trainer(
        default_root_dir=folder,
        max_epochs=how.epochs,
        gradient_clip_val=how.clip,
        logger=False,
        callbacks=[stop, Curves(folder), ProgressLine(), best, every, Ending(stop)],
        num_sanity_val_steps=0,
        enable_progress_bar=False,  # replaced by ProgressLine
        enable_model_summary=False,
    )


def _read(checkpoint: Path) -> dict[str, Any]:
    read: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return read


def _checked(last: Path) -> Path:
    """Return the path of a checkpoint that can be read."""
    try:
        _read(last)
    except Exception as error:  # of zip, pickle or torch, by where it is broken
        first = str(error).partition("\n")[0]
        raise TrainingError(f"{last}: the checkpoint is broken ({first}); fit again without --resume") from None
    return last


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppress hints of Lightning that the user of a recipe cannot act on."""
    with warnings.catch_warnings():
        for hint in HINTS:
            warnings.filterwarnings("ignore", hint)
        yield
