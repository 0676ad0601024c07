"""Kinds of tasks: outputs, head, metrics and baselines of each.

To add a kind, write its section in `training/recipe/task.py`, a head in `training/net/heads.py` if none fits, and a
subclass of `Task` here.
"""

from training.data.dataset import Dataset
from training.recipe.recipe import Recipe
from training.tasks.classification import ClassesTask, LabelsTask
from training.tasks.quantiles import QuantilesTask
from training.tasks.regression import RegressionTask
from training.tasks.task import Figures, Output, Task

TASKS: dict[str, type[Task]] = {
    "regression": RegressionTask,
    "quantiles": QuantilesTask,
    "classification": ClassesTask,
    "multilabel": LabelsTask,
    "next-symbol": ClassesTask,
}

__all__ = ["TASKS", "ClassesTask", "Figures", "LabelsTask", "Output", "QuantilesTask", "RegressionTask", "Task"]


def task_of(recipe: Recipe, data: Dataset) -> Task:
    """Return the task of a recipe on its data."""
    return TASKS[recipe.task.kind](recipe.task, data)
