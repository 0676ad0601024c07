"""Classes (or symbols) and labels: F1, and the negative log-likelihood in nats per step."""

from abc import abstractmethod
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional import classification

from training.arrays import Doubles, Floats
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
        """Return a head of probabilities that add up to one."""
        return Classes(hidden, len(self.classes))

    def likelihoods(self, outputs: Doubles, answers: Floats) -> Doubles:
        """Return the probability [n, 1] of the class that happened."""
        return np.take_along_axis(outputs, np.nan_to_num(answers).astype(np.int64), axis=1)

    def happened(self, answers: Floats) -> NDArray[np.bool_]:
        """Return the class of each step, one-hot."""
        return np.asarray(answers == np.arange(len(self.classes)))

    def figures(self, outputs: Floats, answers: Floats) -> Figures:
        """Return `accuracy`, `f1` (mean over the classes) and `nll` (nats per step)."""
        counts = ~np.isnan(answers[:, 0])
        given, truth = _tensor(outputs[counts]), torch.from_numpy(answers[counts, 0]).long()
        C = len(self.classes)
        return {
            "accuracy": float(classification.multiclass_accuracy(given, truth, C, average="micro")),
            "f1": float(classification.multiclass_f1_score(given, truth, C, average="macro")),
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
        """Return `f1` over all labels and `nll` (nats per step, summed over labels) of steps without a NaN."""
        counts = ~np.isnan(answers).any(axis=1)
        given, truth = _tensor(outputs[counts]), torch.from_numpy(answers[counts]).long()
        return {
            "f1": float(classification.binary_f1_score(given.flatten(), truth.flatten())),
            "nll": float(mean(self.errors(outputs, answers), None)),
        }

    @cached_property
    def prior(self) -> NDArray[np.floating]:
        """Shares of the labels in the training part."""
        return np.asarray(mean(self.learnt_answers()))


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(array.astype(np.float64))
