"""Which pictures of the test part a task has, and the sentences above them, as HTML; empty where one does not apply."""

import numpy as np

from training import measures, page, plots
from training.card import LABELS
from training.contract import Output
from training.fitted import Array, Fitted, Floats
from training.gradients import SHARE, ends, reach
from training.recipe import BySequence
from training.tasks import ClassesTask, LabelsTask, QuantilesTask

SHOWN = 336  # steps of a picture over time: two weeks of hours
PANELS = 4
CLASSES = 12  # of a confusion matrix
LABELLED = 96  # classes or labels of a heat map


def stretch(fit: Fitted) -> str:
    """Return the first answered steps of the test sequence that has most of them."""
    known = [~np.isnan(answers).all(axis=1) for answers in fit.answers]
    which = int(np.argmax([one.sum() for one in known]))
    first, chances = int(np.argmax(known[which])), isinstance(fit.task, ClassesTask | LabelsTask)
    steps = slice(first, first + (SHOWN // 2 if chances else SHOWN))
    count, name = len(fit.answers[which][steps]), fit.streams[which].id
    of = f" of sequence {name}" if name else ""
    text = f"{count} of {sum(map(len, fit.answers))} test steps{of}, streamed one after the other through one state."
    return page.prose(text) + page.figure((_chances if chances else _numbers)(fit, which, steps))


def _numbers(fit: Fitted, which: int, steps: slice) -> str:
    """Draw up to four of the answers, each at the time that it is about."""
    own, answers = fit.data.test[which], fit.answers[which][steps]
    n, M = answers.shape
    said, baseline = (
        forecast[steps].reshape(n, M, -1) for forecast in (fit.said[which], fit.streams[which].baselines[fit.baseline])
    )  # [n, M, Q]
    panels = []
    for m in _some(M):
        output = fit.task.outputs[m * said.shape[2]]
        rows = own.steps.start + steps.start + np.arange(n) + (output.horizon or 0)
        times = own.sequence.times[np.minimum(rows, len(own.sequence.times) - 1)]
        baselines = plots.middle(baseline[:, m])
        panels.append(plots.Panel(_ahead(output), output.unit or "", times, answers[:, m], said[:, m], baselines))
    levels = [output.quantile for output in fit.task.outputs[: said.shape[2]]]
    return plots.forecasts(panels, LABELS[fit.baseline], f"its band, quantiles {levels[0]} to {levels[-1]}")


def _chances(fit: Fitted, which: int, steps: slice) -> str:
    """Draw the probabilities of all classes or labels, or of those that came most often."""
    answers = fit.answers[which][steps]
    came = measures.came(fit.task, answers)
    often = np.sort(np.argsort(-came.sum(axis=0), kind="stable")[:LABELLED])
    nats = {LABELS[name]: fit.errors[name][which][steps, 0, 0] for name in ("test", fit.baseline)}
    names = [fit.task.outputs[index].name for index in often]
    times = fit.streams[which].answer_times[steps]
    return plots.chances(plots.Chances(names, times, fit.said[which][steps][:, often], came[:, often], nats))


def by_horizon(fit: Fitted) -> str:
    """Return the error of every forecast by how far ahead it looks, target by target."""
    horizons = np.array(fit.data.horizons)
    if len(horizons) == 1:
        return ""
    order = np.argsort(horizons)
    means = {LABELS[name]: measures.mean(np.concatenate(own))[:, order] for name, own in fit.errors.items()}  # [C, H]
    return page.figure(plots.errors(horizons[order], _panels(fit, means), "rows ahead"))


def along(fit: Fitted) -> str:
    """Return the error step by step from the zero state, where there are several sequences to average."""
    if not isinstance(fit.recipe.split, BySequence) or len(fit.streams) == 1:
        return ""
    means = {}
    for name in ("test", fit.baseline):
        firsts, mean = measures.along(fit.errors[name])
        means[LABELS[name]] = mean.T  # [C, P]
    text = f"The mean over {len(fit.streams)} test sequences, each from the zero state."
    return page.prose(text) + page.figure(plots.errors(firsts, _panels(fit, means), "step of the sequence"))


def calibration(fit: Fitted) -> str:
    """Return whether what is said with some probability comes so often: of quantiles, and of classes or labels."""
    outputs, answers = np.concatenate(fit.said), np.concatenate(fit.answers)
    if isinstance(fit.task, QuantilesTask):
        return _quantiles(fit.task, outputs, answers)
    if isinstance(fit.task, ClassesTask | LabelsTask):
        text = "Of all the times a class or label was said to have some probability, how often did it come?"
        return page.prose(text) + page.figure(plots.reliability(*measures.reliability(fit.task, outputs, answers)))
    return ""


def _quantiles(task: QuantilesTask, outputs: Floats, answers: Floats) -> str:
    levels = np.array(task.levels)
    single = [f"{_ahead(output)}" for output in task.outputs[:: len(levels)]]
    shares = dict(zip(single, measures.below(task, outputs, answers), strict=True))
    if len(single) > 1:
        whole = measures.below(task, outputs.reshape(-1, len(levels)), answers.reshape(-1, 1))[0]
        shares = {"all": whole} | (shares if len(single) <= PANELS else {})
    rows = [[name, *(f"{share:.1%}" for share in own)] for name, own in shares.items()]
    table = page.table(("truths below the quantile", *(f"{level:g}" for level in levels)), rows)
    return table + page.figure(plots.quantiles(levels, shares))


def confusion(fit: Fitted) -> str:
    """Return which class was the likeliest where which came; symbols have more than one legal heir, so not theirs."""
    if not isinstance(fit.task, ClassesTask) or fit.recipe.task.kind != "classification":
        return ""
    counts = measures.confusion(fit.task, np.concatenate(fit.said), np.concatenate(fit.answers))
    often = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:CLASSES])
    names, counts = [fit.task.classes[index] for index in often], counts[np.ix_(often, often)]
    return page.figure(plots.confusion(names, counts))


