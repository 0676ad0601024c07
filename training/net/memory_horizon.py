"""Measure how far back a network's memory reaches, by the gradient of a step's loss by input and state k steps earlier.

docs/gradients.md has the equations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.arrays import Doubles
from training.data.batches import Batch, Window, collate, window
from training.data.dataset import Stretch
from training.net.hardware import one_thread
from training.net.networks import Network, State

LAGS = 256  # largest lag that is measured
WINDOWS = 200
SHARE = 0.01  # of the gradient at lag 0; a smaller gradient counts as no memory
REACHING = 0.1  # share of the windows that must be long enough for a lag

Norms = Doubles


@dataclass(frozen=True)
class Reach:
    """Norms of the gradient of loss_t by lag k = 0 … K; medians over the windows that are long enough."""

    inputs: Norms  # [K+1] by the encoded input of step t-k
    states: Mapping[str, Norms]  # h, c → [K+1] by the state after step t-k
    share: Norms  # [K+1] `inputs` relative to the same windows' median at lag 0
    windows: int

    @property
    def horizon(self) -> int | None:
        """The last lag with a share of at least SHARE; None if that is the last one measured."""
        last = int(np.flatnonzero(self.share >= SHARE)[-1])
        return last if last < len(self.share) - 1 else None


def memory_horizon(network: Network, stretches: Sequence[Stretch]) -> int | None:
    """Return the memory horizon in steps; None: beyond what was measured, or a bidirectional network."""
    return reach(network, ends(stretches)).horizon if network.streamable else None


def ends(stretches: Sequence[Stretch]) -> list[Window]:
    """Return up to WINDOWS windows of up to LAGS + 1 steps that end in steps with an answer, spread evenly."""
    asked = [
        (stretch, stretch.steps.start + int(step))
        for stretch in stretches
        for step in np.flatnonzero(~np.isnan(stretch.answers()).all(axis=1))
    ]
    chosen = np.linspace(0, len(asked) - 1, min(WINDOWS, len(asked))).round().astype(int)
    return [window(stretch, max(0, step - LAGS), step + 1) for stretch, step in (asked[i] for i in chosen)]


def reach(network: Network, cut: Sequence[Window]) -> Reach:
    """Measure a streamable network: windows start from the zero state, and the loss is that of their last step."""
    batch = collate(cut)
    with one_thread():
        found = _norms(network, batch)  # [B, T] each, by step
    step = (batch.lengths - 1)[:, None] - torch.arange(batch.x.shape[1])  # of each lag from the window's end
    norms = {name: of.gather(1, step.clamp(min=0)).where(step >= 0, torch.nan).numpy() for name, of in found.items()}
    going = ~np.isnan(norms["inputs"])  # [B, T]
    told = going.sum(axis=0) >= REACHING * len(cut)
    medians = {name: np.nanmedian(of[:, told], axis=0) for name, of in norms.items()}
    nearest = np.where(going, norms["inputs"][:, :1], np.nan)[:, told]
    inputs, own = medians.pop("inputs"), np.nanmedian(nearest, axis=0)
    share = np.divide(inputs, own, out=np.zeros_like(inputs), where=own > 0)  # no gradient at all: no memory
    share[0] = 1
    return Reach(inputs, medians, share, len(cut))


class _Step(NamedTuple):
    """Values that a network computes in a step, or gradients by them."""

    z: Tensor  # [B, 1, E] input of the first layer
    h: Tensor  # [B, 1, H] input of the head
    state: State  # after the step


def _norms(network: Network, batch: Batch) -> dict[str, Tensor]:
    """Return the norm [B, T] of the gradient at each step: by the inputs, and by h and c of all layers."""
    steps = _stepped(network, batch.x)
    h = torch.cat([step.h for step in steps], dim=1)  # [B, T, H]
    ends = enumerate((batch.lengths - 1).tolist())
    wanted = network.wanted(batch.x, batch.answers)
    loss = torch.stack([network.head.loss(h[row, t, None], wanted[row, t, None]) for row, t in ends]).sum()
    parts = [part for step in steps for part in (step.z, step.h, *step.state.values())]
    found = torch.autograd.grad(loss, parts, allow_unused=True, materialize_grads=True)
    # In double: squares of vanished gradients would be zero.
    squares = torch.stack([part.double().flatten(1).square().sum(1) for part in found], dim=1)  # [B, T·P]
    kinds = np.array(["inputs", "h", *(name[0] for name in network.state_shapes)])  # [P]
    squares = squares.view(len(batch.x), len(steps), len(kinds))
    return {kind: squares[..., kinds == kind].sum(-1).sqrt() for kind in dict.fromkeys(kinds.tolist())}


def _stepped(network: Network, x: Tensor) -> list[_Step]:
    """Run x [B, T, F] step by step."""
    z: list[Tensor] = []
    hook = network.encoder.register_forward_hook(lambda module, entered, left: z.append(left))
    state, one, steps = network.zero_state(len(x)), torch.ones(len(x), dtype=torch.int64), []
    for step in torch.split(x.requires_grad_(), 1, dim=1):
        h, state = network.hidden_values(step, one, state)
        steps.append(_Step(z[-1], h, state))
    hook.remove()
    return steps
