"""What a model is examined for when it is loaded: that rows do not influence each other and that a step is a step.

It knows the Model protocol and two sizes; not files, sessions or queues.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import ModelUnusable
from service.model import Model
from service.policy import Policy
from service.rows import Array, State

_POLICY = Policy(batch=64, chunk=32, steps=2048)
_WRONG = 1e-3  # a relative deviation above this is no rounding: the file is refused


@dataclass(frozen=True)
class Fitness:
    """What the examination found."""

    streamable: bool  # stepping equals the whole sequence
    tolerance: float  # largest relative deviation seen; 0.0 is bit for bit
    min_batch: int  # the fewest rows a run may have: the plain RNN node computes a lone row differently
    seconds_per_step: float  # of one row in a full batch of whole chunks
    seconds_alone: float = 0.0  # of a step of one row, where nothing is shared
    policy: Policy = _POLICY  # by which it was examined

    def seconds(self, rows: int, steps: int) -> float:
        """About how long a run takes."""
        return max(steps * self.seconds_alone, rows * steps * self.seconds_per_step)

    @property
    def bit_equal(self) -> bool:
        """Batched, chunked and stepped equal alone and whole, bit for bit."""
        return self.tolerance == 0.0


def examine(model: Model, policy: Policy) -> Fitness:
    """Run the model alone and in company, whole and stepped, and compare.

    Raises:
        ModelUnusable: rows of one batch change each other, or state is carried and stepping is not the whole.

    """
    chunk, batch = policy.chunk, min(policy.batch, max(1, policy.steps // policy.chunk))
    compared: dict[int, dict[str, float]] = {}
    for min_batch in (1, 2):
        compared[min_batch] = _compare(model, chunk, min_batch)
        if max(compared[min_batch].values()) == 0.0:
            break
    else:
        min_batch = 1  # company does not make it exact
    for way, deviation in compared[min_batch].items():
        if deviation > _WRONG:
            raise ModelUnusable(f"self-test: a sequence {way} differs from the same one alone by {deviation:.2g}")
    tolerance = max(compared[min_batch].values())
    return Fitness(
        "stepped" in compared[min_batch],
        tolerance,
        min_batch,
        _seconds_per_step(model, chunk, batch),
        _seconds_per_step(model, chunk, min_batch) * min_batch,
        policy,
    )


def _compare(model: Model, chunk: int, min_batch: int) -> dict[str, float]:
    """By how much sequences run in each way deviate from each alone and whole; only the ways that the model is for."""
    sequences = list(_sequences(model.features, chunk))
    whole = max(len(sequence) for sequence in sequences)
    ways: dict[str, int] = {"stepped": 1, "in chunks": chunk, "in a batch": whole}
    alone = [_advance(model, [sequence], whole, min_batch)[0] for sequence in sequences]
    seen = {way: _deviation(alone, _advance(model, sequences, size, min_batch)) for way, size in ways.items()}
    streamable = bool(model.state_shapes) or max(seen["stepped"], seen["in chunks"]) <= _WRONG
    return seen if streamable else {"in a batch": seen["in a batch"]}


def _sequences(features: int, chunk: int) -> Iterator[Array]:
    rng = np.random.default_rng(0)
    for index, length in enumerate((1, 2, 3, 5, chunk - 1, chunk, chunk + 1, 2 * chunk + 3, 1)):
        values = rng.uniform(0, 3, (max(1, length), features))
        yield (values if index % 2 else values.round()).astype(np.float32)  # real numbers, and codes


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
        for row, index in enumerate(rows):
            outputs[index].append(output[row, : lengths[row]])
            states[index] = {name: array[row] for name, array in after.items()}
    return [(np.concatenate(one), state) for one, state in zip(outputs, states, strict=True)]


def _deviation(alone: list[tuple[Array, State]], other: list[tuple[Array, State]]) -> float:
    """The largest |a − b| / max(1, |a|) over outputs and states; 0.0 only where all bits agree."""
    worst = 0.0
    for (left, left_state), (right, right_state) in zip(alone, other, strict=True):
        pairs = [(left, right), *((left_state[name], right_state[name]) for name in left_state)]
        for a, b in pairs:
            if a.tobytes() == b.tobytes():
                continue
            with np.errstate(invalid="ignore"):  # infinities and NaN are compared like other values
                gap = np.abs(a.astype(np.float64) - b) / np.maximum(1.0, np.abs(a))
            gap[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
            worst = max(worst, float(np.nan_to_num(gap, nan=np.inf).max()), np.finfo(np.float64).tiny)
    return worst


def _seconds_per_step(model: Model, chunk: int, batch: int) -> float:
    inputs = np.ones((batch, chunk, model.features), np.float32)
    state = {name: np.zeros((batch, *shape), np.float32) for name, shape in model.state_shapes.items()}
    lengths = np.full(batch, chunk, np.int32)
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        model.run(inputs, lengths, state)
        took.append(time.perf_counter() - begin)
    return min(took) / (batch * chunk)
