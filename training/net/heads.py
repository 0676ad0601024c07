"""Heads: hidden values [B,T,H] → outputs [B,T,K], and the loss against answers [B,T,M]; NaN does not count.

`file.export` builds each head node by node.
"""

from collections.abc import Callable
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.data.dataset import Scaling


class Head(nn.Module):
    """Linear layer, then what the subclass does with its result."""

    std: Tensor  # [K] unit of the errors of an output

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, outputs)

    def forward(self, h: Tensor) -> Tensor:
        """Return the outputs [B,T,K] of [B,T,H]."""
        raise NotImplementedError

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the mean loss over the answers that are not NaN."""
        raise NotImplementedError


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {  # of an error
    "mse": torch.square,
    "mae": torch.abs,
    "huber": lambda error: functional.huber_loss(error, torch.zeros_like(error), reduction="none"),
}


class Values(Head):
    """Numbers in the target's unit. Loss: of the error in standard deviations, or in the unit if not `scaled`."""

    mean: Tensor

    def __init__(
        self, hidden: int, scaling: Scaling, cap: float | None = None, *, loss: str = "mse", scaled: bool = True
    ) -> None:
        super().__init__(hidden, len(scaling.mean))
        self.cap = inf if cap is None else cap  # answers are clipped to it
        self.error_loss, self.scaled = LOSSES[loss], scaled
        std = torch.tensor(scaling.std, dtype=torch.float32)
        self.register_buffer("mean", torch.tensor(scaling.mean, dtype=torch.float32))
        self.register_buffer("std", torch.where(std > 0, std, 1.0))

    def forward(self, h: Tensor) -> Tensor:
        """Scale to the target's unit."""
        y: Tensor = self.linear(h) * self.std + self.mean
        return y

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the mean loss of the errors."""
        error = self(h) - answers.clamp(max=self.cap)
        error = error / self.std if self.scaled else error
        return _mean(self.error_loss(error[~answers.isnan()]))


class Band(Values):
    """Q quantiles per answer, which cannot cross. Loss: pinball loss (Koenker & Bassett 1978).

    Each quantile lies above the previous one by (x + √(x² + 4)) / 2 (squareplus, Barron 2021), which is smooth and
    positive. Unlike softplus, it consists of operators that round correctly, so batched rows equal lone rows.
    """

    sums: Tensor  # [K, K] sums over the quantiles of one answer
    rises: Tensor  # [K] 0 for a first quantile, 1 for a distance to the previous one
    levels: Tensor  # [Q]

    def __init__(self, hidden: int, scaling: Scaling, levels: tuple[float, ...]) -> None:
        Q, M = len(levels), len(scaling.mean)
        super().__init__(hidden, Scaling(scaling.mean.repeat(Q), scaling.std.repeat(Q)))
        self.register_buffer("levels", torch.tensor(levels))
        self.register_buffer("sums", torch.kron(torch.eye(M), torch.ones(Q, Q).triu()))
        self.register_buffer("rises", (torch.arange(Q * M) % Q > 0).float())

    def forward(self, h: Tensor) -> Tensor:
        """Sum the distances, then scale to the target's unit."""
        y: Tensor = self._ordered(h) * self.std + self.mean
        return y

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the pinball loss in standard deviations, mean over answers and quantiles."""
        Q = len(self.levels)
        wanted = (answers - self.mean[::Q]) / self.std[::Q]
        error = wanted[..., None] - self._ordered(h).view(*wanted.shape, Q)  # [B, T, M, Q]
        error = error[~answers.isnan()]
        return _mean(torch.maximum(self.levels * error, (self.levels - 1) * error))

    def _ordered(self, h: Tensor) -> Tensor:
        x = self.linear(h)
        distance = (x + (x * x + 4.0).sqrt()) * 0.5
        ordered: Tensor = (x * (1 - self.rises) + distance * self.rises) @ self.sums
        return ordered


class Classes(Head):
    """Probability of each class; answers are indices of classes. Loss: cross-entropy."""

    weights: Tensor  # [K] of the classes in the loss

    def __init__(self, hidden: int, weights: NDArray[np.floating]) -> None:
        super().__init__(hidden, len(weights))
        self.register_buffer("std", torch.ones(len(weights)))
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, h: Tensor) -> Tensor:
        """Return the softmax over the classes."""
        y: Tensor = self.linear(h).softmax(-1)
        return y

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the mean weighted cross-entropy, in nats."""
        logits, truth = self.linear(h)[counts := ~answers[..., 0].isnan()], answers[..., 0][counts].long()
        return _mean(functional.cross_entropy(logits, truth, self.weights, reduction="none"))


class Labels(Head):
    """Probability of each label; answers are 0 or 1. Loss: binary cross-entropy.

    The bias starts at the labels' prior probabilities [K]: learning it would take hundreds of steps if most are rare.
    """

    def __init__(self, hidden: int, prior: NDArray[np.floating]) -> None:
        super().__init__(hidden, len(prior))
        self.register_buffer("std", torch.ones(len(prior)))
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor(prior).logit())

    def forward(self, h: Tensor) -> Tensor:
        """Return the sigmoid of each label."""
        y: Tensor = self.linear(h).sigmoid()
        return y

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the binary cross-entropy in nats, mean over steps and labels."""
        counts = ~answers.isnan()
        logits = self.linear(h)[counts]
        return _mean(functional.binary_cross_entropy_with_logits(logits, answers[counts], reduction="none"))


def _mean(losses: Tensor) -> Tensor:
    """Return the mean; 0 without an answer, so that the gradient is zero."""
    return losses.sum() / max(losses.numel(), 1)
