"""Heads: hidden values [B,T,H] → what is served [B,T,K], and the loss against answers [B,T,M]; NaN does not count.

One class a kind of answer; `export` builds each of them node by node. Knows no cells.
"""

from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.dataset import Scaling


class Head(nn.Module):
    """A linear layer; what becomes of it is the subclass's."""

    std: Tensor  # [K] the unit in which errors of an output are judged

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, outputs)

    def forward(self, h: Tensor) -> Tensor:
        """Map [B,T,H] to what is served, [B,T,K]."""
        raise NotImplementedError

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the mean loss over the answers that count."""
        raise NotImplementedError


class Values(Head):
    """Numbers in the target's unit, by the squared error in units of its deviation."""

    mean: Tensor

    def __init__(self, hidden: int, scaling: Scaling, cap: float | None = None) -> None:
        super().__init__(hidden, len(scaling.mean))
        self.cap = inf if cap is None else cap  # answers above it count as it
        std = torch.tensor(scaling.std, dtype=torch.float32)
        self.register_buffer("mean", torch.tensor(scaling.mean, dtype=torch.float32))
        self.register_buffer("std", torch.where(std > 0, std, 1.0))

    def forward(self, h: Tensor) -> Tensor:
        """Undo the target's scaling."""
        y: Tensor = self.linear(h) * self.std + self.mean
        return y

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the mean squared error."""
        error = (self(h) - answers.clamp(max=self.cap)) / self.std
        return _mean(error[~answers.isnan()].square())


class Band(Values):
    """Quantiles, Q to an answer, by the pinball loss (Koenker & Bassett 1978). They cannot cross.

    The first is free and each further one lies above it by (x + √(x² + 4)) / 2 (squareplus, Barron 2021): smooth,
    positive, and made of operators that round correctly, which softplus is not.
    """

    sums: Tensor  # [K, K] adds up the quantiles of one answer
    rises: Tensor  # [K] 1 where an output is a distance, 0 where it is a first quantile
    levels: Tensor  # [Q]

    def __init__(self, hidden: int, scaling: Scaling, levels: tuple[float, ...]) -> None:
        Q, M = len(levels), len(scaling.mean)
        super().__init__(hidden, Scaling(scaling.mean.repeat(Q), scaling.std.repeat(Q)))
        self.register_buffer("levels", torch.tensor(levels))
        self.register_buffer("sums", torch.kron(torch.eye(M), torch.ones(Q, Q).triu()))
        self.register_buffer("rises", (torch.arange(Q * M) % Q > 0).float())

    def forward(self, h: Tensor) -> Tensor:
        """Add the distances up, then undo the target's scaling."""
        y: Tensor = self._ordered(h) * self.std + self.mean
        return y

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the pinball loss in units of the target's deviation, mean over answers and quantiles."""
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
    """The probability of each class, by the cross-entropy; answers are indices of classes."""

    def __init__(self, hidden: int, classes: int) -> None:
        super().__init__(hidden, classes)
        self.register_buffer("std", torch.ones(classes))

    def forward(self, h: Tensor) -> Tensor:
        """Normalise over the classes."""
        y: Tensor = self.linear(h).softmax(-1)
        return y

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats."""
        counts = ~answers[..., 0].isnan()
        return _mean(functional.cross_entropy(self.linear(h)[counts], answers[..., 0][counts].long(), reduction="none"))


class Labels(Head):
    """The probability of each label by itself, by the binary cross-entropy; answers are 0 or 1.

    It begins at what is known before anything is learnt: where most labels are rare, or never seen, hundreds of steps
    would else only bring their biases down.
    """

    def __init__(self, hidden: int, prior: NDArray[np.floating]) -> None:
        super().__init__(hidden, len(prior))
        self.register_buffer("std", torch.ones(len(prior)))
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor(prior).logit())

    def forward(self, h: Tensor) -> Tensor:
        """Squash each label into (0, 1)."""
        y: Tensor = self.linear(h).sigmoid()
        return y

    def loss(self, h: Tensor, answers: Tensor) -> Tensor:
        """Return the binary cross-entropy in nats, mean over steps and labels."""
        counts = ~answers.isnan()
        logits = self.linear(h)[counts]
        return _mean(functional.binary_cross_entropy_with_logits(logits, answers[counts], reduction="none"))


def _mean(losses: Tensor) -> Tensor:
    """The mean; 0 of nothing, so that a batch without an answer teaches nothing."""
    return losses.sum() / max(losses.numel(), 1)
