"""What Lightning trains: a network, its loss on a batch, and the states that are carried from window to window."""

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from training.data.batches import Batch, share
from training.net.networks import Network, State
from training.recipe.recipe import Training


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
