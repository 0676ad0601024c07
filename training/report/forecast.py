"""Section "Forecast and truth": outputs beside answers over some steps of the test part."""

import numpy as np
from matplotlib.figure import Figure

from training.arrays import Doubles, Floats
from training.file.card import LABELS
from training.report.fitted import Fitted, some
from training.report.section import BASELINE, GREY, MODEL, Section, label_time, panels, short
from training.tasks import ClassesTask, LabelsTask, Output

STEPS = 336  # shown: two weeks of hours
LABELLED = 96  # classes or labels of the heat map
ROWS = 24  # names beside the heat map


def forecast(fit: Fitted) -> Section:
    """Show the first steps with answers, of the test sequence that has most of them."""
    known = [~np.isnan(answers).all(axis=1) for answers in fit.answers]
    which = int(np.argmax([one.sum() for one in known]))
    first, chances = int(np.argmax(known[which])), isinstance(fit.task, ClassesTask | LabelsTask)
    steps = slice(first, first + (STEPS // 2 if chances else STEPS))
    count, name = len(fit.answers[which][steps]), fit.streams[which].id
    of = f" of sequence {name}" if name else ""
    text = f"{count} of {sum(map(len, fit.answers))} test steps{of}, streamed one after the other through one state."
    return Section("Forecast and truth", text, figure=(_probabilities if chances else _numbers)(fit, which, steps))


def _numbers(fit: Fitted, which: int, steps: slice) -> Figure:
    """Draw up to four answers with forecast, baseline and, of quantiles, the outermost band."""
    figure = Figure()
    own, answers = fit.data.test[which], fit.answers[which][steps]
    n, M = answers.shape
    outputs, baseline = (
        values[steps].reshape(n, M, -1) for values in (fit.outputs[which], fit.streams[which].baselines[fit.baseline])
    )  # [n, M, Q]
    levels = [output.quantile for output in fit.task.outputs[: outputs.shape[2]]]
    for axes, m in zip(panels(figure, len(some(M))), some(M), strict=True):
        output = fit.task.outputs[m * outputs.shape[2]]
        rows = own.steps.start + steps.start + np.arange(n) + (output.horizon or 0)
        times = own.sequence.times[np.minimum(rows, len(own.sequence.times) - 1)]
        axes.plot(times, answers[:, m], color=GREY, linewidth=2.6, alpha=0.8, label="truth")
        label = LABELS[fit.baseline]
        axes.plot(times, middle(baseline[:, m]), color=BASELINE, linewidth=0.9, linestyle="--", label=label)
        if len(levels) > 1:
            band = f"its band, quantiles {levels[0]} to {levels[-1]}"
            edges = outputs[:, m, 0], outputs[:, m, -1]
            axes.fill_between(times, *edges, color=MODEL, alpha=0.25, linewidth=0, label=band)
        axes.plot(times, middle(outputs[:, m]), color=MODEL, linewidth=1.2, label="this model")
        axes.set(title=ahead(output), ylabel=output.unit or "")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    label_time(axes, times)
    return figure


def _probabilities(fit: Fitted, which: int, steps: slice) -> Figure:
    """Draw the probabilities of the most frequent classes or labels, dots where they happened, and nats per step."""
    figure = Figure()
    assert isinstance(fit.task, ClassesTask | LabelsTask)
    happened = fit.task.happened(fit.answers[which][steps])
    often = np.sort(np.argsort(-happened.sum(axis=0), kind="stable")[:LABELLED])
    names = [fit.task.outputs[index].name for index in often]
    times, rows = fit.streams[which].answer_times[steps], np.arange(len(often))
    height = 1 + 0.2 * min(len(names), ROWS)
    figure.set_figheight(1.6 + height)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(height, 1))
    colours = {"cmap": "cividis", "vmin": 0, "vmax": 1, "shading": "nearest", "rasterized": True}
    mesh = top.pcolormesh(times, rows, fit.outputs[which][steps][:, often].T, **colours)
    step, row = np.nonzero(happened[:, often])
    size = 60 * min(1, 40 / len(times))
    top.scatter(times[step], row, s=size, color=MODEL, edgecolors="white", linewidths=0.3, label="came")
    shown = rows[:: -(-len(names) // ROWS)]
    top.set_yticks(shown, [short(names[index]) for index in shown])
    figure.colorbar(mesh, ax=top, pad=0.01, label="probability")
    for name, colour in (("test", MODEL), (fit.baseline, BASELINE)):
        nats = fit.errors[name][which][steps, 0, 0]
        bottom.plot(times, nats, "o-", color=colour, markersize=2, linewidth=1, label=LABELS[name])
    bottom.set_ylabel("nats")
    figure.legend(loc="outside upper left", ncols=3)
    label_time(bottom, times)
    return figure


def middle(outputs: Floats) -> Doubles:
    """Return the middle one [n] of quantiles [n, Q]."""
    return np.asarray(outputs[:, outputs.shape[1] // 2])


def ahead(output: Output) -> str:
    """Return the target of an output, and how far ahead it lies."""
    rows = f"{output.horizon} row{'s' if output.horizon != 1 else ''} ahead"
    return f"{output.target}, {rows}" if output.horizon else f"{output.target}"