def listening(fit: Fitted) -> str:
    """Return how far back an output listens, by its gradient; of what is streamed with a state."""
    if not fit.network.state_shapes:
        return ""
    found = reach(fit.network, ends(fit.data.test))
    if found.horizon is None:
        answer = f"Beyond the {len(found.share) - 1} steps that were measured."
    else:
        answer = f"{found.horizon} steps: further back the gradient stays below {SHARE:.0%} of that at the step itself."
    text = f"{answer} The gradient is that of the loss with respect to the inputs; median over {found.windows} windows."
    return page.prose(text) + page.figure(plots.listening(found.share, SHARE, found.horizon))


def _panels(fit: Fitted, means: dict[str, Array]) -> dict[str, dict[str, Array]]:
    """Return the lines of up to four targets, each under the words for its error; of means [C, …] by name."""
    if isinstance(fit.task, ClassesTask | LabelsTask):
        return {"nats a step": {name: mean[0] for name, mean in means.items()}}
    what = "pinball loss" if isinstance(fit.task, QuantilesTask) else "mean absolute error"
    targets = fit.data.targets
    words = [f"{what}\n{', '.join(part for part in (one.name, one.unit) if part)}" for one in targets]
    return {words[c]: {name: mean[c] for name, mean in means.items()} for c in _some(len(targets))}


def _some(count: int) -> list[int]:
    """Return up to four of so many places, from the first to the last."""
    places: list[int] = np.unique(np.linspace(0, count - 1, PANELS).round().astype(int)).tolist()
    return places


def _ahead(output: Output) -> str:
    """Return what an output speaks of, and how far ahead."""
    rows = f"{output.horizon} row{'s' if output.horizon != 1 else ''} ahead"
    return f"{output.target}, {rows}" if output.horizon else f"{output.target}"
