"""One step of an LSTM layer in integers, in NumPy: what an int8 file must compute."""

import numpy as np
from numpy.typing import NDArray

from training.net.networks import Recurrent

Floats = NDArray[np.float32]


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def product(x: Floats, reach: float, weight: Floats) -> Floats:
    """x [B, K] · weightᵀ [N, K]: x in 256 levels of reach / 127, each output's weights in 129 of its largest / 64."""
    scale = np.float32(reach / 127)
    levels = np.clip(np.rint(x / scale), -128, 127).astype(np.int64)
    each = np.abs(weight).max(axis=1, keepdims=True) / np.float32(64)
    whole = np.rint(weight / np.where(each > 0, each, 1)).astype(np.int64)
    return (levels @ whole.T).astype(np.float32) * (each[:, 0] * scale)


def step(network: Recurrent, layer: int, x: Floats, reach: float, *, h: Floats, cell: Floats) -> tuple[Floats, Floats]:
    """Return h and C [B, H] after one step from x [B, E]."""
    W, U, b, c = (
        getattr(network.recurrent, f"{kind}_l{layer}").detach().numpy()
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    gates = product(h, 1.0, U) + (product(x, reach, W) + (b + c))
    i, f, candidate, o = np.split(gates, 4, axis=1)  # as torch stacks them
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(candidate)
    return sigmoid(o) * np.tanh(cell), cell
