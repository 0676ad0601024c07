"""One tick: gather the rows of a batch, run the model once, scatter what it gave.

It knows works, rows and the model; not queues, callers or the order of calls.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import CarouselError, InvalidInput, NonFiniteOutput
from service.model import Lengths, Model
from service.rows import ZERO, Array, Rows, State
from service.selftest import Fitness
from service.statistics import Tally
from service.work import Work

_IN_A_THREAD = 0.005  # seconds a run may hold the loop; a longer one is worth the hop

_log = logging.getLogger("carousel.runner")


class Outcome(NamedTuple):
    """What became of each work of a batch; `ended` are also those that nobody waits for any more."""

    ended: list[Work]
    going_on: list[Work]
    refused: list[tuple[Work, CarouselError]]


class Runner:
    """Runs batches of one model over its state rows."""

    def __init__(self, model: Model, fitness: Fitness, rows: Rows, *, chunk: int) -> None:
        self._model, self._fitness, self._rows = model, fitness, rows
        self._chunk = (
            chunk if fitness.streamable else 2**31 - 1
        )  # a model that cannot be stepped gets its sequence whole
        self.tally = Tally()

    async def run(self, batch: list[Work]) -> Outcome:
        """Advance each work by what is left of it, at most one chunk.

        A batch that fails as a whole (a third party's graph may refuse a value) is run row by row, and the rows that
        fail alone too are refused.

        Raises:
            Exception: the model fails on zeros too; nothing of the batch was applied.

        """
        try:
            return self._apply(batch, *await self._execute(batch))
        except Exception as error:
            _log.warning("a run of %d rows failed: %s", len(batch), error)
        results = [await self._alone(work) for work in batch]  # all of them before any is applied
        outcomes = [self._settle(work, result) for work, result in zip(batch, results, strict=True)]
        return Outcome(
            [work for one in outcomes for work in one.ended],
            [work for one in outcomes for work in one.going_on],
            [pair for one in outcomes for pair in one.refused],
        )

    async def _alone(self, work: Work) -> tuple[Array, State] | InvalidInput:
        try:
            return await self._execute([work])
        except Exception as error:
            self._probe()
            return InvalidInput(f"the model refuses these values: {error}")

    def _settle(self, work: Work, result: tuple[Array, State] | InvalidInput) -> Outcome:
        if isinstance(result, InvalidInput):
            return Outcome([], [], [(work, result)])
        return self._apply([work], *result)

    def _probe(self) -> None:
        """Raise if the model does not even run on zeros."""
        zeros = np.zeros((self._fitness.min_batch, 1, self._model.features), np.float32)
        self._ask(zeros, np.ones(len(zeros), np.int32), self._rows.gather([ZERO] * len(zeros)))

    async def _execute(self, batch: list[Work]) -> tuple[Array, State]:
        """One run over the batch → outputs [B, T, K], next state [B, …]. Where it runs is decided here alone."""
        inputs, lengths, rows = self._assemble(batch)
        state = self._rows.gather(rows)
        begin = time.perf_counter()
        if self._fitness.seconds(*inputs.shape[:2]) > _IN_A_THREAD:
            outputs, after = await asyncio.to_thread(self._ask, inputs, lengths, state)
        else:
            outputs, after = self._ask(inputs, lengths, state)
        self.tally.tick(len(batch), int(lengths[: len(batch)].sum()), inputs.shape[1], time.perf_counter() - begin)
        return outputs, after

    def _ask(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """Run the model; an answer of another shape is a failure before anything of it is applied."""
        outputs, after = self._model.run(inputs, lengths, state)
        if outputs.shape != (*inputs.shape[:2], self._model.outputs) or any(
            after[name].shape != array.shape for name, array in state.items()
        ):
            raise ValueError("the model answered in another shape than it declares")
        return outputs, after

    def _assemble(self, batch: list[Work]) -> tuple[Array, Lengths, list[int]]:
        """Inputs [B, T, F] padded with zeros, lengths [B] and rows; a lone row is repeated where the model needs it."""
        batch = batch + batch[:1] * (self._fitness.min_batch - len(batch))
        lengths = self._lengths(batch)
        inputs = np.zeros((len(batch), int(lengths.max()), self._model.features), np.float32)
        for target, work, length in zip(inputs, batch, lengths, strict=True):
            target[:length] = work.inputs[work.done : work.done + length]
        return inputs, lengths, [work.row for work in batch]

    def _apply(self, batch: list[Work], outputs: Array, state: State) -> Outcome:
        """Write back what a run gave, except to the rows whose outputs or state are not finite."""
        outcome = Outcome([], [], [])
        lengths = self._lengths(batch)
        finite = _finite(outputs[: len(batch)], lengths, state)
        targets: dict[int, int] = {}  # row of the table → row of the batch
        for index, (work, length) in enumerate(zip(batch, lengths, strict=True)):
            if work.answer.done():  # its caller left, or it was aborted, while it ran: its row may be another's now
                outcome.ended.append(work)
                continue
            if not finite[index]:
                error = NonFiniteOutput("the model answered NaN or Inf; the state did not move")
                outcome.refused.append((work, error))
                continue
            work.outputs[work.done : work.done + length] = outputs[index, :length]
            work.done += int(length)
            (outcome.ended if work.done == work.steps else outcome.going_on).append(work)
            row = self._target(work)
            if row != ZERO:  # ZERO: a predict that ended, whose state nobody wants
                targets[row] = index
        if targets:
            picked = list(targets.values())
            self._rows.scatter(list(targets), {name: array[picked] for name, array in state.items()})
        return outcome

    def _target(self, work: Work) -> int:
        """Where its state goes: the session's row with the last chunk, a row of its own before."""
        if work.done == work.steps:
            return work.session.row if work.session else ZERO
        if not work.owns_row:
            work.row = self._rows.allocate()
        return work.row

    def _lengths(self, batch: Sequence[Work]) -> Lengths:
        return np.array([min(self._chunk, work.steps - work.done) for work in batch], np.int32)


def _finite(outputs: Array, lengths: Lengths, state: State) -> NDArray[np.bool_]:
    """Of each row, whether all outputs within its length and all of its state are finite → [B]."""
    inside = np.arange(outputs.shape[1]) < lengths[:, None]  # [B, T]
    good: NDArray[np.bool_] = np.all(np.isfinite(outputs).all(axis=2) | ~inside, axis=1)
    for array in state.values():
        good &= np.isfinite(array[: len(good)]).reshape(len(good), -1).all(axis=1)
    return good
