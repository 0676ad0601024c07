"""Gates and cell of an exported LSTM at every step, checked against the file's own hidden values; and their picture."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from study.style import INK, STYLE
from training.arrays import Doubles, Floats
from training.data.dataset import load
from training.errors import RecipeError, VerificationError
from training.file.contract import read_lstm
from training.file.verify import TOLERANCE, Exported
from training.net.evaluate import unseen
from training.recipe.recipe import Recipe

STEPS = 168  # a week of hours
PANELS = (  # field of Gates, title, colour map, its range (None: symmetric, the 99 % quantile)
    ("forget", "forget gate f: how much of the cell is kept", "viridis", (0.0, 1.0)),
    ("input", "input gate i: how much of the candidate is written", "viridis", (0.0, 1.0)),
    ("output", "output gate o: how much of the cell is shown", "viridis", (0.0, 1.0)),
    ("candidate", "candidate C̃: what would be written", "RdBu_r", (-1.0, 1.0)),
    ("cell", "cell C = f∗C₋₁ + i∗C̃: what is remembered", "RdBu_r", None),
)


class Gates(NamedTuple):
    """Values of one layer over one sequence, [T, H] each."""

    forget: Doubles
    input: Doubles
    output: Doubles
    candidate: Doubles
    cell: Doubles

    @property
    def hidden(self) -> Doubles:
        """Hidden values h = o∗tanh(C)."""
        return self.output * np.tanh(self.cell)


def draw(
    recipe: Recipe, models: Path, version: str, output: Path, *, sequence: int = 0, start: int = 0, steps: int = STEPS
) -> None:
    """Draw the last layer of a trained model over `steps` of a test sequence, with its state warmed up before `start`.

    Raises:
        TrainingError: model, sequence or start do not exist, or the equations disagree with the file.

    """
    path = models / recipe.name / version / "model.onnx"
    data = load(recipe)
    read_lstm(path, [one.name for one in data.features], "the gates of a one-way lstm can be drawn")
    if sequence >= len(data.test):
        raise RecipeError(f"--sequence {sequence}: the test part of {recipe.name} has 0 to {len(data.test) - 1}")
    (one,) = unseen(recipe, data, [stretch := data.test[sequence]])
    if start > (last := len(one.inputs) - 2):  # at least two steps
        raise RecipeError(f"--start {start}: sequence {sequence} can be drawn from step 0 to {last}")
    shown = slice(start, start + steps)
    x = np.concatenate([one.history, one.inputs[: shown.stop]])
    found = Gates(*(part[len(one.history) + start :] for part in gates(onnx.load(path), x)))
    series = stretch.sequence.targets[stretch.steps][shown, 0]
    label = "\n".join(part for part in (data.targets[0].name, data.targets[0].unit) if part)
    title = f"{recipe.title or recipe.name}: inside the LSTM"
    picture(found, one.times[shown], series, title, label).savefig(output, format="png")


def gates(model: onnx.ModelProto, x: Floats) -> Gates:
    """Return the last layer's gates over raw rows x [T, F] from the zero state, computed by the equations of the LSTM.

    Raises:
        VerificationError: the hidden values differ from those that the file computes.

    """
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    layers = [[constants[name][0] for name in node.input[1:4]] for node in model.graph.node if node.op_type == "LSTM"]
    z, hidden = _around(model, x)
    for weights in layers:
        layer = _layer(z, *weights)
        z = layer.hidden
    error = float(np.abs(z - hidden).max())
    if not error <= TOLERANCE:  # NaN fails too
        raise VerificationError(f"o∗tanh(C) ≠ the file's hidden values by {error:.3g}, allowed {TOLERANCE:g}")
    return layer


def _around(model: onnx.ModelProto, x: Floats) -> tuple[Doubles, Doubles]:
    """Run the file; return the input of its first layer [T, E] and the output of its last one [T, H]."""
    turns = [node for node in model.graph.node if node.op_type == "Transpose"]  # to [T, B, E], and back
    names = turns[0].input[0], turns[-1].output[0]
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    run = Exported(opened.SerializeToString())
    _, found = run(x[None], np.array([len(x)], np.int32))
    return found[names[0]][0].astype(np.float64), found[names[1]][0].astype(np.float64)


def _layer(z: Doubles, W: Floats, R: Floats, B: Floats) -> Gates:
    """Step through z [T, E] in float64. ONNX stacks the gates i, o, f, c; B holds two biases to add."""
    driven = z @ W.T.astype(np.float64) + B.reshape(2, -1).sum(axis=0, dtype=np.float64)  # [T, 4H]
    h = c = np.zeros(R.shape[1])
    steps = []
    for drive in driven:
        into, out, forget, candidate = np.split(drive + R @ h, 4)
        i, o, f = ((1 + np.tanh(gate / 2)) / 2 for gate in (into, out, forget))  # σ without overflow
        new = np.tanh(candidate)
        c = f * c + i * new
        h = o * np.tanh(c)
        steps.append((f, i, o, new, c))
    return Gates(*np.stack(steps, axis=1))


@rc_context(STYLE)
def picture(shown: Gates, times: NDArray[Any], series: Floats, title: str, label: str) -> Figure:
    """Return heat maps over time [T] below a series [T]; units are sorted by their mean forget gate."""
    order = np.argsort(shown.forget.mean(axis=0))
    figure = Figure(figsize=(11, 13), dpi=82)
    top, *maps = figure.subplots(6, 1, sharex=True, height_ratios=(0.7, 1, 1, 1, 1, 1))
    figure.suptitle(title, fontsize=15)
    top.plot(times, series, color=INK, linewidth=1.6)
    top.set_ylabel(label)
    top.grid(axis="x", alpha=0.3)
    for axes, (name, heading, colours, limits) in zip(maps, PANELS, strict=True):
        values = getattr(shown, name)[:, order].T  # [H, T]
        edge = float(np.quantile(np.abs(values), 0.99))  # one extreme unit would make the others pale
        low, high = limits or (-edge, edge)
        mesh = axes.pcolormesh(times, np.arange(len(order)), values, cmap=colours, vmin=low, vmax=high)
        axes.set_title(heading)
        figure.colorbar(mesh, ax=axes, pad=0.01, aspect=12, extend="neither" if limits else "both")
    figure.supylabel("units of the last layer; those that forget most at the bottom", fontsize="medium")
    if not np.issubdtype(times.dtype, np.datetime64):
        maps[-1].set_xlabel("time")
    return figure
