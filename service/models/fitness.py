"""Self-test and measured policy of a model."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import ModelUnusable
from service.models.model import Array, Model, State

BATCHES, CHUNKS = (8, 16, 32, 64, 128, 256, 512, 1024), (8, 16, 32, 64)
_OWN = 0.00036  # seconds that a tick itself takes, beside the model's run (`python -m bench --only many-S-1024`)
_NEARLY = 0.9  # of the best throughput: what comes above costs latency for nothing
_SHORT = 0.025  # seconds; no tick is longer, unless the shortest one is
_ROUNDS = 3


@dataclass(frozen=True)
class Policy:
    """The most rows of a tick, the most time steps of one row in it, and the most of all together, padding included."""

    batch: int
    chunk: int
    steps: int


def measured(
    model: Model,
    *,
    batch: int | None = None,
    chunk: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Policy:
    """The policy for a model; what is given is taken.

    Of the batches of one step, and of the chunks of eight rows: the least that has nearly the best throughput.
    """

    def seconds(rows: int, steps: int) -> float:
        return _OWN + _seconds(model, rows, steps, clock)

    batch = batch or _least(BATCHES, lambda rows: rows, lambda rows: seconds(rows, 1))
    chunk = chunk or _least(CHUNKS, lambda steps: 8 * steps, lambda steps: seconds(8, steps))
    full = seconds(8, chunk) / (8 * chunk)  # of a step in company
    return Policy(batch, chunk, max(batch, chunk, min(batch * chunk, int(_SHORT / full))))


def _least(sizes: Sequence[int], work: Callable[[int], int], seconds: Callable[[int], float]) -> int:
    """The least size that does nearly as much work a second as the best of those that do not take too long."""
    rates: dict[int, float] = {}
    for size in sizes:
        took = seconds(size)
        if rates and took > _SHORT:
            break
        rates[size] = work(size) / took
    return min(size for size, rate in rates.items() if rate >= _NEARLY * max(rates.values()))


def _seconds(model: Model, rows: int, steps: int, clock: Callable[[], float]) -> float:
    inputs = np.ones((rows, steps, model.features), np.float32)
    state = {name: np.zeros((rows, *shape), np.float32) for name, shape in model.state_shapes.items()}
    lengths = np.full(rows, steps, np.int32)
    took = []
    for _ in range(_ROUNDS):
        begin = clock()
        model.run(inputs, lengths, state)
        took.append(clock() - begin)
    return min(took)


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
