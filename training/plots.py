"""The report's figures as SVG to stand inside a page. Knows arrays and words; no tasks, no networks, no HTML.

Ink takes the colour of the page's text, so that one picture serves light and dark; text stays text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from io import StringIO
from typing import Any, Concatenate, NamedTuple, ParamSpec
from zlib import crc32

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

P = ParamSpec("P")
Array = NDArray[Any]
INK, GREY, MODEL, BASELINE = "#22303c", "#808c96", "#d55e00", "#2f86c1"  # the last three also to the colour-blind
OTHERS = (BASELINE, "#009e73", "#cc79a7", GREY)
ROWS = 24  # names that a heat map can show
DECADE = 10
LOOK: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon", "text.parse_math"), False),
    "axes.titlelocation": "left",
    "date.converter": "concise",
    "figure.figsize": (7.2, 3.2),
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,  # of what is drawn in points: heat maps
    "svg.fonttype": "none",
    "svg.hashsalt": "carousel",  # equal runs, equal pages
}


def drawn(draw: Callable[Concatenate[Figure, P], None]) -> Callable[P, str]:
    """Make of a function that draws on a figure one that returns an SVG element."""

    @wraps(draw)
    @rc_context(LOOK)
    def svg(*args: P.args, **kwargs: P.kwargs) -> str:
        figure, text = Figure(), StringIO()
        draw(figure, *args, **kwargs)
        figure.savefig(text, format="svg", metadata={"Date": None})
        element = re.sub(r"<metadata>.*?</metadata>", "", text.getvalue()[text.getvalue().index("<svg") :], flags=re.S)
        own = f"f{crc32(element.encode()):x}-"  # ids are the page's, and figures count theirs alike
        own_ids = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{own}", element)
        return own_ids.replace(INK, "currentColor")

    return svg


@drawn
def curves(figure: Figure, epochs: Array, losses: Mapping[str, Array], kept: int, unit: str) -> None:
    """Losses [E] by name over epochs [E]; the network is that of the epoch at index `kept`."""
    axes = figure.subplots()
    for (name, values), colour in zip(losses.items(), (GREY, MODEL), strict=True):
        axes.plot(epochs, values, "o-", color=colour, markersize=3, label=name)
    axes.axvline(epochs[kept], color=INK, linewidth=0.8, linestyle=":")
    axes.plot(epochs[kept], values[kept], "D", color=MODEL, label="epoch that is kept")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=unit)
    if axes.dataLim.ymin > 0 and axes.dataLim.ymax > DECADE * axes.dataLim.ymin:
        _logarithmic(axes)
    figure.legend(loc="outside upper left", ncols=3)


class Panel(NamedTuple):
    """A stretch of numbers: what came, what was said, what the baseline said."""

    title: str
    unit: str
    times: NDArray[Any]  # [n] of the truth
    truth: Array  # [n]
    said: Array  # [n, Q]: one forecast, or quantiles from the lowest to the highest
    baseline: Array  # [n]


@drawn
def forecasts(figure: Figure, panels: Sequence[Panel], baseline: str, band: str) -> None:
    """Truth, forecast and baseline over time, a panel each; of quantiles the outermost `band` and the middle one."""
    figure.set_figheight(0.7 + 2.3 * len(panels))
    for axes, one in zip(_rows(figure, len(panels)), panels, strict=True):
        axes.plot(one.times, one.truth, color=GREY, linewidth=2.6, alpha=0.8, label="truth")
        axes.plot(one.times, one.baseline, color=BASELINE, linewidth=0.9, linestyle="--", label=baseline)
        if one.said.shape[1] > 1:
            edges = one.said[:, 0], one.said[:, -1]
            axes.fill_between(one.times, *edges, color=MODEL, alpha=0.25, linewidth=0, label=band)
        axes.plot(one.times, middle(one.said), color=MODEL, linewidth=1.2, label="this model")
        axes.set(title=one.title, ylabel=one.unit)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    _time(axes, one.times)


class Chances(NamedTuple):
    """A stretch of probabilities: what might come, how likely it was said to be, what came, and at which cost."""

    names: Sequence[str]  # K
    times: NDArray[Any]  # [n]
    said: Array  # [n, K]
    came: NDArray[np.bool_]  # [n, K]
    nats: Mapping[str, Array]  # [n] of the model and of the baseline


@drawn
def chances(figure: Figure, stretch: Chances) -> None:
    """Probabilities as a heat map over time, what came as dots; below the nats of both."""
    names, times, said, came, nats = stretch
    figure.set_figheight(2.6 + 0.2 * min(len(names), ROWS))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1 + 0.2 * min(len(names), ROWS), 1))
    rows = np.arange(len(names))
    mesh = top.pcolormesh(times, rows, said.T, cmap="cividis", vmin=0, vmax=1, shading="nearest", rasterized=True)
    step, row = np.nonzero(came)
    size = 60 * min(1, 40 / len(times))
    top.scatter(times[step], row, s=size, color=MODEL, edgecolors="white", linewidths=0.3, label="came")
    shown = rows[:: -(-len(names) // ROWS)]
    top.set_yticks(shown, [_short(names[index]) for index in shown])
    figure.colorbar(mesh, ax=top, pad=0.01, label="probability")
    for (name, values), colour in zip(nats.items(), (MODEL, BASELINE), strict=True):
        bottom.plot(times, values, "o-", color=colour, markersize=2, linewidth=1, label=name)
    bottom.set_ylabel("nats")
    figure.legend(loc="outside upper left", ncols=3)
    _time(bottom, times)


@drawn
def errors(figure: Figure, x: Array, panels: Mapping[str, Mapping[str, Array]], axis: str) -> None:
    """Errors [n] by x [n], a panel for each unit or target, a line for each forecast; the first is the model's."""
    figure.set_figheight(0.7 + 2.3 * len(panels))
    for axes, (label, lines) in zip(_rows(figure, len(panels)), panels.items(), strict=True):
        for (name, values), colour in zip(lines.items(), (MODEL, *OTHERS), strict=False):
            axes.plot(x, values, "o-", color=colour, markersize=3, linewidth=1.2, label=name)
        axes.set_ylabel(label)
        axes.set_ylim(0)
    axes.set_xlabel(axis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)


