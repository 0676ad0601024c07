"""Classes (or symbols) and labels: F1, and the negative log-likelihood in nats per step."""

from abc import abstractmethod
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional import classification

from training.arrays import Doubles, Floats
from training.errors import RecipeError
from training.net.heads import Classes, Head, Labels
from training.tasks.task import Figures, Output, Task, mean

LEAST = 1e-12  # smallest probability, so that its logarithm is finite


class _Probabilities(Task):
    @abstractmethod
    def likelihoods(self, outputs: Doubles, answers: Floats) -> Doubles:
        """Return the probabilities [n, …] that were given to what happened; anything where the answer is NaN."""

    @abstractmethod
    def happened(self, answers: Floats) -> NDArray[np.bool_]:
        """Return which of the K classes or labels happened at each step [n, K]; none where the answer is NaN."""

    def errors(self, outputs: Floats, answers: Floats) -> Doubles:
        """Return the nats of each step, summed over labels; C = H = 1."""
        nats = -np.log(np.maximum(self.likelihoods(outputs.astype(np.float64), answers), LEAST)).sum(axis=1)
        return np.where(np.isnan(answers).any(axis=1), np.nan, nats)[:, None, None]


class ClassesTask(_Probabilities):
    """One of several classes or symbols per step."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The K classes."""
        return self.data.targets[0].classes

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Probabilities, named for their classes."""
        (target,), (horizon,) = self.data.targets, self.data.horizons
        return tuple(Output(name, "probability", target.name, horizon) for name in self.classes)

    def head(self, hidden: int) -> Head:
        """Return a head of probabilities that add up to one; its loss weighs the classes as the recipe says."""
        return Classes(hidden, self._weights())

    def _weights(self) -> NDArray[np.floating]:
        """Return the weights [K] of the classes; `balanced`: their mean over the training part is 1."""
        given = getattr(self.section, "weights", None)
        if given == "balanced":
            return np.asarray(1 / (np.maximum(self.prior, 1 / len(self.learnt_answers())) * len(self.classes)))
        if given and (unknown := sorted(set(given) - set(self.classes))):
            raise RecipeError(f"task.weights: {unknown[0]!r} is no class; there are {', '.join(self.classes)}")
        return np.array([(given or {}).get(name, 1.0) for name in self.classes])

    def likelihoods(self, outputs: Doubles, answers: Floats) -> Doubles:
        """Return the probability [n, 1] of the class that happened."""
        return np.take_along_axis(outputs, np.nan_to_num(answers).astype(np.int64), axis=1)

    def happened(self, answers: Floats) -> NDArray[np.bool_]:
        """Return the class of each step, one-hot."""
        return np.asarray(answers == np.arange(len(self.classes)))

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return `accuracy`, `f1`, `roc_auc`, `pr_auc` (means over the classes) and `nll` (nats per step)."""
        counts = ~np.isnan(answers[:, 0])
        pair = _tensor(outputs[counts]), torch.from_numpy(self.happened(answers[counts])).long()
        given, truth = _tensor(outputs[counts]), torch.from_numpy(answers[counts, 0]).long()
        C = len(self.classes)
        # Of two classes the second is the positive one; symbols have no areas: several may legally follow.
        areas = {} if self.section.kind == "next-symbol" else _areas(*(part[:, C == 2 :] for part in pair))
        return {
            "accuracy": float(classification.multiclass_accuracy(given, truth, C, average="micro")),
            "f1": float(classification.multiclass_f1_score(given, truth, C, average="macro")),
            **areas,
            "nll": float(mean(self.errors(outputs, answers), None)),
        }

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Shares of the classes in the training part."""
        answers = self.learnt_answers()
        index = answers[~np.isnan(answers)].astype(np.int64)
        return np.bincount(index, minlength=len(self.classes)) / len(index)


class LabelsTask(_Probabilities):
    """Any number of labels per step."""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Probabilities, named for their columns."""
        (horizon,) = self.data.horizons
        return tuple(Output(target.name, "probability", target.name, horizon) for target in self.data.targets)

    def head(self, hidden: int) -> Head:
        """Return a head of independent probabilities, that starts at the labels' shares of the training part."""
        answers = self.learnt_answers()
        seen = (~np.isnan(answers)).sum(axis=0)
        return Labels(hidden, (np.nansum(answers, axis=0) + 0.5) / (seen + 1))  # never exactly 0 or 1

    def likelihoods(self, outputs: Doubles, answers: Floats) -> Doubles:
        """Return the probability [n, K] of each label's value."""
        return np.where(answers == 1, outputs, 1 - outputs)

    def happened(self, answers: Floats) -> NDArray[np.bool_]:
        """Return the labels that are 1."""
        return np.asarray(answers == 1)

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return figures of the steps without a NaN: `f1` over all labels, `roc_auc` and `pr_auc` (means over the
        labels), `nll` (nats per step, summed over labels).
        """
        counts = ~np.isnan(answers).any(axis=1)
        given, truth = _tensor(outputs[counts]), torch.from_numpy(answers[counts]).long()
        return {
            "f1": float(classification.binary_f1_score(given.flatten(), truth.flatten())),
            **_areas(given, truth),
            "nll": float(mean(self.errors(outputs, answers), None)),
        }

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Shares of the labels in the training part."""
        return np.asarray(mean(self.learnt_answers()))


def _areas(given: Tensor, truth: Tensor) -> Figures:
    """Return the areas under the ROC and the precision-recall curve, means over the columns of [n, K].

    A column that is always or never true has no curve and is left out; without any column both are left out.
    """
    told = [k for k in range(truth.shape[1]) if 0 < int(truth[:, k].sum()) < len(truth)]
    if not told:
        return {}
    roc, pr = classification.binary_auroc, classification.binary_average_precision
    return {
        name: float(np.mean([float(area(given[:, k], truth[:, k])) for k in told]))
        for name, area in (("roc_auc", roc), ("pr_auc", pr))
    }


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(array.astype(np.float64))
