"""How good a network is on unseen data: streamed as a caller would, with its state dropped, beside the baselines."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.batches import warm_start
from training.dataset import Dataset, Stretch
from training.networks import State
from training.recipe import ByTime, Recipe
from training.tasks import TASKS, Figures, Task
from training.threads import one_thread

Floats = NDArray[np.float32]
AT_ONCE = 4096  # rows of a batch of one step


class Judged(Protocol):
    """What is judged: a network, or a file that is run as one."""

    @property
    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each state of one row."""

    def zero_state(self, batch: int) -> State:
        """Return every state as [batch, …], all zero."""

    def __call__(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance every row of x [B,T,F] by its own length."""


@dataclass(frozen=True)
class Unseen:
    """A stretch as a caller lives it: row i is what he knows at `times[i]`; `answers[i]` is what comes."""

    id: str
    history: Floats  # [H, F] the rows just before, to warm a session up
    inputs: Floats  # [N, F] raw caller values, in the order of the model's features
    times: NDArray[Any]  # [N] of the input rows
    answer_times: NDArray[Any]  # [N] of the row that the first horizon asks for
    answers: Floats  # [N, M]; NaN: not measured
    baselines: dict[str, Floats]  # name → forecasts [N, K] that need no network


def task_of(recipe: Recipe, data: Dataset) -> Task:
    """Return the recipe's task on its data."""
    return TASKS[recipe.task.kind](recipe.task, data)


def warm_up(recipe: Recipe) -> int | None:
    """Return how many steps before a part warm its state up; None: all there are."""
    if not isinstance(recipe.split, ByTime):
        return 0
    return recipe.training.window if recipe.split.warm_up is None else recipe.split.warm_up


def unseen(recipe: Recipe, data: Dataset, stretches: Iterable[Stretch]) -> list[Unseen]:
    """Return stretches of the validation or test part for streaming."""
    task = task_of(recipe, data)
    return [_unseen(task, stretch, warm_up(recipe)) for stretch in stretches]


def _unseen(task: Task, stretch: Stretch, steps: int | None) -> Unseen:
    sequence, own = stretch.sequence, stretch.steps
    later = np.minimum(np.arange(own.start, own.stop) + stretch.horizons[0], len(sequence.times) - 1)
    return Unseen(
        sequence.id,
        history=sequence.inputs[warm_start(stretch, steps) : own.start],
        inputs=sequence.inputs[own],
        times=sequence.times[own],
        answer_times=sequence.times[later],
        answers=stretch.answers(),
        baselines=task.baselines(stretch),
    )


@one_thread()
def scores(network: Judged, task: Task, streams: list[Unseen]) -> dict[str, Figures]:
    """Return the figures of the network (`test`), of it with its state dropped, and of each baseline."""
    answers = np.concatenate([task.judged(one.answers) for one in streams])

    def of(forecast: Callable[[Unseen], Floats]) -> Figures:
        return task.figures(np.concatenate([forecast(one) for one in streams]), answers)

    measured = {"test": of(lambda one: streamed(network, one))}
    if network.state_shapes:
        measured["state_dropped"] = of(lambda one: state_dropped(network, one))
    return measured | {name: of(lambda one, name=name: one.baselines[name]) for name in streams[0].baselines}  # type: ignore[misc]


def flat(measured: dict[str, Figures]) -> Figures:
    """Return scores as the metadata tell them: `NAME_FIGURE`, rounded."""
    return {f"{name}_{figure}": round(value, 5) for name, own in measured.items() for figure, value in own.items()}


@torch.no_grad()
def streamed(network: Judged, one: Unseen) -> Floats:
    """Return the outputs [N, K] of the inputs as one stream through one state, warmed up by the history."""
    x = np.concatenate([one.history, one.inputs])
    outputs, _ = network(torch.from_numpy(x)[None], torch.tensor([len(x)]), network.zero_state(1))
    return np.asarray(outputs[0, len(one.history) :].numpy())


@torch.no_grad()
def state_dropped(network: Judged, one: Unseen) -> Floats:
    """Return the outputs [N, K] of the inputs, each row alone from the zero state."""
    outputs = []
    for start in range(0, len(one.inputs), AT_ONCE):
        x = torch.from_numpy(one.inputs[start : start + AT_ONCE])[:, None]
        outputs.append(network(x, torch.ones(len(x), dtype=torch.int64), network.zero_state(len(x)))[0][:, 0].numpy())
    return np.concatenate(outputs)
