"""The pictures of docs/gradients.md: how gradients fall with the lag, and for how long each cell can remember."""

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
        own = {cell: norms for cell in NAMES if (norms := found.get(f"{cell}, {phase}"))}
        states = [(cell, letter) for cell, norms in own.items() for letter in "hc" if letter in norms]
        _norms(row[0], [(cell, f"{NAMES[cell]} {letter}", own[cell][letter]) for cell, letter in states])
        _norms(row[1], [(cell, NAMES[cell], norms["inputs"]) for cell, norms in own.items()])
        row[0].set_title(f"{phase}: ‖∂ loss at t / ∂ state at t−k‖", loc="left")
        row[1].set_title(f"{phase}: ‖∂ loss at t / ∂ input at t−k‖; 1 % left until\n{_horizons(own)}", loc="left")
        row[0].set_ylabel("median over windows")
    for axes in panels[1]:
        axes.set_xlabel("lag k, steps")
    return figure


def _norms(axes: Axes, lines: Sequence[tuple[str, str, Sequence[float]]]) -> None:
    """Draw (cell, name, norms by lag); names stand beside lines that fall, each higher than the one before."""
    half = len(lines[0][2]) // 2
    staying = sorted((norms[half], name) for _, name, norms in lines if norms[-1] > FLOOR)
    level = FLOOR
    for cell, name, norms in sorted(lines, key=lambda line: int((np.array(line[2]) > FLOOR).sum())):
        values = np.where(np.array(norms) > 0, norms, np.nan)
        axes.plot(values, color=COLOURS[cell], linewidth=2, linestyle="--" if name.endswith("c") else "-")
        if norms[-1] > FLOOR:
            lag, off = half, (0, -14 if name == staying[0][1] else 10)
        else:
            level *= 8
            lag, off = int(np.flatnonzero(values >= min(level, np.nanmax(values)))[-1]), (8, 0)
        beside = axes.annotate(
            name, (lag, values[lag]), off, textcoords="offset points", color=COLOURS[cell], va="center"
        )
        beside.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set_yscale("log")
    axes.set_ylim(FLOOR, 10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


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
    last = {one["cell"]: one["test"] for one in scores if one["lag"] == lags[-1]}
    above = -np.inf  # where the label below stands
    for cell, end in sorted(last.items(), key=lambda pair: pair[1]):
        own = {one["lag"]: one["test"] for one in scores if one["cell"] == cell}
        shares = [own[lag] for lag in lags]
        axes.plot(range(len(lags)), shares, "o-", color=COLOURS[cell], linewidth=2, clip_on=False)
        above = max(end, above + 0.06)
        text = f"{NAMES[cell]} {end:.1%}"
        axes.annotate(text, (len(lags) - 0.9, above), color=COLOURS[cell], va="center", annotation_clip=False)
    axes.hlines(CHANCE, 0, len(lags) - 1, color=INK, linewidth=1, linestyle=":")
    axes.annotate("chance", (0, CHANCE), (0, -12), textcoords="offset points")
    axes.set_xticks(range(len(lags)), [str(lag) for lag in lags])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylim(0, 1)
    axes.set_xlabel("lag, steps from the symbol to the question")
    axes.set_ylabel("right answers, unseen strings")
    axes.set_title("Which cell still knows a symbol after so many others", loc="left", pad=14)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
