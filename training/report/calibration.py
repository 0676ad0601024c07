"""Sections about probabilities: whether they are calibrated, and which classes are confused."""

import numpy as np
from matplotlib.figure import Figure

from training.arrays import Doubles, Floats, Integers
from training.report.fitted import PANELS, Fitted
from training.report.forecast import ahead
from training.report.section import COLOURS, GREY, MODEL, Section, logarithmic, short
from training.tasks import ClassesTask, LabelsTask, QuantilesTask

HEADING = "Does what it says come true?"
BINS = 10  # of a probability
CLASSES = 12  # most classes of a confusion matrix


def calibration(fit: Fitted) -> Section | None:
    """Compare quantiles and probabilities with how often the answers agree."""
    outputs, answers = np.concatenate(fit.outputs), np.concatenate(fit.answers)
    if isinstance(fit.task, QuantilesTask):
        return _quantiles(fit.task, outputs, answers)
    if isinstance(fit.task, ClassesTask | LabelsTask):
        text = "Of all the times a class or label was said to have some probability, how often did it come?"
        given, happened, count = reliability(fit.task, outputs, answers)
        figure = Figure(figsize=(4.6, 5.2))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        top.plot(given, happened, "o-", color=MODEL)
        top.set(ylabel="how often it came", xlim=(0, 1), ylim=(0, 1))
        bottom.bar(given, count, width=0.06, color=GREY)
        bottom.set(xlabel="probability that was said", ylabel="times")
        logarithmic(bottom)
        return Section(HEADING, text, figure=figure)
    return None


def _quantiles(task: QuantilesTask, outputs: Floats, answers: Floats) -> Section:
    levels = task.levels
    names = [ahead(output) for output in task.outputs[:: len(levels)]]
    shares = dict(zip(names, task.below(outputs, answers), strict=True))
    if len(names) > 1:
        whole = task.below(outputs.reshape(-1, len(levels)), answers.reshape(-1, 1))[0]
        shares = {"all": whole} | (shares if len(names) <= PANELS else {})
    rows = [[name, *(f"{share:.1%}" for share in own)] for name, own in shares.items()]
    head = ["truths below the quantile", *(f"{level:g}" for level in levels)]
    figure = Figure(figsize=(4.6, 4.2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")  # here the shares are as they should be
    for (name, own), colour in zip(shares.items(), COLOURS, strict=False):
        axes.plot(levels, own, "o-", color=colour, markersize=4, linewidth=1, label=name)
    axes.set(xlabel="quantile", ylabel="share of truths below it", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.legend(loc="outside upper left")
    return Section(HEADING, tables=[(head, rows)], figure=figure)


def reliability(task: ClassesTask | LabelsTask, outputs: Floats, answers: Floats) -> tuple[Doubles, Doubles, Integers]:
    """Bin the probabilities of all classes or labels and steps with a known answer.

    Returns for each bin that is not empty the mean probability, how often it happened, and the count.
    """
    known = ~np.isnan(np.broadcast_to(answers, outputs.shape))
    given, true = outputs[known].astype(np.float64), task.happened(answers)[known].astype(np.float64)
    index = np.minimum((given * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(index, minlength=BINS)
    full = count > 0
    sums = (np.bincount(index, weights, minlength=BINS)[full] for weights in (given, true))
    mean_given, mean_true = (total / count[full] for total in sums)
    return mean_given, mean_true, count[full]


def confusion(fit: Fitted) -> Section | None:
    """Show which class was the likeliest for which answer. Not for symbols: several may legally follow."""
    if not isinstance(fit.task, ClassesTask) or fit.recipe.task.kind != "classification":
        return None
    counts = confusion_counts(fit.task, np.concatenate(fit.outputs), np.concatenate(fit.answers))
    often = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:CLASSES])
    names = [short(fit.task.classes[index]) for index in often]
    counts = counts[np.ix_(often, often)]
    side = min(1.8 + 0.45 * len(names), 7.2)
    figure = Figure(figsize=(side, side - 0.4))
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.pcolormesh(shares, cmap="cividis", vmin=0, vmax=1, rasterized=True)
    for row, column in np.argwhere(counts):
        share = shares[row, column]
        colour = "black" if share > 0.5 else "white"
        axes.text(column + 0.5, row + 0.5, f"{share:.0%}", color=colour, ha="center", va="center", fontsize=8)
    ticks = np.arange(len(names)) + 0.5
    axes.set_xticks(ticks, names, rotation=90)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="likeliest", ylabel="came", aspect="equal")
    axes.invert_yaxis()
    return Section("Which class for which", figure=figure)


def confusion_counts(task: ClassesTask, outputs: Floats, answers: Floats) -> Integers:
    """Return how often class j was the likeliest where class i happened, [C, C]."""
    known, C = ~np.isnan(answers[:, 0]), len(task.classes)
    pairs = answers[known, 0].astype(np.int64) * C + outputs[known].argmax(axis=1)
    return np.bincount(pairs, minlength=C * C).reshape(C, C)
