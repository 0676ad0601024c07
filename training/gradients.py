"""How far back a network listens: the gradient of one step's loss with respect to what came k steps before it.

Knows networks and windows; neither files nor pictures. docs/gradients.md has the equations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.batches import Batch, Window, collate, window
from training.dataset import Stretch
from training.networks import Network, State
from training.threads import one_thread

LAGS = 256  # steps that are looked back
WINDOWS = 200
SHARE = 0.01  # of the gradient at lag 0: what is below does not count as listening
REACHING = 0.1  # of the windows: a lag to which fewer go back is not told

Norms = NDArray[np.float64]


@dataclass(frozen=True)
class Reach:
    """Norms of the gradient of loss_t by lag k = 0 … K, each the median over the windows that go back so far."""

    inputs: Norms  # [K+1] with respect to the encoded input of step t-k
    states: Mapping[str, Norms]  # h, c → [K+1] with respect to the state that a session holds after step t-k
    share: Norms  # [K+1] of `inputs`, in units of the same windows' median at lag 0
    windows: int

    @property
    def horizon(self) -> int | None:
        """The last lag whose share is at least SHARE; None where that is the last one measured: it may lie beyond."""
        last = int(np.flatnonzero(self.share >= SHARE)[-1])
        return last if last < len(self.share) - 1 else None


def memory_horizon(network: Network, stretches: Sequence[Stretch]) -> int | None:
    """Return how many steps back a network listens; None: further than was measured, or it reads from both ends."""
    return reach(network, ends(stretches)).horizon if network.streamable else None


def ends(stretches: Sequence[Stretch]) -> list[Window]:
    """Return windows that end in a step whose answers count, spread evenly over stretches, up to LAGS steps back."""
    asked = [
        (stretch, stretch.steps.start + int(step))
        for stretch in stretches
        for step in np.flatnonzero(~np.isnan(stretch.answers()).all(axis=1))
    ]
    chosen = np.linspace(0, len(asked) - 1, min(WINDOWS, len(asked))).round().astype(int)
    return [window(stretch, max(0, step - LAGS), step + 1) for stretch, step in (asked[i] for i in chosen)]


def reach(network: Network, cut: Sequence[Window]) -> Reach:
    """Measure a network that can be streamed: windows begin with the zero state, and the loss is that of their end."""
    batch = collate(cut)
    with one_thread():
        norms = {name: _by_lag(steps, batch.lengths) for name, steps in _norms(network, batch).items()}
    going = ~np.isnan(norms["inputs"])  # [B, T]
    told = going.sum(axis=0) >= REACHING * len(cut)
    medians = {name: np.nanmedian(of[:, told], axis=0) for name, of in norms.items()}
    nearest = np.where(going, norms["inputs"][:, :1], np.nan)[:, told]
    inputs = medians.pop("inputs")
    return Reach(inputs, medians, inputs / np.nanmedian(nearest, axis=0), len(cut))


class _Step(NamedTuple):
    """What a network computes in a step, or the gradient with respect to it."""

    z: Tensor  # [B, 1, E] what enters the first layer
    h: Tensor  # [B, 1, H] what the head sees
    state: State  # what a session holds afterwards


def _norms(network: Network, batch: Batch) -> dict[str, Tensor]:
    """Return the norm [B, T] of the gradient at each step: of the inputs, and of each letter's states in all layers."""
    steps = _stepped(network, batch.x)
    h = torch.cat([step.h for step in steps], dim=1)  # [B, T, H]
    ends = enumerate((batch.lengths - 1).tolist())
    loss = torch.stack([network.head.loss(h[row, t, None], batch.answers[row, t, None]) for row, t in ends]).sum()
    parts = [part for step in steps for part in (step.z, step.h, *step.state.values())]
    found = torch.autograd.grad(loss, parts, allow_unused=True, materialize_grads=True)
    # In double: the square of what has vanished would be zero.
    squares = torch.stack([part.double().flatten(1).square().sum(1) for part in found], dim=1)  # [B, T·P]
    kinds = np.array(["inputs", "h", *(name[0] for name in network.state_shapes)])  # [P]
    squares = squares.view(len(batch.x), len(steps), len(kinds))
    return {kind: squares[..., kinds == kind].sum(-1).sqrt() for kind in dict.fromkeys(kinds.tolist())}


def _by_lag(norms: Tensor, lengths: Tensor) -> Norms:
    """Turn norms [B, T] by step into norms by lag from each window's end; NaN before its beginning."""
    step = (lengths - 1)[:, None] - torch.arange(norms.shape[1])
    return norms.gather(1, step.clamp(min=0)).where(step >= 0, torch.nan).numpy()


def _stepped(network: Network, x: Tensor) -> list[_Step]:
    """Run x [B, T, F] one step after the other."""
    z: list[Tensor] = []
    hook = network.encoder.register_forward_hook(lambda module, entered, left: z.append(left))
    state, one, steps = network.zero_state(len(x)), torch.ones(len(x), dtype=torch.int64), []
    for step in torch.split(x.requires_grad_(), 1, dim=1):
        h, state = network.hidden_values(step, one, state)
        steps.append(_Step(z[-1], h, state))
    hook.remove()
    return steps