@drawn
def listening(figure: Figure, share: Array, threshold: float, horizon: int | None) -> None:
    """Gradients [K+1] by lag, in units of that at lag 0; below the threshold they do not count."""
    near = threshold / 100
    axes = figure.subplots()
    axes.plot(share, color=MODEL)
    axes.axhline(threshold, color=GREY, linewidth=0.8, linestyle=":")
    if horizon is not None:
        axes.plot(horizon, share[horizon], "D", color=MODEL)
        axes.annotate(f"  {horizon} steps", (horizon, share[horizon]), va="bottom")
    axes.set(xlabel="steps before", ylabel="gradient, relative to\nthat of the step itself")
    _logarithmic(axes)
    axes.set_ylim(near, 2 * share.max())
    axes.set_xlim(0, max(1, np.flatnonzero(share >= near)[-1]))


@drawn
def quantiles(figure: Figure, levels: Array, below: Mapping[str, Array]) -> None:
    """Shares of truths below each quantile [Q]; on the diagonal they are what they should be."""
    figure.set_size_inches(4.6, 4.2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for (name, shares), colour in zip(below.items(), (MODEL, *OTHERS), strict=False):
        axes.plot(levels, shares, "o-", color=colour, markersize=4, linewidth=1, label=name)
    axes.set(xlabel="quantile", ylabel="share of truths below it", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.legend(loc="outside upper left")


@drawn
def reliability(figure: Figure, said: Array, came: Array, count: Array) -> None:
    """How often what was said with a probability came, and below, how often such a thing was said."""
    figure.set_size_inches(4.6, 5.2)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    top.plot(said, came, "o-", color=MODEL)
    top.set(ylabel="how often it came", xlim=(0, 1), ylim=(0, 1))
    bottom.bar(said, count, width=0.06, color=GREY)
    bottom.set(xlabel="probability that was said", ylabel="times")
    _logarithmic(bottom)


@drawn
def confusion(figure: Figure, names: Sequence[str], counts: Array) -> None:
    """Counts [C, C] of the likeliest class (columns) where another came (rows), as shares of the row."""
    side = 1.8 + 0.45 * len(names)
    figure.set_size_inches(min(side, 7.2), min(side, 7.2) - 0.4)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.pcolormesh(shares, cmap="cividis", vmin=0, vmax=1, rasterized=True)
    for row, column in np.argwhere(counts):
        share = shares[row, column]
        colour = "black" if share > 0.5 else "white"
        axes.text(column + 0.5, row + 0.5, f"{share:.0%}", color=colour, ha="center", va="center", fontsize=8)
    ticks = np.arange(len(names)) + 0.5
    axes.set_xticks(ticks, [_short(name) for name in names], rotation=90)
    axes.set_yticks(ticks, [_short(name) for name in names])
    axes.set(xlabel="likeliest", ylabel="came", aspect="equal")
    axes.invert_yaxis()


def middle(said: Array) -> Array:
    """Return the middle one [n] of quantiles [n, Q]."""
    return said[:, said.shape[1] // 2]


def _rows(figure: Figure, count: int) -> list[Axes]:
    return list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])


def _time(axes: Axes, times: NDArray[Any]) -> None:
    if not np.issubdtype(times.dtype, np.datetime64):
        axes.set_xlabel("time")


def _logarithmic(axes: Axes) -> None:
    """Count the vertical axis in powers of ten, in plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
