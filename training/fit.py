"""The Lightning run: one network, its batches, a validation stream; early stopping, checkpoints, resume, seed.

Many processes, on one host or on many, share each batch that one would take, so that they learn what one learns.
Knows nothing of tables, features or files of models. What it leaves (checkpoints, curves) goes into one folder.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from torch.utils.data import DataLoader

from training.batches import Batch, share
from training.errors import TrainingError
from training.hardware import PLAIN, Hardware, is_first
from training.networks import Network, State
from training.progress import Curves, ProgressLine
from training.recipe import Training
from training.threads import one_thread

HINTS = (
    ".*does not have many workers",  # the data are in memory already
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 under torch 2.13: theirs to mend
    ".*Checkpoint directory .* exists and is not empty",  # it is ours, and emptied or resumed on purpose
)


class Learner(LightningModule):
    """A network and its loss as Lightning drives them.

    `carried` is the state of each lane after its last window; only `advance` touches it. `learnt` has the loss
    and the rows of each batch of the epoch.
    """

    def __init__(self, network: Network, how: Training) -> None:
        super().__init__()
        self.network, self.how = network, how
        self.carried: State = {}
        self.learnt: list[tuple[Tensor, int]] = []

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, State]:
        """Return the loss of one batch from `state`, and the state after it."""
        h, after = self.network.hidden_values(batch.x, batch.lengths, state)
        with torch.autocast(h.device.type, enabled=False):  # a loss wants its digits, whatever the cells compute in
            return self.network.head.loss(h.float(), batch.answers), after

    def advance(self, batch: Batch) -> Tensor:
        """Return the loss of one batch from where its lanes stand, and move them on."""
        loss, after = self.loss(batch, self._start(batch))
        for name, value in after.items() if self.how.carry else ():
            self.carried[name][batch.lanes] = value.detach().float()
        return loss

    def on_train_epoch_start(self) -> None:
        """Throw the first process's dice: all take the windows in one order."""
        torch.set_rng_state(self.trainer.strategy.broadcast(torch.get_rng_state()))
        self.learnt.clear()

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Take this process's share of a batch."""
        world = self.trainer.world_size
        return batch if world == 1 else share(batch, self.global_rank, world)

    def training_step(self, batch: Batch) -> Tensor:
        """Return the training loss of one batch."""
        loss = self.advance(batch)
        self.learnt.append((loss.detach(), len(batch.x)))
        return loss * batch.weight

    def validation_step(self, batch: Batch) -> None:
        """Log the loss on the validation part, by which the best epoch is chosen."""
        loss, _ = self.loss(batch, self.network.zero_state(len(batch.x)))
        counted = int((~batch.answers.isnan()).any(-1).sum())
        self.log("validation_loss", loss, batch_size=counted, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log the mean training loss, once an epoch: at every step that costs a small network a tenth of its speed."""
        losses, rows = (torch.tensor(column) for column in zip(*self.learnt, strict=True))
        sums = torch.stack([losses @ rows.to(losses), rows.sum().to(losses)]).to(self.device)
        total, count = self.trainer.strategy.reduce(sums, reduce_op="sum")
        self.log("train_loss", total / count)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Adam, its rate annealed over the epochs."""
        optimizer = Adam(self.parameters(), lr=self.how.learning_rate)
        return [optimizer], [CosineAnnealingLR(optimizer, self.how.epochs)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep where the dice stand: a resumed run takes the windows in the order in which it would have."""
        checkpoint["dice"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the dice back."""
        torch.set_rng_state(checkpoint["dice"].cpu())

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
    """Train what `build` makes and return it as it was at its best validation loss, ready to be evaluated.

    The same seed gives the same weights on the same machine: `build` is called after the seed is set, on one thread.
    `resume` goes on from the last epoch that the folder holds, and gives what an uninterrupted run would have. Many
    processes share the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.ckpt"
    for old in folder.glob("*.ckpt") if is_first() and not resume else ():
        old.unlink()
    with one_thread(), quiet_lightning():
        seed_everything(seed, workers=True, verbose=False)
        learner = Learner(build(), how)
        best = ModelCheckpoint(folder, "best", monitor="validation_loss", enable_version_counter=False)
        every = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        stop = EarlyStopping("validation_loss", patience=how.patience)
        trainer = hardware.trainer(
            default_root_dir=folder,
            max_epochs=how.epochs,
            gradient_clip_val=how.clip,
            logger=False,
            callbacks=[stop, Curves(folder), ProgressLine(), best, every],
            num_sanity_val_steps=0,
            enable_progress_bar=False,  # ours is a callback
            enable_model_summary=False,
        )
        if trainer.world_size > how.batch:
            raise TrainingError(f"training.batch is {how.batch}, too few for {trainer.world_size} processes to share")
        trainer.fit(learner, training, validation, ckpt_path=last if resume and last.exists() else None)
        checkpoint = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    learner.load_state_dict(checkpoint["state_dict"])
    return learner.network.cpu().eval()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep hints that no user of a recipe can act on out of the terminal."""
    logs = [logging.getLogger(f"lightning.{half}") for half in ("pytorch", "fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for hint in HINTS:
                warnings.filterwarnings("ignore", hint)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
