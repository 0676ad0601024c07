"""Sections about the size of errors: "How it learnt", "Error by horizon" and "Error along a sequence"."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.arrays import Doubles, Integers
from training.file.card import LABELS
from training.recipe.recipe import BySequence
from training.report.fitted import Fitted, some
from training.report.section import COLOURS, GREY, INK, MODEL, Section, logarithmic, panels
from training.runs import kept_epoch
from training.tasks import ClassesTask, LabelsTask, QuantilesTask
from training.tasks.task import mean

PLACES = 60  # most points along a sequence
LOSSES = {
    "regression": "mean squared error, z-scored",
    "quantiles": "pinball loss, z-scored",
    "multilabel": "nats a step and label",
}  # else nats a step


def learning_curves(fit: Fitted, curves: list[dict[str, float]]) -> Section:
    """Show the losses of each epoch."""
    kept = kept_epoch(curves)
    text = (
        f"Of {len(curves)} epochs the network of epoch {curves[kept]['epoch']:.0f} is kept: "
        f"its loss on the validation part is the lowest, {curves[kept]['validation_loss']:.4g}."
    )
    figure = Figure()
    axes = figure.subplots()
    epochs = [one["epoch"] for one in curves]
    for name, colour in (("train", GREY), ("validation", MODEL)):
        losses = [one[f"{name}_loss"] for one in curves]
        axes.plot(epochs, losses, "o-", color=colour, markersize=3, label=name.replace("train", "training"))
    axes.axvline(epochs[kept], color=INK, linewidth=0.8, linestyle=":")
    axes.plot(epochs[kept], losses[kept], "D", color=MODEL, label="epoch that is kept")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=LOSSES.get(fit.recipe.task.kind, "nats a step"))
    if axes.dataLim.ymin > 0 and axes.dataLim.ymax > 10 * axes.dataLim.ymin:
        logarithmic(axes)
    figure.legend(loc="outside upper left", ncols=3)
    return Section("How it learnt", text, figure=figure)


def by_horizon(fit: Fitted) -> Section | None:
    """Show the errors of model and baselines by horizon, if there are several."""
    horizons = np.array(fit.data.horizons)
    if len(horizons) == 1:
        return None
    order = np.argsort(horizons)
    means = {LABELS[name]: mean(np.concatenate(own))[:, order] for name, own in fit.errors.items()}  # [C, H]
    return Section("Error by horizon", figure=_lines(fit, horizons[order], means, "rows ahead"))


def along_sequence(fit: Fitted) -> Section | None:
    """Show the errors of model and best baseline by step, averaged over the test sequences, if there are several."""
    if not isinstance(fit.recipe.split, BySequence) or len(fit.streams) == 1:
        return None
    means = {}
    for name in ("test", fit.baseline):
        firsts, along = mean_along(fit.errors[name])
        means[LABELS[name]] = along.T  # [C, P]
    text = f"The mean over {len(fit.streams)} test sequences, each from the zero state."
    return Section("Error along a sequence", text, figure=_lines(fit, firsts, means, "step of the sequence"))


def mean_along(sequences: Sequence[Doubles]) -> tuple[Integers, Doubles]:
    """Average errors [n, C, H] over sequences, horizons and up to PLACES ranges of steps.

    Returns the first step of each range [P], and the means [P, C].
    """
    longest = max(len(one) for one in sequences)
    width = -(-longest // PLACES)
    firsts = np.arange(0, longest, width)
    pieces = [np.concatenate([one[first : first + width] for one in sequences]) for first in firsts]
    return firsts, np.stack([mean(piece.swapaxes(1, 2).reshape(-1, piece.shape[1])) for piece in pieces])


def _lines(fit: Fitted, x: Integers, means: Mapping[str, Doubles], axis: str) -> Figure:
    """Draw errors [C, n] over x [n]: a panel for each of up to four targets, a line for each forecast."""
    figure, targets, what = Figure(), some(len(fit.data.targets)), "mean absolute error"
    if isinstance(fit.task, ClassesTask | LabelsTask):
        targets, what = [0], "nats a step"
    elif isinstance(fit.task, QuantilesTask):
        what = "pinball loss"
    for axes, c in zip(panels(figure, len(targets)), targets, strict=True):
        for (name, values), colour in zip(means.items(), COLOURS, strict=False):
            axes.plot(x, values[c], "o-", color=colour, markersize=3, linewidth=1.2, label=name)
        target = fit.data.targets[c]
        named = "" if what == "nats a step" else f"\n{', '.join(filter(None, (target.name, target.unit)))}"
        axes.set_ylabel(what + named)
        axes.set_ylim(0)
    axes.set_xlabel(axis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure
