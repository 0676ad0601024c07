"""Sections about the size of errors: "How it learnt", "Error by horizon" and "Error along a sequence"."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.arrays import Doubles, Integers
from training.file.card import LABELS
from training.recipe.recipe import BySequence
from training.report.fitted import Fitted, some
from training.report.section import COLOURS, GREY, INK, MODEL, Section, drawn, logarithmic, panels
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
    return Section("How it learnt", text, figure=_curves(curves, kept, LOSSES.get(fit.recipe.task.kind, "nats a step")))


@drawn
def _curves(figure: Figure, curves: list[dict[str, float]], kept: int, unit: str) -> None:
    axes = figure.subplots()
    epochs = [one["epoch"] for one in curves]
    for name, colour in (("train", GREY), ("validation", MODEL)):
        losses = [one[f"{name}_loss"] for one in curves]
        axes.plot(epochs, losses, "o-", color=colour, markersize=3, label=name.replace("train", "training"))
    axes.axvline(epochs[kept], color=INK, linewidth=0.8, linestyle=":")
    axes.plot(epochs[kept], losses[kept], "D", color=MODEL, label="epoch that is kept")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=unit)
    if axes.dataLim.ymin > 0 and axes.dataLim.ymax > 10 * axes.dataLim.ymin:
        logarithmic(axes)
    figure.legend(loc="outside upper left", ncols=3)


def by_horizon(fit: Fitted) -> Section | None:
    """Show the errors of model and baselines by horizon, if there are several."""
    horizons = np.array(fit.data.horizons)
    if len(horizons) == 1:
        return None
    order = np.argsort(horizons)
    means = {LABELS[name]: mean(np.concatenate(own))[:, order] for name, own in fit.errors.items()}  # [C, H]
    return Section("Error by horizon", figure=_errors(horizons[order], _panels(fit, means), "rows ahead"))


def along_sequence(fit: Fitted) -> Section | None:
    """Show the errors of model and best baseline by step, averaged over the test sequences, if there are several."""
    if not isinstance(fit.recipe.split, BySequence) or len(fit.streams) == 1:
        return None
    means = {}
    for name in ("test", fit.baseline):
        firsts, along = mean_along(fit.errors[name])
        means[LABELS[name]] = along.T  # [C, P]
    text = f"The mean over {len(fit.streams)} test sequences, each from the zero state."
    return Section("Error along a sequence", text, figure=_errors(firsts, _panels(fit, means), "step of the sequence"))


def mean_along(sequences: Sequence[Doubles]) -> tuple[Integers, Doubles]:
    """Average errors [n, C, H] over sequences, horizons and up to PLACES ranges of steps.

    Returns the first step of each range [P], and the means [P, C].
    """
    longest = max(len(one) for one in sequences)
    width = -(-longest // PLACES)
    firsts = np.arange(0, longest, width)
    pieces = [np.concatenate([one[first : first + width] for one in sequences]) for first in firsts]
    return firsts, np.stack([mean(piece.swapaxes(1, 2).reshape(-1, piece.shape[1])) for piece in pieces])


def _panels(fit: Fitted, means: dict[str, Doubles]) -> dict[str, dict[str, Doubles]]:
    """Return the lines of up to four targets, by the label of their axis; `means` are [C, …] by name."""
    if isinstance(fit.task, ClassesTask | LabelsTask):
        return {"nats a step": {name: values[0] for name, values in means.items()}}
    what = "pinball loss" if isinstance(fit.task, QuantilesTask) else "mean absolute error"
    targets = fit.data.targets
    labels = [f"{what}\n{', '.join(part for part in (one.name, one.unit) if part)}" for one in targets]
    return {labels[c]: {name: values[c] for name, values in means.items()} for c in some(len(targets))}


@drawn
def _errors(figure: Figure, x: Integers, lines: Mapping[str, Mapping[str, Doubles]], axis: str) -> None:
    """Draw errors [n] over x [n], a panel for each target, a line for each forecast."""
    for axes, (label, own) in zip(panels(figure, len(lines)), lines.items(), strict=True):
        for (name, values), colour in zip(own.items(), COLOURS, strict=False):
            axes.plot(x, values, "o-", color=colour, markersize=3, linewidth=1.2, label=name)
        axes.set_ylabel(label)
        axes.set_ylim(0)
    axes.set_xlabel(axis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
