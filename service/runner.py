"""One tick: gather the rows of a batch, run the model once, scatter what it gave.

It knows works, rows and the model; not queues, callers or the order of calls.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.bundle import Works
from service.errors import CarouselError, InvalidInput, NonFiniteOutput
from service.model import Lengths, Model
from service.rows import ZERO, Array, Index, Rows, State, finite
from service.selftest import Fitness
from service.statistics import Tally

_IN_A_THREAD = 0.005  # seconds a run may hold the loop; a longer one is worth the hop
WHOLE = 2**31 - 1  # a model that cannot be stepped gets its sequence whole

_log = logging.getLogger("carousel.runner")


@dataclass(slots=True)
class Outcome:
    """What became of each work of a batch."""

    ended: Index  # and their state is in place
    going_on: Index
    refused: list[tuple[int, CarouselError]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Run:
    """A batch as the model gets it: B works, each with so many steps of its own, from `at` on in its bundle."""

    ids: Index  # [B]
    lengths: Index  # [B]
    at: Index  # [B]
    last: bool  # this is what is left of each
    inputs: Array  # [min_batch or more, T, F]


class Runner:
    """Runs batches of one model over its state rows."""

    def __init__(
        self,
        model: Model,
        fitness: Fitness,
        rows: Rows,
        works: Works,
        tally: Tally,
        *,
        chunk: int,
        clock: Callable[[], float],
    ) -> None:
        self._model, self._fitness, self._rows, self._works = model, fitness, rows, works
        self._tally, self._chunk, self._clock = tally, chunk, clock

    async def run(self, ids: Index) -> Outcome:
        """Advance each work by what is left of it, at most one chunk.

        A batch that fails as a whole (a third party's graph may refuse a value) is run row by row, and the rows that
        fail alone too are refused.

        Raises:
            Exception: the model fails on zeros too; nothing of the batch was applied.

        """
        run = self._assemble(ids)
        try:
            return self._apply(run, *await self._execute(run))
        except Exception as error:
            _log.warning("a run of %d rows failed: %s", len(ids), error)
        alive = ids[self._works.alive(ids)]
        alone = [self._assemble(alive[index : index + 1]) for index in range(len(alive))]
        results = [await self._alone(one) for one in alone]  # all of them before any is applied
        outcomes = [self._settle(one, result) for one, result in zip(alone, results, strict=True)]
        return Outcome(
            np.concatenate([ids[:0], *(one.ended for one in outcomes)]),
            np.concatenate([ids[:0], *(one.going_on for one in outcomes)]),
            [pair for one in outcomes for pair in one.refused],
        )

    async def _alone(self, run: _Run) -> tuple[Array, State] | InvalidInput:
        try:
            return await self._execute(run)
        except Exception as error:
            self._probe()
            return InvalidInput(f"the model refuses these values: {error}")

    def _settle(self, run: _Run, result: tuple[Array, State] | InvalidInput) -> Outcome:
        if isinstance(result, InvalidInput):
            alive = run.ids[self._works.alive(run.ids)]
            return Outcome(run.ids[:0], run.ids[:0], [(work, result) for work in alive.tolist()])
        return self._apply(run, *result)

    def _probe(self) -> None:
        """Raise if the model does not even run on zeros."""
        zeros = np.zeros((self._fitness.min_batch, 1, self._model.features), np.float32)
        self._ask(zeros, np.ones(len(zeros), np.int32), self._rows.gather([ZERO] * len(zeros)))

    async def _execute(self, run: _Run) -> tuple[Array, State]:
        """One run over the batch → outputs [B, T, K], next state [B, …]. Where it runs is decided here alone."""
        count = len(run.ids)
        rows, lengths = self._works.row[run.ids], run.lengths.astype(np.int32)
        if count < len(run.inputs):  # a lone row is repeated where the model needs it
            rows, lengths = np.resize(rows, len(run.inputs)), np.resize(lengths, len(run.inputs))
        state = self._rows.gather(rows)
        begin = time.perf_counter()
        if self._fitness.seconds(*run.inputs.shape[:2]) > _IN_A_THREAD:
            outputs, after = await asyncio.to_thread(self._ask, run.inputs, lengths, state)
        else:
            outputs, after = self._ask(run.inputs, lengths, state)
        self._tally.tick(count, int(run.lengths.sum()), run.inputs.shape[1], time.perf_counter() - begin)
        if count < len(outputs):
            return outputs[:count], {name: array[:count] for name, array in after.items()}
        return outputs, after

    def _ask(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """Run the model; an answer of another shape is a failure before anything of it is applied."""
        outputs, after = self._model.run(inputs, lengths, state)
        if outputs.shape != (*inputs.shape[:2], self._model.outputs) or any(
            after[name].shape != array.shape for name, array in state.items()
        ):
            raise ValueError("the model answered in another shape than it declares")
        return outputs, after

    def _assemble(self, ids: Index) -> _Run:
        """Inputs padded with zeros to the longest of the works."""
        works = self._works
        done = works.done[ids]
        lengths, at = works.steps[ids] - done, works.at[ids] + done
        longest, rows = int(lengths.max()), max(len(ids), self._fitness.min_batch)
        last, single = longest <= self._chunk, longest == 1
        if not last:
            lengths, longest = np.minimum(lengths, self._chunk), self._chunk
        inputs = (np.empty if single else np.zeros)((rows, longest, self._model.features), np.float32)
        now = self._clock()
        for bundle, part in works.by_bundle(ids):
            self._tally.queued.add(now - bundle.arrived, part.stop - part.start)
            if single:
                bundle.inputs.take(at[part], axis=0, out=inputs[part, 0], mode="clip")
                continue
            spans = zip(inputs[part], at[part].tolist(), lengths[part].tolist(), strict=True)
            for target, first, length in spans:
                target[:length] = bundle.inputs[first : first + length]
        if rows > len(ids):
            inputs[len(ids) :] = inputs[0]
        return _Run(ids, lengths, at, last, inputs)

    def _apply(self, run: _Run, outputs: Array, state: State) -> Outcome:
        """Write back what a run gave, except to works that ended meanwhile and rows that are not finite."""
        works, refused = self._works, list[tuple[int, CarouselError]]()
        if works.suspect or not (finite(outputs) and all(map(finite, state.values()))):
            run, outputs, state, refused = self._sift(run, outputs, state)
        ids = run.ids
        if len(ids):
            self._answer(run, outputs)
        if run.last:
            self._put(works.session[ids], state)
            return Outcome(ids, ids[:0], refused)
        works.done[ids] += run.lengths
        last = works.done[ids] == works.steps[ids]
        for work in ids[~last & (works.row[ids] == works.session[ids])].tolist():
            works.row[work] = self._rows.allocate()
        ended = ids[last]
        self._put(np.where(last, works.session[ids], works.row[ids]), state)
        return Outcome(ended, ids[~last], refused)

    def _sift(
        self, run: _Run, outputs: Array, state: State
    ) -> tuple[_Run, Array, State, list[tuple[int, CarouselError]]]:
        """Take out the works that ended meanwhile, and refuse those that are not finite."""
        alive, good = self._works.alive(run.ids), _good(outputs, run.lengths, state)
        error = "the model answered NaN or Inf; the state did not move"
        refused: list[tuple[int, CarouselError]] = [
            (work, NonFiniteOutput(error)) for work in run.ids[alive & ~good].tolist()
        ]
        (picked,) = (alive & good).nonzero()
        run = _Run(run.ids[picked], run.lengths[picked], run.at[picked], run.last, run.inputs)
        return run, outputs[picked], {name: array[picked] for name, array in state.items()}, refused

    def _answer(self, run: _Run, outputs: Array) -> None:
        single = outputs.shape[1] == 1
        for bundle, part in self._works.by_bundle(run.ids):
            if single:
                bundle.outputs[run.at[part]] = outputs[part, 0]
                continue
            spans = zip(outputs[part], run.at[part].tolist(), run.lengths[part].tolist(), strict=True)
            for source, first, length in spans:
                bundle.outputs[first : first + length] = source[:length]

    def _put(self, rows: Index, state: State) -> None:
        """Write the states to their rows; ZERO: a predict that ended, whose state nobody wants."""
        if rows.all():
            self._rows.scatter(rows, state)
        elif rows.any():
            kept = np.flatnonzero(rows)
            self._rows.scatter(rows[kept], {name: array[kept] for name, array in state.items()})


def _good(outputs: Array, lengths: Index, state: State) -> NDArray[np.bool_]:
    """Of each row, whether all outputs within its length and all of its state are finite → [B]."""
    inside = np.arange(outputs.shape[1]) < lengths[:, None]  # [B, T]
    good: NDArray[np.bool_] = np.all(np.isfinite(outputs).all(axis=2) | ~inside, axis=1)
    for array in state.values():
        good &= np.isfinite(array).reshape(len(good), -1).all(axis=1)
    return good
