"""How wrong outputs are, where, and whether what they say comes true: the numbers behind the report's figures.

Outputs are [n, K] and answers [n, M] as in `tasks`; an answer that is NaN does not count. Knows no pictures.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.tasks import LEAST, ClassesTask, LabelsTask, QuantilesTask, Task

Floats = NDArray[np.float32]
Array = NDArray[np.float64]
BINS = 10  # of a probability
PLACES = 60  # along a sequence: more are no picture


def errors(task: Task, outputs: Floats, answers: Floats) -> Array:
    """Return the error of each step [n, C, H], lower is better; NaN where the answer, or the forecast, is not known.

    Numbers: the absolute error, quantiles: the pinball loss, both in the unit of the target. Classes and labels: nats
    (of all labels together), C = H = 1.
    """
    said, truth = outputs.astype(np.float64), answers.astype(np.float64)
    if isinstance(task, ClassesTask | LabelsTask):
        return nats(task, said, truth)[:, None, None]
    if isinstance(task, QuantilesTask):
        levels = np.array(task.levels)
        error = truth[..., None] - said.reshape(*truth.shape, len(levels))  # [n, M, Q]
        each = np.maximum(levels * error, (levels - 1) * error).mean(axis=-1)
    else:
        each = np.abs(said - truth)
    return np.asarray(each.reshape(len(each), -1, len(task.data.horizons)))


def nats(task: Task, said: Array, truth: Array) -> Array:
    """Return −ln of the probability [n] that was given to what came."""
    known = ~np.isnan(truth).any(axis=1)
    if isinstance(task, ClassesTask):
        came = np.where(known, truth[:, 0], 0).astype(np.int64)
        likelihood = said[np.arange(len(said)), came][:, None]
    else:
        likelihood = np.where(truth == 1, said, 1 - said)
    return np.asarray(np.where(known, -np.log(np.maximum(likelihood, LEAST)).sum(axis=1), np.nan))


def came(task: Task, answers: Floats) -> NDArray[np.bool_]:
    """Return which of the K classes or labels came at each step, [n, K]; none where it is not known."""
    return np.asarray(answers == np.arange(len(task.outputs)) if isinstance(task, ClassesTask) else answers == 1)


def below(task: QuantilesTask, outputs: Floats, answers: Floats) -> Array:
    """Return the share of truths below each quantile, for each target and horizon, [M, Q]."""
    lower = answers[..., None] < outputs.reshape(*answers.shape, len(task.levels))  # [n, M, Q]
    return np.asarray(mean(np.where(np.isnan(answers)[..., None], np.nan, lower)))


class Reliability(NamedTuple):
    """Probabilities in bins: what was said on average, how often it came, how many there are; empty bins left out."""

    said: Array
    came: Array
    times: NDArray[np.int64]


def reliability(task: Task, outputs: Floats, answers: Floats) -> Reliability:
    """Return how often what was said with some probability came, over all classes or labels and steps."""
    known = ~np.isnan(np.broadcast_to(answers, outputs.shape))
    said, true = outputs[known].astype(np.float64), came(task, answers)[known]
    index = np.minimum((said * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(index, minlength=BINS)
    full = count > 0
    mean_said, mean_came = (
        np.bincount(index, weights, minlength=BINS)[full] / count[full] for weights in (said, true.astype(np.float64))
    )
    return Reliability(mean_said, mean_came, count[full])


def confusion(task: ClassesTask, outputs: Floats, answers: Floats) -> NDArray[np.int64]:
    """Return how often the likeliest class was j where i came, [C, C]."""
    counts, C = ~np.isnan(answers[:, 0]), len(task.classes)
    pairs = answers[counts, 0].astype(np.int64) * C + outputs[counts].argmax(axis=1)
    return np.bincount(pairs, minlength=C * C).reshape(C, C)


def along(sequences: Sequence[Array]) -> tuple[NDArray[np.int64], Array]:
    """Return the mean [P, C] of errors [n, C, H] by the step of their sequence, and the first step [P] of each mean."""
    longest = max(len(one) for one in sequences)
    width = -(-longest // PLACES)
    firsts = np.arange(0, longest, width)
    pieces = [np.concatenate([one[first : first + width] for one in sequences]) for first in firsts]
    return firsts, np.stack([mean(piece.swapaxes(1, 2).reshape(-1, piece.shape[1])) for piece in pieces])


def mean(values: Array) -> Array:
    """Return the mean over the first axis of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)
    means: Array = np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0)
    return means
