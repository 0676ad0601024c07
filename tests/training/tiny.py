"""A network small enough to train and to read, with every kind of input: numbers, a constant column, two categories."""

from collections.abc import Callable

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from training.data.dataset import Scaling
from training.data.feature import Feature
from training.file.contract import Description
from training.file.export import build
from training.net.encoder import Encoder
from training.net.heads import Head, Values
from training.net.networks import Feedforward, Network, Recurrent
from training.tasks import Output

FEATURES = (
    Feature("load", "kW"),
    Feature("hour", "code", tuple(range(24))),
    Feature("constant", "K"),
    Feature("kind", "code", (1, 2, 5), ("one", "two", "five")),
)
LOAD, HOUR, CONSTANT, KIND = range(4)
INPUTS = Scaling(mean=np.array([50.0, 11.5, 7.0, 2.0]), std=np.array([20.0, 7.0, 0.0, 1.5]))
TARGET = Scaling(mean=np.array([50.0]), std=np.array([20.0]))


def network(
    cell: str = "lstm",
    *,
    hidden: int = 5,
    layers: int = 1,
    bidirectional: bool = False,
    head: Callable[[int], Head] = lambda width: Values(width, TARGET),
    seed: int = 0,
) -> Network:
    """An untrained network; its tables hold noise where training would have put something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = Encoder(FEATURES, INPUTS, table_width=3, limit=3.0)
        for table in encoder.tables:
            torch.nn.init.normal_(table)
        if cell == "feedforward":
            return Feedforward(encoder, head(hidden), hidden=hidden, layers=layers)
        top = head(hidden * (1 + bidirectional))
        return Recurrent(encoder, top, cell=cell, hidden=hidden, layers=layers, bidirectional=bidirectional)


def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Raw caller rows [count, 4]."""
    random = np.random.default_rng(seed)
    load, hour = random.normal(50, 20, count), np.arange(count) % 24
    return np.stack([load, hour, np.full(count, 7.0), random.choice([1, 2, 5], count)], axis=1).astype(np.float32)


def description(net: Network, **metrics: float) -> Description:
    K = net.head.linear.out_features
    return Description(
        task="regression",
        recipe="tiny",
        cell=net.cell,
        features=FEATURES,
        outputs=tuple(Output(f"y{k}" if k else "load", "kW") for k in range(K)),
        data_sha256="0" * 64,
        metrics=metrics,
        streamable=net.streamable,
    )


def model(net: Network) -> onnx.ModelProto:
    return build(net, description(net))
