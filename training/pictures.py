"""The two pictures of docs/gradients.md: how gradients fall with the lag, and for how long each cell can remember."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.gates import INK, LOOK

COLOURS = {"feedforward": "#808c96", "rnn": "#d55e00", "gru": "#2f86c1", "lstm": "#009e73"}  # also to the colour-blind
NAMES = {"feedforward": "feedforward", "rnn": "Elman", "gru": "GRU", "lstm": "LSTM"}
CHANCE = 0.25  # of four symbols
FLOOR = 1e-10  # of what is drawn


@rc_context(LOOK)
def gradients(found: Mapping[str, Any], title: str) -> Figure:
    """Draw the findings of `vanishing`: norms by lag, with respect to states on the left and to inputs on the right."""
    figure = Figure(figsize=(12, 9), dpi=100, layout="constrained")
    figure.suptitle(f"{title}: what the loss at step t still feels of k steps before", fontsize=15)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, phase in zip(panels, ("untrained", "trained"), strict=True):
        own = {cell: found[f"{cell}, {phase}"] for cell in NAMES if f"{cell}, {phase}" in found}
        for cell, norms in own.items():
            for letter in "hc":
                if letter in norms:
                    _line(row[0], cell, norms[letter], f"{NAMES[cell]}, {letter}" if "c" in norms else NAMES[cell])
            _line(row[1], cell, norms["inputs"], NAMES[cell])
        row[0].set_title(f"{phase}: gradient with respect to the state", loc="left")
        row[1].set_title(f"{phase}: with respect to the input; 1 % left until\n{_horizons(own)}", loc="left")
        row[0].set_ylabel("norm, median over windows")
    for axes in panels.flat:
        axes.set_yscale("log")
        axes.set_ylim(FLOOR)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[1]:
        axes.set_xlabel("lag k, steps")
    return figure


def _line(axes: Axes, cell: str, norms: Sequence[float], name: str) -> None:
    """Draw norms by lag down to the floor, with the name where they end."""
    values = np.where(np.array(norms) > FLOOR, norms, np.nan)
    axes.plot(values, color=COLOURS[cell], linewidth=2, linestyle="--" if name.endswith("c") else "-")
    last = int(np.flatnonzero(~np.isnan(values))[-1])
    axes.annotate(name, (last, values[last]), (4, 6), textcoords="offset points", color=COLOURS[cell])


def _horizons(own: Mapping[str, Any]) -> str:
    """Say the memory horizon of each cell; one that was not found is beyond what was measured."""
    told = {cell: (norms["memory_horizon"], len(norms["inputs"]) - 1) for cell, norms in own.items()}
    return ", ".join(
        f"{NAMES[cell]} k = {horizon}" if horizon is not None else f"{NAMES[cell]} k ≥ {last}"
        for cell, (horizon, last) in told.items()
    )


@rc_context(LOOK)
def long_lag(scores: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the share of right answers by lag, a line a cell; lags stand side by side, whatever lies between them."""
    figure = Figure(figsize=(9, 5), dpi=100, layout="constrained")
    axes = figure.subplots()
    lags = sorted({one["lag"] for one in scores})
    for cell, colour in COLOURS.items():
        own = {one["lag"]: one["test"] for one in scores if one["cell"] == cell}
        axes.plot(range(len(lags)), [own[lag] for lag in lags], "o-", color=colour, linewidth=2, clip_on=False)
        where = len(lags) - 1
        axes.annotate(
            f"{NAMES[cell]} {own[lags[-1]]:.0%}",
            (where, own[lags[-1]]),
            (10, 0),
            textcoords="offset points",
            color=colour,
        )
    axes.axhline(CHANCE, color=INK, linewidth=1, linestyle=":")
    axes.set_xticks(range(len(lags)), [str(lag) for lag in lags])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylim(0, 1)
    axes.set_xlabel("lag, steps from the symbol to the question")
    axes.set_title("Right answers", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
