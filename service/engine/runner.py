"""One tick of a model: gather the rows of a batch, run it once, and say what came of each piece.

Nothing of it is written to the table here. It knows pieces, states and the model; not clients or the order of calls.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import CarouselError, InvalidInput, NonFiniteOutput
from service.sessions.table import ZERO, Table, every

if TYPE_CHECKING:
    from service.engine.call import Call, Piece
    from service.engine.statistics import Counters
    from service.models.fitness import Fitness
    from service.models.model import Array, Index, Lengths, Model, State

_IN_A_THREAD = 0.008  # seconds a run may hold the loop; the hop takes 4 % of one of 6 ms (`bench --only frames-32`)
_BUSIEST = 0.25  # of an estimate that was measured while the machine was busy is the truth, at least
_FAR_OFF = 10  # times its estimate: the runs behind a run of so many go to the thread, until one is as estimated
_ONE_STEP: Lengths = np.ones(1, np.int32)
_NAN = "the model answered NaN or Inf; the state did not move"

_log = logging.getLogger("carousel.runner")


class Advance(NamedTuple):
    """What a run gave for a piece: n rows. Behind a row's own steps, outputs mean nothing."""

    piece: Piece
    lengths: Index  # [n] steps that were run
    outputs: Array  # [n, T, K]
    state: State  # [n, …] after them
    good: NDArray[np.bool_] | None  # [n] rows that are finite; None: all are
    riders: Sequence[Call] = ()  # their steps are the second, third … of each row


@dataclass(slots=True)
class Outcome:
    """What came of a batch: of each piece, or of each of its rows."""

    advances: list[Advance] = field(default_factory=list)
    refused: list[tuple[Piece, CarouselError]] = field(default_factory=list)  # of one row each


