"""Examine a model: prove that rows do not influence each other and that stepping equals the whole.

Knows the Model protocol and time; not files, sessions or queues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from service.errors import ModelUnusable
from service.models.speed import Policy, seconds_of

if TYPE_CHECKING:
    from service.models.adapter import AdaptedModel
    from service.models.model import Array, Model, State
    from service.models.providers import Threads

_SHORTER = 0.8  # of the time of a run
_SIZES = (1, 10, 100, 1000, 10_000, -1, -10, -100, -1000, -10_000)  # of the numbers of tests
_WRONG = 1e-3  # relative deviation; a larger one is not rounding, and the file is refused


@dataclass(frozen=True)
class Fitness:
    """What the examination found."""

    streamable: bool  # stepping equals the whole sequence
    tolerance: float  # largest relative deviation seen; 0.0: equal bit for bit
    min_batch: int  # fewest rows of a run: the plain RNN node computes a lone row differently
    seconds_per_step: float  # of one row in a full batch of whole chunks
    seconds_alone: float = 0.0  # of one step of one row in a run of its own
    policy: Policy = field(default_factory=Policy)  # the one that it was examined with
    reason: str | None = None  # why it is not streamable, where that is known
    in_thread: bool = False  # values of the inputs may decide how long a run takes: it never holds the loop
    threads: int = 1  # of a run

    def seconds(self, rows: int, steps: int) -> float:
        """Estimate how long a run of `rows` rows of `steps` steps takes."""
        return max(steps * self.seconds_alone, rows * steps * self.seconds_per_step)

    @property
    def bit_equal(self) -> bool:
        """Whether batched, chunked and stepped outputs equal those of a row alone and whole, bit for bit."""
        return self.tolerance == 0.0


def warm(model: Model, fitness: Fitness) -> None:
    """Run a model once in each of its usual shapes, so that no call waits for what the first runs prepare."""
    policy = fitness.policy
    for rows, steps in (
        (fitness.min_batch, 1),
        (policy.batch, 1),
        (max(1, policy.steps // policy.chunk), policy.chunk),
    ):
        inputs = np.zeros((rows, steps, model.features), np.float32)
        state = {name: np.zeros((rows, *shape), np.float32) for name, shape in model.state_shapes.items()}
        model.run(inputs, np.full(rows, steps, np.int32), state)


def examine(
    model: Model,
    policy: Policy,
    draw: Callable[[Array], Array] = np.asarray,
    *,
    clock: Callable[[], float] = time.thread_time,
    stated: bool = True,
) -> Fitness:
    """Run sequences alone and batched, whole, chunked and stepped, and compare.

    `draw` makes values that the model takes; not `stated`: its states are constants, which steps do not move.

    Raises:
        ModelUnusable: rows of a batch change each other; the model has states and stepping does not equal the whole;
            or an array has another shape than the file declares.

    """
    chunk, batch = policy.chunk, min(policy.batch, max(1, policy.steps // policy.chunk))
    sequences = _drawn(model, chunk, draw)
    compared: dict[int, dict[str, float]] = {}
    for min_batch in (1, 2):
        compared[min_batch] = _compare(model, sequences, chunk, min_batch, stated=stated)
        if max(compared[min_batch].values()) == 0.0:
            break
    else:
        min_batch = 1  # a second row does not make it exact
    for way, deviation in compared[min_batch].items():
        if deviation > _WRONG:
            again = [_advance(model, sequences[-2:-1], len(sequences[-2]), min_batch) for _ in range(2)]
            fault = f"a sequence {way} differs from the same one alone by {deviation:.2g}"
            random = "the same sequence gives other numbers each time: is a Dropout in training mode?"
            raise ModelUnusable(f"self-test: {random if _deviation(*again) > _WRONG else fault}")
    return Fitness(
        "stepped" in compared[min_batch],
        max(compared[min_batch].values()),
        min_batch,
        seconds_of(model, batch, chunk, clock) / (batch * chunk),
        seconds_of(model, min_batch, chunk, clock) / chunk,
        policy,
    )


def compared(fitness: Fitness, model: Model, cpu: Model, draw: Callable[[Array], Array] = np.asarray) -> Fitness:
    """Compare a model by another provider with the same one on the CPU → the fitness, with a tolerance that holds it.

    Raises:
        ModelUnusable: they differ by more than rounding: providers may compute a node in another way.

    """
    whole = 2 * fitness.policy.chunk + 3
    sequences = _drawn(cpu, whole // 2, draw)
    found = [[_advance(one, [sequence], whole, fitness.min_batch)[0] for sequence in sequences] for one in (cpu, model)]
    if (deviation := _deviation(*found)) > _WRONG:
        raise ModelUnusable(f"self-test: by this provider a sequence differs from the CPU's by {deviation:.2g}")
    return replace(fitness, tolerance=max(fitness.tolerance, deviation))


def threaded(
    fitness: Fitness,
    one: Model,
    many: Model,
    threads: Threads,
    draw: Callable[[Array], Array] = np.asarray,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Fitness:
    """Judge a model whose runs take `many` threads by the same one by `one` thread → the fitness of what is to serve.

    Threads are taken if all bits stay and, unless they were asked for, runs are shorter by a fifth.
    """
    batch = fitness.policy.batch
    try:
        found = examine(many, fitness.policy, draw, clock=clock, stated=fitness.streamable)
        exact = compared(replace(fitness, tolerance=0.0), many, one, draw).bit_equal
    except ModelUnusable:
        return fitness
    if not exact or found.tolerance > fitness.tolerance or found.min_batch > fitness.min_batch:
        return fitness
    if not threads.asked and seconds_of(many, batch, 1, clock) > _SHORTER * seconds_of(one, batch, 1, clock):
        return fitness
    return replace(
        fitness,
        threads=threads.most,
        seconds_per_step=found.seconds_per_step,
        seconds_alone=found.seconds_alone,
    )


def _compare(model: Model, sequences: Sequence[Array], chunk: int, min_batch: int, *, stated: bool) -> dict[str, float]:
    """Deviation of each way of running sequences from running each alone and whole; only ways that the model allows."""
    whole = max(len(sequence) for sequence in sequences)
    ways: dict[str, int] = {"stepped": 1, "in chunks": chunk, "in a batch": whole}
    alone = [_advance(model, [sequence], whole, min_batch)[0] for sequence in sequences]
    seen = {way: _deviation(alone, _advance(model, sequences, size, min_batch)) for way, size in ways.items()}
    streamable = (stated and bool(model.state_shapes)) or max(seen["stepped"], seen["in chunks"]) <= _WRONG
    return seen if streamable else {"in a batch": seen["in a batch"]}


def _drawn(model: Model, chunk: int, draw: Callable[[Array], Array]) -> list[Array]:
    """Sequences of the first size of numbers that the model tells apart: it may standardise and clip what it takes."""
    plain, finite = list(_sequences(model.features, chunk)), False
    for size in _SIZES:
        sequences = [draw(np.float32(size) * sequence) for sequence in plain]
        pair = [sequence[: chunk + 1] for sequence in sequences[-3:-1]]
        (one, _), (other, _) = _advance(model, pair, chunk + 1, 1)
        if (np.isfinite(one) & np.isfinite(other) & (one != other)).any():
            return sequences
        finite |= bool(np.isfinite(one).any())
    if not finite:
        raise ModelUnusable("self-test: no answer is finite: its weights may have become NaN in training")
    return list(map(draw, plain))


def _sequences(features: int, chunk: int) -> Iterator[Array]:
    rng = np.random.default_rng(0)
    for index, length in enumerate((1, 2, 3, 5, chunk - 1, chunk, chunk + 1, 2 * chunk + 3, 1)):
        values = rng.uniform(0, 3, (max(1, length), features))
        yield (values if index % 2 else values.round()).astype(np.float32)  # integers in every other one, as codes are


def _advance(model: Model, sequences: Sequence[Array], size: int, min_batch: int) -> list[tuple[Array, State]]:
    """Run all sequences together, at most `size` steps at a time → outputs [T, K] and last state of each."""
    states = [{name: np.zeros(shape, np.float32) for name, shape in model.state_shapes.items()} for _ in sequences]
    outputs: list[list[Array]] = [[] for _ in sequences]
    for start in range(0, max(len(sequence) for sequence in sequences), size):
        rows = [index for index, sequence in enumerate(sequences) if len(sequence) > start]
        padded = rows + rows[:1] * (min_batch - len(rows))
        pieces = [sequences[index][start : start + size] for index in padded]
        lengths = np.array([len(piece) for piece in pieces], np.int32)
        inputs = np.zeros((len(pieces), int(lengths.max()), model.features), np.float32)
        for row, piece in enumerate(pieces):
            inputs[row, : len(piece)] = piece
        state = {name: np.stack([states[index][name] for index in padded]) for name in model.state_shapes}
        output, after = model.run(inputs, lengths, state)
        _expect_shape("output", output, (*inputs.shape[:2], model.outputs))
        for name, array in after.items():
            _expect_shape(f"next_state.{name}", array, state[name].shape)
        for row, index in enumerate(rows):
            outputs[index].append(output[row, : lengths[row]])
            states[index] = {name: array[row] for name, array in after.items()}
    return [(np.concatenate(one), state) for one, state in zip(outputs, states, strict=True)]


def _expect_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ModelUnusable(f"self-test: {name!r} is {list(array.shape)}, not {list(shape)}")


def _deviation(alone: list[tuple[Array, State]], other: list[tuple[Array, State]]) -> float:
    """The largest deviation of outputs and states; 0.0 only if all bits agree."""
    (outputs, states), (others, other_states) = zip(*alone, strict=True), zip(*other, strict=True)
    worst = _gap(np.concatenate(outputs), np.concatenate(others), axis=0)
    for name in states[0]:
        mine, theirs = (np.stack([state[name] for state in each]) for each in (states, other_states))
        worst = max(worst, _gap(mine, theirs, axis=None))
    return worst


def _gap(a: Array, b: Array, axis: int | None) -> float:
    """The largest |a − b| relative to |a|, or to the largest |a| along the axis, or 1 if that is less."""
    if a.tobytes() == b.tobytes():
        return 0.0
    size = np.abs(a.astype(np.float64))
    scale = np.minimum(1.0, size.max(axis=axis, where=np.isfinite(size), initial=0.0))  # outputs may all be tiny
    with np.errstate(invalid="ignore", divide="ignore"):  # infinities and NaN equal themselves
        gap = np.abs(a.astype(np.float64) - b) / np.maximum(scale, size)
    gap[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return max(float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0)), float(np.finfo(np.float64).tiny))


def prove(model: AdaptedModel, fitness: Fitness) -> None:
    """Run what states may hide: that they matter at all, and that a sequence's one answer is that of its steps.

    Raises:
        ModelUnusable: they do not, or it is not.

    """
    signature = model.signature
    if not signature.states:
        return
    rows = fitness.min_batch
    inputs = np.stack([_drawn(model, 5, model.draw)[3]] * rows)  # [B, 5, F]
    lengths = np.full(rows, inputs.shape[1], np.int32)
    fresh = {name: np.zeros((rows, *shape), np.float32) for name, shape in model.state_shapes.items()}
    outputs, after = model.run(inputs, lengths, fresh)
    again, later = model.run(inputs, lengths, after)
    called_so = all(one.told == "contract" for one in signature.states)
    same = not called_so and all(np.array_equal(later[name], after[name], equal_nan=True) for name in after)
    if same and np.array_equal(again, outputs, equal_nan=True):
        raise ModelUnusable("self-test: the states change nothing")
    if signature.last:
        whole = model.whole(inputs, fresh)[:, -1]
        if (gap := _gap(whole, outputs[:, -1], axis=None)) > _WRONG:
            raise ModelUnusable(f"self-test: the answer of a sequence differs from that of its steps by {gap:.2g}")
