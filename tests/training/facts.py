"""Tasks on data of which only names are known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.tasks import ClassesTask, LabelsTask, QuantilesTask


def floats(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def facts(targets: int = 1, horizons: tuple[int, ...] = (1,), classes: tuple[str, ...] = ()) -> Any:
    """What a task reads of its data."""
    named = tuple(SimpleNamespace(name=f"t{c}", unit=None, classes=classes) for c in range(targets))
    return SimpleNamespace(targets=named, horizons=horizons)


CLASSES = ClassesTask(None, facts(classes=("a", "b", "c")))
LABELS = LabelsTask(None, facts(targets=2))
BAND = QuantilesTask(SimpleNamespace(quantiles=(0.1, 0.9)), facts())
