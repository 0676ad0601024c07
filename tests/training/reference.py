"""The seed equations of the LSTM in NumPy, gate by gate, in float64: the oracle of both implementations."""

import numpy as np
from numpy.typing import NDArray

from tests.training import tiny
from training.net.networks import Recurrent

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm(z: Array, h: Array, c: Array, weights: dict[str, tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    """Return h of every step [T, H], last h and last C for inputs z [T, E]; weights: gate → (W, U, b)."""

    def gate(name: str, x: Array, h: Array) -> Array:
        W, U, b = weights[name]
        return W @ x + U @ h + b

    steps = []
    for x in z:
        f = sigmoid(gate("f", x, h))
        i = sigmoid(gate("i", x, h))
        candidate = np.tanh(gate("c", x, h))
        c = f * c + i * candidate
        o = sigmoid(gate("o", x, h))
        h = o * np.tanh(c)
        steps.append(h)
    return np.array(steps), h, c


def weights_of(network: Recurrent, layer: int) -> dict[str, tuple[Array, Array, Array]]:
    """Return the weights of a layer by gate; torch stacks i, f, c, o and keeps the bias in two halves."""
    parts = {name: value.detach().numpy().astype(np.float64) for name, value in network.recurrent.named_parameters()}
    w, u = parts[f"weight_ih_l{layer}"], parts[f"weight_hh_l{layer}"]
    b = parts[f"bias_ih_l{layer}"] + parts[f"bias_hh_l{layer}"]
    return dict(zip("ifco", zip(np.split(w, 4), np.split(u, 4), np.split(b, 4), strict=True), strict=True))


def encode(network: Recurrent, x: Array) -> Array:
    """Encode raw rows [T, 4] of the tiny features."""
    tables = [table.detach().numpy() for table in network.encoder.tables]
    rows = []
    for load, hour, _, kind in x:
        looked_up = [tables[0][int(hour)], tables[1][tiny.FEATURES[tiny.KIND].codes.index(int(kind))]]
        rows.append(np.concatenate([[np.clip((load - 50.0) / 20.0, -3, 3), 0.0], *looked_up]))
    return np.array(rows)


def run(network: Recurrent, x: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Return outputs [T, 1] and the next state for raw rows x [T, 4] and states [H]."""
    z, last = encode(network, x), {}
    for layer in range(network.recurrent.num_layers):
        z, h, c = lstm(z, state[f"h{layer}"], state[f"c{layer}"], weights_of(network, layer))
        last |= {f"h{layer}": h, f"c{layer}": c}
    linear = network.head.linear
    y = z @ linear.weight.detach().numpy().T.astype(np.float64) + linear.bias.detach().numpy()
    return y * 20.0 + 50.0, last
