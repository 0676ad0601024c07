"""The networks behind one signature: (x [B,T,F], lengths [B], state) → (y [B,T,K], state).

Raw caller values go in and real units come out, as in the exported file: standardisation and the tables of the
categories are part of the module. Knows neither files nor training.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training.contract import Feature

State = dict[str, Tensor]  # name → [batch, …]; the names of the file without its `state.`


class Scaling(NamedTuple):
    """Mean and standard deviation of each column, in its own unit."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


class Encoder(nn.Module):
    """Raw values [B,T,F] → [B,T,E]: numbers standardised, each code replaced by its row of a learned table.

    The look-up is total: a code that is not in its table (hour 25, category 2.5) is the zero row, never an error,
    since one caller's bad code must not fail a batch of strangers. Tables start at zero too, so that a code which
    training never met stays what an unknown one is. Numbers are held within `limit` deviations of their mean: a column
    that hardly varied in training (rain) would else come in at 90 deviations and saturate every gate.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Sequence[Feature], scaling: Scaling, *, table_width: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.numbers = [j for j, feature in enumerate(features) if not feature.codes]
        self.categories = [j for j, feature in enumerate(features) if feature.codes]
        std = scaling.std[self.numbers]
        # A column that never varied in training has taught nothing: it is multiplied by 0, not divided by 0.
        scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        self.register_buffer("mean", torch.tensor(scaling.mean[self.numbers], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        codes = [features[j].codes for j in self.categories]
        for index, known in enumerate(codes):
            self.register_buffer(f"codes{index}", torch.tensor(known, dtype=torch.float32))
        self.tables = nn.ParameterList(torch.zeros(len(known), table_width) for known in codes)
        self.width = len(self.numbers) + table_width * len(codes)

    def codes(self, index: int) -> Tensor:
        """Return the codes [n] of the index-th category, in the order of its table's rows."""
        return self.get_buffer(f"codes{index}")

    def forward(self, x: Tensor) -> Tensor:
        """Encode [B,T,F] as [B,T,E]."""
        parts = [((x[..., self.numbers] - self.mean) * self.scale).clamp(-self.limit, self.limit)]
        for index, (column, table) in enumerate(zip(self.categories, self.tables, strict=True)):
            one_hot = (x[..., column, None] == self.codes(index)).to(torch.float32)  # [B, T, n]
            parts.append(one_hot @ table)
        return torch.cat(parts, dim=-1)


class Head(nn.Module):
    """Hidden values [B,T,H] → [B,T,K] in the target's unit: a linear layer, then the target's scaling undone."""

    mean: Tensor
    std: Tensor

    def __init__(self, hidden: int, scaling: Scaling) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, len(scaling.mean))
        self.register_buffer("mean", torch.tensor(scaling.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(scaling.std, dtype=torch.float32))

    def forward(self, h: Tensor) -> Tensor:
        """Map [B,T,H] to [B,T,K]."""
        y: Tensor = self.linear(h) * self.std + self.mean
        return y


class Lstm(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers 2000), `layers` deep."""

    cell = "lstm"

    def __init__(self, encoder: Encoder, head: Head, *, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.recurrent = nn.LSTM(encoder.width, hidden, layers, batch_first=True)

    def zero_state(self, batch: int) -> State:
        """Return `h0, c0, h1, c1, …`, each [batch, H], all zero."""
        like = self.head.mean  # its device, its precision
        shape = (batch, self.recurrent.hidden_size)
        return {f"{part}{layer}": like.new_zeros(shape) for layer in range(self.recurrent.num_layers) for part in "hc"}

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance every row of x by its own length."""
        layers = range(self.recurrent.num_layers)
        initial = tuple(torch.stack([state[f"{part}{layer}"] for layer in layers]) for part in "hc")  # [L, B, H] each
        steps, final = self._run(self.encoder(x), lengths, initial)
        next_state = {f"{part}{layer}": final["hc".index(part)][layer] for layer in layers for part in "hc"}
        return self.head(steps), next_state

    def _run(self, z: Tensor, lengths: Tensor, initial: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        T = z.shape[1]
        if bool((lengths == T).all()):  # nothing to pack, and the quicker kernel
            return self.recurrent(z, initial)  # type: ignore[no-any-return]
        packed = pack_padded_sequence(z, lengths, batch_first=True, enforce_sorted=False)
        steps, final = self.recurrent(packed, initial)
        return pad_packed_sequence(steps, batch_first=True, total_length=T)[0], final