class Runner:
    """Runs batches of one model over the rows of its table."""

    def __init__(self, model: Model, fitness: Fitness, table: Table, counters: Counters, *, chunk: int) -> None:
        self.model, self._fitness, self._table, self._counters = model, fitness, table, counters
        self._chunk = chunk
        self._pace = 1.0  # of the estimates: what the fastest run took
        self._is_slow = False  # the last run took far longer than its estimate: the next one leaves the loop free

    async def run(self, batch: list[Piece], riders: list[list[Call]]) -> Outcome:
        """Advance each row of a batch by at most a chunk, and by the steps of its riders.

        A batch that fails as a whole is run row by row without riders, since a graph may refuse a value: what fails
        alone is refused. Where a row is not finite, riders do not run.

        Raises:
            Exception: the model fails on zeros too.

        """
        lengths = self._lengths(batch, riders)
        inputs = self._inputs(batch, riders, lengths)
        try:
            outputs, state = await self._execute(batch, inputs, lengths)
        except Exception as error:
            _log.warning("a run of %d rows failed: %s", len(lengths), error)
            return await self._row_by_row(batch)
        good = None if _finite(outputs, state) else _finite_rows(outputs, lengths, state)
        if good is not None and any(riders):
            return await self.run(batch, [[] for _ in batch])  # steps before the one that is not finite are applied
        whole = Advance(batch[0], lengths, outputs, state, good, riders[0])
        return Outcome([whole] if len(batch) == 1 else _split(whole, batch, riders))

    def run_alone(self, row: int, inputs: Array) -> tuple[Array, State] | None:
        """Run one step [1, F] of a session, on the loop and without copies → outputs [1, K] and state [1, …].

        None: it has to go the usual way.
        """
        if self._fitness.min_batch > 1 or self._in_a_thread(1, 1):
            return None
        state = {name: array[row : row + 1] for name, array in self._table.state.items()}
        begin = time.perf_counter()
        try:
            outputs, after = self._ask(inputs[None], _ONE_STEP, state)
        except Exception:
            return None  # `run` finds out what is wrong
        self._counters.tick(1, 1, 1, time.perf_counter() - begin)
        return (outputs[0], after) if _finite(outputs, after) else None

    async def _row_by_row(self, batch: list[Piece]) -> Outcome:
        """Run each row by itself; all of them before any is applied."""
        outcome = Outcome()
        for piece in batch:
            for index in range(piece.count):
                alone = piece.pick(np.array([index])) if piece.count > 1 else piece
                lengths = self._lengths([alone], [[]])
                try:
                    outputs, state = await self._execute([alone], self._inputs([alone], [[]], lengths), lengths)
                except Exception as error:
                    self._probe()
                    outcome.refused.append((alone, InvalidInput(f"the model refuses these values: {error}")))
                else:
                    good = None if _finite(outputs, state) else _finite_rows(outputs, lengths, state)
                    outcome.advances.append(Advance(alone, lengths, outputs, state, good))
        return outcome

    def _probe(self) -> None:
        """Raise if the model does not even run on zeros."""
        count = self._fitness.min_batch
        zeros = np.zeros((count, 1, self.model.features), np.float32)
        self._ask(zeros, np.ones(count, np.int32), self._table.gather(np.full(count, ZERO)))

    def _lengths(self, batch: list[Piece], riders: list[list[Call]]) -> Index:
        """Steps that each row advances, [B]."""
        steps = [min(piece.left, self._chunk) + len(mine) for piece, mine in zip(batch, riders, strict=True)]
        if len(batch) == 1:
            return np.full(batch[0].count, steps[0])
        return np.repeat(steps, [piece.count for piece in batch])

    def _inputs(self, batch: list[Piece], riders: list[list[Call]], lengths: Index) -> Array:
        """The steps of all rows, padded with zeros: [B, T, F]."""
        call, steps, width = batch[0].call, int(lengths.max()), self.model.features
        if len(batch) == 1 and call.each == steps and batch[0].count == len(call.rows):
            return call.inputs.reshape(-1, steps, width)
        inputs, first = np.zeros((len(lengths), steps, width), np.float32), 0
        for piece, mine in zip(batch, riders, strict=True):
            rows, left = inputs[first : first + piece.count], min(piece.left, self._chunk)
            steps_of_call = piece.call.inputs.reshape(-1, piece.call.each, width)
            rows[:, :left] = steps_of_call[piece.places, piece.done : piece.done + left]
            for depth, rider in enumerate(mine, 1):
                rows[:, depth] = rider.inputs
            first += piece.count
        return inputs

    def _state(self, batch: list[Piece]) -> State:
        """The states from which the rows go on, [B, …]."""
        if len(batch) > 1 and all(piece.state is None for piece in batch):
            return self._table.gather(np.concatenate([piece.call.rows[piece.places] for piece in batch]))
        parts = [piece.state or self._table.gather(piece.call.rows[piece.places]) for piece in batch]
        return parts[0] if len(parts) == 1 else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    async def _execute(self, batch: list[Piece], inputs: Array, lengths: Index) -> tuple[Array, State]:
        """One run → outputs [B, T, K] and states [B, …]. Rows are repeated where the model needs more of them."""
        state, told = self._state(batch), lengths.astype(np.int32)
        if (lack := self._fitness.min_batch - len(told)) > 0:
            repeated = np.resize(np.arange(len(told)), len(told) + lack)
            inputs, told = inputs[repeated], told[repeated]
            state = {name: array[repeated] for name, array in state.items()}
        if self._in_a_thread(*inputs.shape[:2]):
            outputs, after, seconds, cpu = await asyncio.to_thread(self._timed, inputs, told, state)
        else:
            begin = time.perf_counter()
            outputs, after = self._ask(inputs, told, state)
            seconds = cpu = time.perf_counter() - begin
        estimate = self._fitness.seconds(*inputs.shape[:2])
        self._is_slow = cpu > max(_IN_A_THREAD, _FAR_OFF * estimate)
        if cpu < self._pace * estimate:
            self._pace = max(_BUSIEST, cpu / estimate)
        count = len(lengths)
        self._counters.tick(count, int(lengths.sum()), inputs.shape[1], seconds)
        if lack > 0:
            return outputs[:count], {name: array[:count] for name, array in after.items()}
        return outputs, after

    def _in_a_thread(self, rows: int, steps: int) -> bool:
        slow = self._fitness.in_thread or self._is_slow
        return slow or self._pace * self._fitness.seconds(rows, steps) > _IN_A_THREAD

    def _timed(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State, float, float]:
        """Run the model in a thread → also seconds, and CPU seconds: on a busy machine a model is not slow."""
        begin, cpu = time.perf_counter(), time.thread_time()
        outputs, after = self._ask(inputs, lengths, state)
        return outputs, after, time.perf_counter() - begin, time.thread_time() - cpu

    def _ask(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """Run the model; an answer of another shape is a failure before anything of it is applied."""
        outputs, after = self.model.run(inputs, lengths, state)
        if outputs.shape != (*inputs.shape[:2], self.model.outputs) or any(
            after[name].shape != array.shape for name, array in state.items()
        ):
            raise ValueError("the model answered in another shape than it declares")
        return outputs, after


def non_finite() -> NonFiniteOutput:
    """The error of a row whose outputs or state are not finite."""
    return NonFiniteOutput(_NAN)


def _split(whole: Advance, batch: list[Piece], riders: list[list[Call]]) -> list[Advance]:
    """What a run gave for a batch, piece by piece."""
    _, lengths, outputs, state, good, _ = whole
    shares, first = [], 0
    for piece, mine in zip(batch, riders, strict=True):
        rows = slice(first, first + piece.count)
        first += piece.count
        own = {name: array[rows] for name, array in state.items()}
        flags = None if good is None or every(good[rows]) else good[rows]
        shares.append(Advance(piece, lengths[rows], outputs[rows], own, flags, mine))
    return shares


def _finite(outputs: Array, state: State) -> bool:
    """Whether all of it is finite, padding included."""
    return every(np.isfinite(outputs)) and all(every(np.isfinite(array)) for array in state.values())


def _finite_rows(outputs: Array, lengths: Index, state: State) -> NDArray[np.bool_] | None:
    """Of each row, whether its outputs within its length and its state are finite, [B]; None: all are."""
    inside = np.arange(outputs.shape[1]) < lengths[:, None]  # [B, T]
    good: NDArray[np.bool_] = np.all(np.isfinite(outputs).all(axis=2) | ~inside, axis=1)
    for array in state.values():
        good &= np.isfinite(array).reshape(len(good), -1).all(axis=1)
    return None if every(good) else good
