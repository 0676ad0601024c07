"""The exports of one small recurrent network that people make with PyTorch, by the letters of their list.

Each is written as `FOLDER/LETTERLAYERS/1/model.onnx`, with the network that it was made of.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import Dim
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F, H, K = 3, 16, 2
Array = NDArray[np.float32]


class Network(nn.Module):
    """A recurrent layer or two, and a linear head on every step or on the last one."""

    def __init__(self, cell: str = "LSTM", layers: int = 1, *, batch_first: bool = True, last: bool = False) -> None:
        super().__init__()
        self.rnn: Any = getattr(nn, cell)(F, H, layers, batch_first=batch_first)
        self.head = nn.Linear(H, K)
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(x)
        return self.head(y[:, -1] if self.last else y)


class Stated(Network):
    """The same with its states as inputs and outputs, [layers, batch, H] as torch has them."""

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> Any:  # type: ignore[override]
        y, after = self.rnn(x, state[0] if len(state) == 1 else state)
        return self.head(y), *((after,) if len(state) == 1 else after)


class BatchFirst(Stated):
    """The same with states [batch, layers, H], and lengths that it may ignore."""

    def forward(self, x: torch.Tensor, *given: torch.Tensor) -> Any:  # type: ignore[override]
        y, *after = Stated.forward(self, x, *(one.transpose(0, 1).contiguous() for one in given[-2:]))
        return y, *(one.transpose(0, 1) for one in after)


class Packed(Stated):
    """Contract names, with lengths by which sequences are packed."""

    sort = False

    def forward(self, x: torch.Tensor, lengths: torch.Tensor, *given: torch.Tensor) -> Any:  # type: ignore[override]
        state = tuple(one.transpose(0, 1).contiguous() for one in given)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=self.sort)
        y, after = self.rnn(packed, state)
        y, _ = pad_packed_sequence(y, batch_first=True)
        return self.head(y), *(one.transpose(0, 1) for one in after)


class PackedSorted(Packed):
    sort = True


class Cells(nn.Module):
    """One step of LSTM cells."""

    def __init__(self, layers: int = 1) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.LSTMCell(H if layer else F, H) for layer in range(layers))
        self.head = nn.Linear(H, K)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
        """States are [batch, H], or [batch, layers, H] with several layers."""
        if len(self.cells) == 1:
            h, c = self.cells[0](x, (h, c))
            return self.head(h), h, c
        hs, cs = [], []
        for layer, cell in enumerate(self.cells):
            x, after = cell(x, (h[:, layer], c[:, layer]))
            hs, cs = [*hs, x], [*cs, after]
        return self.head(x), torch.stack(hs, 1), torch.stack(cs, 1)


@dataclass(frozen=True)
class Export:
    """A file and the network that it was made of: `whole` runs sequences [T, F] → [T, K] from the zero state."""

    path: Path
    network: nn.Module
    last: bool = False

    def whole(self, sequence: Array) -> Array:
        with torch.no_grad():
            if isinstance(self.network, Cells):
                return self._stepped(sequence)
            rnn: Any = self.network.rnn
            y, _ = rnn(torch.from_numpy(sequence)[None] if rnn.batch_first else torch.from_numpy(sequence)[:, None])
            head: Any = self.network.head
            answer: Array = head(y).reshape(len(sequence), K).numpy()
        return answer

    def _stepped(self, sequence: Array) -> Array:
        layers = len(self.network.cells)  # type: ignore[arg-type]
        state = [torch.zeros(1, H) if layers == 1 else torch.zeros(1, layers, H) for _ in "hc"]
        answers = []
        for step in sequence:
            y, *state = self.network(torch.from_numpy(step)[None], *state)
            answers.append(y[0].numpy())
        return np.array(answers)


def _legacy(
    network: nn.Module, path: Path, given: tuple[Any, ...], names: list[str], told: list[str], **axes: Any
) -> None:
    torch.onnx.export(
        network,
        given,
        path,
        dynamo=False,
        input_names=names,
        output_names=told,
        dynamic_axes=axes or None,
        opset_version=17,
    )


def _dynamo(
    network: nn.Module, path: Path, given: tuple[Any, ...], names: list[str], told: list[str], *, shapes: Any
) -> None:
    torch.onnx.export(
        network, given, path, dynamo=True, input_names=names, output_names=told, dynamic_shapes=shapes, verbose=False
    )


BT = {0: "batch", 1: "time"}
TB = {0: "time", 1: "batch"}


def _x(batch_first: bool = True) -> torch.Tensor:
    return torch.randn(2, 5, F) if batch_first else torch.randn(5, 2, F)


def write(folder: Path, layers: int = 1) -> dict[str, Export]:
    """Write the exports a to r, with so many layers."""
    torch.manual_seed(layers)
    found: dict[str, Export] = {}

    def put(letter: str, network: nn.Module, make: Callable[[nn.Module, Path], None], *, last: bool = False) -> None:
        path = folder / f"{letter}{layers}" / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make(network.eval(), path)
        found[letter] = Export(path, network, last)

    def states(batch_first: bool = False) -> list[torch.Tensor]:
        return [torch.zeros((2, layers, H) if batch_first else (layers, 2, H)) for _ in "hc"]

    batch, time = Dim("batch", min=1), Dim("time", min=1)
    bt, second, first = {0: batch, 1: time}, {1: batch}, {0: batch}
    hc, after, S1, S0 = ["h0", "c0"], ["y", "hn", "cn"], {1: "batch"}, {0: "batch"}
    ours, ours_after = ["state.h", "state.c"], ["output", "next_state.h", "next_state.c"]
    dims = {"input": BT, "output": BT} | dict.fromkeys([*ours, *ours_after[1:]], S0)
    lengths = torch.tensor([5, 3], dtype=torch.int32)

    put("a", Network(layers=layers), lambda n, p: _legacy(n, p, (_x(),), ["x"], ["y"], x=BT, y=BT))
    put("b", Network(layers=layers), lambda n, p: _legacy(n, p, (_x(),), ["input"], ["output"], input=BT, output=BT))
    put("c", Network(layers=layers), lambda n, p: _legacy(n, p, (_x(),), ["x"], ["y"]))
    last = Network(layers=layers, last=True)
    put("d", last, lambda n, p: _legacy(n, p, (_x(),), ["x"], ["y"], x=BT, y=S0), last=True)
    stated = {"x": BT, "y": BT, "h0": S1, "c0": S1, "hn": S1, "cn": S1}
    put("e", Stated(layers=layers), lambda n, p: _legacy(n, p, (_x(), *states()), ["x", *hc], after, **stated))
    timed = stated | {"x": TB, "y": TB}
    put(
        "f",
        Stated(layers=layers, batch_first=False),
        lambda n, p: _legacy(n, p, (_x(False), *states()), ["x", *hc], after, **timed),
    )
    gru = {"x": BT, "y": BT, "h0": S1, "hn": S1}
    put("g", Stated("GRU", layers), lambda n, p: _legacy(n, p, (_x(), states()[0]), ["x", "h0"], ["y", "hn"], **gru))
    turned = {"input": BT, "output": BT} | dict.fromkeys([*ours, *ours_after[1:]], S1)
    put(
        "h",
        Stated(layers=layers),
        lambda n, p: _legacy(n, p, (_x(), *states()), ["input", *ours], ours_after, **turned),
    )
    cell = dict.fromkeys(["x", "h", "c", *after], S0)
    one = states(True) if layers > 1 else [torch.zeros(2, H)] * 2
    put("i", Cells(layers), lambda n, p: _legacy(n, p, (torch.randn(2, F), *one), ["x", "h", "c"], after, **cell))
    put(
        "j",
        BatchFirst(layers=layers),
        lambda n, p: _legacy(
            n, p, (_x(), lengths, *states(True)), ["input", "lengths", *ours], ours_after, **dims, lengths=S0
        ),
    )
    put(
        "k",
        BatchFirst(layers=layers),
        lambda n, p: _legacy(n, p, (_x(), *states(True)), ["input", *ours], ours_after, **dims),
    )
    put("l", Network(layers=layers), lambda n, p: _dynamo(n, p, (_x(),), ["x"], ["y"], shapes=(bt,)))
    put(
        "m",
        Stated(layers=layers),
        lambda n, p: _dynamo(n, p, (_x(), *states()), ["x", *hc], after, shapes=(bt, (second, second))),
    )
    put("n", Network(layers=layers), lambda n, p: _dynamo(n, p, (_x(),), ["x"], ["y"], shapes=None))
    put(
        "o",
        Stated("GRU", layers),
        lambda n, p: _dynamo(n, p, (_x(), states()[0]), ["x", "h0"], ["y", "hn"], shapes=(bt, (second,))),
    )
    put(
        "p",
        BatchFirst(layers=layers),
        lambda n, p: _dynamo(n, p, (_x(), *states(True)), ["input", *ours], ours_after, shapes=(bt, (first, first))),
    )
    put(
        "q",
        Packed(layers=layers),
        lambda n, p: _legacy(
            n, p, (_x(), lengths, *states(True)), ["input", "lengths", *ours], ours_after, **dims, lengths=S0
        ),
    )
    put(
        "r",
        PackedSorted(layers=layers),
        lambda n, p: _legacy(
            n, p, (_x(), lengths.long(), *states(True)), ["input", "lengths", *ours], ours_after, **dims, lengths=S0
        ),
    )
    return found
