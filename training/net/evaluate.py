"""Evaluate a network on unseen data: streamed through one state, with the state dropped, and beside the baselines."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats, Lengths, States
from training.data.batches import warm_start
from training.data.dataset import Dataset, Stretch
from training.net.hardware import one_thread
from training.recipe.recipe import ByTime, Recipe
from training.tasks import Figures, Task, task_of

AT_ONCE = 4096  # rows of a batch of one step
Run = Callable[[Floats, Lengths], tuple[Floats, States]]  # x [B,T,F] from the zero state → y [B,T,K], next state
Outputs = dict[str, list[Floats]]  # whose forecast → its outputs [N, K] for each stream


@dataclass(frozen=True)
class Unseen:
    """A stretch as a caller meets it: row i is known at `times[i]`, and `answers[i]` comes later."""

    id: str
    history: Floats  # [H, F] rows before the stretch, to warm the state up
    inputs: Floats  # [N, F] raw input rows
    times: NDArray[Any]  # [N] of the input rows
    answer_times: NDArray[Any]  # [N] of the row at the first horizon
    answers: Floats  # [N, M]; NaN: not measured
    baselines: dict[str, Floats]  # name → outputs [N, K] that need no network


def warm_up(recipe: Recipe) -> int | None:
    """Return the number of steps before a part that warm its state up; None: all."""
    if not isinstance(recipe.split, ByTime):
        return 0
    return recipe.training.window if recipe.split.warm_up is None else recipe.split.warm_up


def unseen(recipe: Recipe, data: Dataset, stretches: Iterable[Stretch], task: Task | None = None) -> list[Unseen]:
    """Return stretches of the validation or test part for streaming; the baselines are those of the task."""
    task = task or task_of(recipe, data)

    def met(stretch: Stretch) -> Unseen:
        sequence, own = stretch.sequence, stretch.steps
        later = np.minimum(np.arange(own.start, own.stop) + stretch.horizons[0], len(sequence.times) - 1)
        history = sequence.inputs[warm_start(stretch, warm_up(recipe)) : own.start]
        times, answers = (sequence.times[own], sequence.times[later]), stretch.answers()
        return Unseen(sequence.id, history, sequence.inputs[own], *times, answers, task.baselines(stretch))

    return [met(stretch) for stretch in stretches]


@one_thread()
def forecasts(run: Run, streams: list[Unseen], own: list[Floats] | None = None) -> Outputs:
    """Return the outputs of a model (`test`), of it with its state dropped, if it has one, and of each baseline.

    `own` are those of the model; by default they are computed.
    """
    found = {"test": own or [streamed(run, one) for one in streams]}
    _, state = run(streams[0].inputs[:1, None], np.ones(1, np.int32))
    if state:
        found["state_dropped"] = [state_dropped(run, one) for one in streams]
    return found | {name: [one.baselines[name] for one in streams] for name in streams[0].baselines}


@one_thread()
def scores(task: Task, streams: list[Unseen], outputs: Mapping[str, Sequence[Floats]]) -> dict[str, Figures]:
    """Return the metrics of each forecast."""
    answers = np.concatenate([task.judged(one.answers) for one in streams])
    return {name: task.figures(np.concatenate(own), answers) for name, own in outputs.items()}


def flat(measured: dict[str, Figures], part: str = "test") -> Figures:
    """Return the finite scores of a part with the keys of the metadata (see `key`), rounded; small ones to 5 digits."""
    return {
        key(part, name, figure): round(value, 5) if abs(value) > 0.01 else float(f"{value:.5g}")
        for name, own in measured.items()
        for figure, value in own.items()
        if isfinite(value)
    }


def key(part: str, name: str, figure: str) -> str:
    """Return the key of a metric in the metadata: PART_FIGURE for the model itself (`test`), BASELINE_FIGURE for
    another forecast on the test part, validation_BASELINE_FIGURE for it on the validation part.
    """
    if name == "test":
        return f"{part}_{figure}"
    return f"{name}_{figure}" if part == "test" else f"{part}_{name}_{figure}"


def streamed(run: Run, one: Unseen) -> Floats:
    """Return the outputs [N, K] of a stream with one state, warmed up by the history."""
    x = np.concatenate([one.history, one.inputs])
    outputs, _ = run(x[None], np.array([len(x)], np.int32))
    return outputs[0, len(one.history) :]


def state_dropped(run: Run, one: Unseen) -> Floats:
    """Return the outputs [N, K], each row alone from the zero state."""
    pieces = [one.inputs[start : start + AT_ONCE, None] for start in range(0, len(one.inputs), AT_ONCE)]
    return np.concatenate([run(x, np.ones(len(x), np.int32))[0][:, 0] for x in pieces])
