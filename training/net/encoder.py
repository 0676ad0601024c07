"""The first layer of every network: raw values → standardised numbers and embedded codes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from training.data.dataset import Scaling
from training.data.feature import Feature


class Encoder(nn.Module):
    """Raw values [B,T,F] → [B,T,E]: numbers are standardised, codes are embedded by a learned table.

    An unknown code (hour 25, category 2.5) gives the zero row, not an error, because one bad code must not fail a batch
    of several callers. Tables start at zero, so codes that training never saw stay equal to unknown ones. Numbers are
    clipped to ±`limit` deviations: a column that hardly varied in training (rain) could reach 90 and saturate gates.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Sequence[Feature], scaling: Scaling, *, table_width: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.numbers = [j for j, feature in enumerate(features) if not feature.codes]
        self.categories = [j for j, feature in enumerate(features) if feature.codes]
        std = scaling.std[self.numbers]
        # A constant column is ignored: multiplied by 0 instead of divided by 0.
        scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        self.register_buffer("mean", torch.tensor(scaling.mean[self.numbers], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        codes = [features[j].codes for j in self.categories]
        for index, known in enumerate(codes):
            self.register_buffer(f"codes{index}", torch.tensor(known, dtype=torch.float32))
        self.tables = nn.ParameterList(torch.zeros(len(known), table_width) for known in codes)
        self.width = len(self.numbers) + table_width * len(codes)

    def codes(self, index: int) -> Tensor:
        """Return the codes [n] of the index-th category, in the order of its table."""
        return self.get_buffer(f"codes{index}")

    def range(self, column: int) -> tuple[float, float] | None:
        """Return the numbers of an input column that are not clipped; None for a category. Of a constant column only
        its value is inside.
        """
        if column not in self.numbers:
            return None
        mean, scale = (float(part[self.numbers.index(column)]) for part in (self.mean, self.scale))
        reach = self.limit / scale if scale else 0.0
        return mean - reach, mean + reach

    def forward(self, x: Tensor) -> Tensor:
        """Return [B,T,E] for [B,T,F]."""
        parts = [((x[..., self.numbers] - self.mean) * self.scale).clamp(-self.limit, self.limit)]
        for index, (column, table) in enumerate(zip(self.categories, self.tables, strict=True)):
            one_hot = (x[..., column, None] == self.codes(index)).to(torch.float32)  # [B, T, n]
            parts.append(one_hot @ table)
        return torch.cat(parts, dim=-1)
