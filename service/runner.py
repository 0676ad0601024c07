"""One tick: gather the rows of a batch, run the model once, scatter what it gave.

It knows works, rows and the model; not queues, callers or the order of calls.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from service.bundle import Batch, Bundle, Part, Places, joined
from service.errors import CarouselError, InvalidInput, NonFiniteOutput
from service.models.fitness import Fitness
from service.models.model import Array, Index, Lengths, Model, State
from service.rows import ZERO, Rows, finite
from service.statistics import Tally
from service.work import One
from service.works import Works

_IN_A_THREAD = 0.008  # seconds a run may hold the loop; the hop takes 4 % of one of 6 ms (`bench --only frames-32`)
_ONE = np.ones(1, np.int32)
WHOLE = 2**31 - 1  # a model that cannot be stepped gets its sequence whole

_log = logging.getLogger("carousel.runner")


@dataclass(slots=True)
class Outcome:
    """What became of each work of a batch."""

    ended: list[list[Part]]  # round by round, and their state is in place
    going_on: list[Part]
    refused: list[tuple[int, CarouselError]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Run:
    """A batch as the model gets it: B works, each with so many steps of its own."""

    parts: list[Part]
    rows: Index  # [B] of the running states
    lengths: Index  # [B]
    last: bool  # this is what is left of each
    inputs: Array  # [min_batch or more, T, F]

    def pieces(self) -> Iterator[tuple[Part, slice]]:
        """Where in the batch each part lies."""
        first = 0
        for part in self.parts:
            yield part, slice(first, first + len(part.ids))
            first += len(part.ids)


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

    async def run(self, batch: Batch) -> Outcome:
        """Advance each row by all rounds, or each work by what is left of it, at most one chunk.

        A batch that fails as a whole (a third party's graph may refuse a value) is run without its later rounds, and
        then row by row, and the rows that fail alone too are refused.

        Raises:
            Exception: the model fails on zeros too; nothing of the batch was applied.

        """
        if len(batch) > 1 and (outcome := await self._together(batch)) is not None:
            return outcome
        parts = batch[0].parts
        run = self._assemble(parts)
        try:
            return self._apply(run, *await self._execute(run))
        except Exception as error:
            _log.warning("a run of %d rows failed: %s", len(run.rows), error)
        ids = batch[0].ids
        alive = ids[self._works.alive(ids)]
        alone = [self._assemble(self._works.parts(alive[index : index + 1])) for index in range(len(alive))]
        results = [await self._alone(one) for one in alone]  # all of them before any is applied
        outcomes = [self._settle(one, result) for one, result in zip(alone, results, strict=True)]
        return Outcome(
            [[part for one in outcomes for parts in one.ended for part in parts]],
            [part for one in outcomes for part in one.going_on],
            [pair for one in outcomes for pair in one.refused],
        )

    def alone(self, call: One) -> Array | None:
        """Advance the session of a call by its one step, without a batch → outputs [1, K].

        None: it has to go the usual way, which knows of threads, company and errors; nothing was applied.
        """
        if self._fitness.min_batch > 1 or self._fitness.seconds(1, 1) > _IN_A_THREAD:
            return None
        begin, mine = time.perf_counter(), slice(call.row, call.row + 1)
        try:
            state = {name: array[mine] for name, array in self._rows.state.items()}
            outputs, after = self._ask(call.inputs[None], _ONE, state)
        except Exception:
            return None
        if not _finite(outputs, after):
            return None
        for name, array in after.items():
            self._rows.state[name][mine] = array
        self._tally.queued.add(0.0)
        self._tally.tick(1, 1, 1, time.perf_counter() - begin)
        answer: Array = outputs[0]
        return answer

    async def _together(self, batch: Batch) -> Outcome | None:
        """Run all rounds at once. None: somebody in it is not as he should be, and nothing was applied."""
        heads = batch[0].parts
        rows = joined([bundle.row[places] for bundle, places, _ in heads])
        inputs, lengths = np.zeros((len(rows), len(batch), self._model.features), np.float32), np.zeros(len(rows), int)
        for step, (where, parts) in enumerate(batch):
            inputs[where, step] = joined([bundle.inputs[places] for bundle, places, _ in parts])
            lengths[where] += 1
        run = _Run(heads, rows, lengths, True, self._in_company(inputs))
        self._queued(chain.from_iterable(parts for _, parts in batch))
        try:
            outputs, state = await self._execute(run)
        except Exception as error:
            _log.warning("a run of %d rows failed: %s", len(rows), error)
            return None
        ended = self._works.suspect and not all(self._works.unhurt(part) for _, parts in batch for part in parts)
        if ended or not (_finite(outputs, state) or _good(outputs, lengths, state).all()):
            return None
        for step, (where, parts) in enumerate(batch):
            first, given = 0, outputs[where, step]
            for bundle, places, ids in parts:
                bundle.outputs[places] = given[first : first + len(ids)]
                first += len(ids)
        for (bundle, places, _), piece in run.pieces():
            self._put(bundle, places, {name: array[piece] for name, array in state.items()})
        return Outcome([parts for _, parts in batch], [])

    async def _alone(self, run: _Run) -> tuple[Array, State] | InvalidInput:
        try:
            return await self._execute(run)
        except Exception as error:
            self._probe()
            return InvalidInput(f"the model refuses these values: {error}")

    def _settle(self, run: _Run, result: tuple[Array, State] | InvalidInput) -> Outcome:
        if isinstance(result, InvalidInput):
            [part] = run.parts
            alive = part.ids[self._works.alive(part.ids)]
            return Outcome([], [], [(work, result) for work in alive.tolist()])
        return self._apply(run, *result)

    def _probe(self) -> None:
        """Raise if the model does not even run on zeros."""
        zeros = np.zeros((self._fitness.min_batch, 1, self._model.features), np.float32)
        self._ask(zeros, np.ones(len(zeros), np.int32), self._rows.gather([ZERO] * len(zeros)))

    async def _execute(self, run: _Run) -> tuple[Array, State]:
        """One run over the batch → outputs [B, T, K], next state [B, …]. Where it runs is decided here alone."""
        count, rows, lengths = len(run.rows), run.rows, run.lengths.astype(np.int32)
        if count < len(run.inputs):
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

    def _assemble(self, parts: list[Part]) -> _Run:
        """Inputs padded with zeros to the longest of the works."""
        self._queued(parts)
        rows = joined([bundle.row[places] for bundle, places, _ in parts])
        lengths = joined([bundle.ahead(places) for bundle, places, _ in parts])
        each = parts[0].bundle.each if len(parts) == 1 and parts[0].bundle.done is None else 0
        longest = each or int(lengths.max())
        last = longest <= self._chunk
        if not last:
            lengths, longest = np.minimum(lengths, self._chunk), self._chunk
        pieces, first = [], 0
        for bundle, places, ids in parts:
            pieces.append(bundle.read(places, lengths[first : first + len(ids)], longest))
            first += len(ids)
        return _Run(parts, rows, lengths, last, self._in_company(joined(pieces)))

    def _in_company(self, inputs: Array) -> Array:
        """As many rows as the model must have: a lone one is repeated."""
        return joined([inputs, *[inputs[:1]] * (self._fitness.min_batch - len(inputs))])

    def _queued(self, parts: Iterable[Part]) -> None:
        now = self._clock()
        for bundle, _, ids in parts:
            self._tally.queued.add(now - bundle.arrived, len(ids))

    def _apply(self, run: _Run, outputs: Array, state: State) -> Outcome:
        """Write back what a run gave, except to works that ended meanwhile and rows that are not finite."""
        refused: list[tuple[int, CarouselError]] = []
        if self._works.suspect or not _finite(outputs, state):
            run, outputs, state, refused = self._sift(run, outputs, state)
        going_on: list[Part] = []
        ended: list[Part] = []
        for part, piece in run.pieces():
            bundle, places, _ = part
            lengths, after = run.lengths[piece], {name: array[piece] for name, array in state.items()}
            bundle.write(places, lengths, outputs[piece])
            if run.last:
                self._put(bundle, places, after)
                ended.append(part)
            else:
                self._advance(part, lengths, after, ended, going_on)
        return Outcome([ended], going_on, refused)

    def _advance(self, part: Part, lengths: Index, state: State, ended: list[Part], going_on: list[Part]) -> None:
        """Steps of works are done, of some the last ones: those go back to their sessions' rows."""
        bundle, places, ids = part
        bundle.move(places, lengths)
        last = bundle.ahead(places) == 0
        where = np.arange(len(bundle.rows))[places]
        for place in where[~last & (bundle.row[where] == bundle.rows[where])].tolist():
            bundle.own(place, self._rows.allocate())
        for which, told in ((last, ended), (~last, going_on)):
            if which.any():
                told.append(Part(bundle, where[which], ids[which]))
        self._rows.scatter(bundle.row[where[~last]], {name: array[~last] for name, array in state.items()})
        self._put(bundle, where[last], {name: array[last] for name, array in state.items()})

    def _sift(
        self, run: _Run, outputs: Array, state: State
    ) -> tuple[_Run, Array, State, list[tuple[int, CarouselError]]]:
        """Take out the works that ended meanwhile, and refuse those that are not finite."""
        ids = joined([part.ids for part in run.parts])
        alive, good = self._works.alive(ids), _good(outputs, run.lengths, state)
        error = "the model answered NaN or Inf; the state did not move"
        refused: list[tuple[int, CarouselError]] = [
            (work, NonFiniteOutput(error)) for work in ids[alive & ~good].tolist()
        ]
        (picked,) = (alive & good).nonzero()
        parts = self._works.parts(ids[picked]) if len(picked) else []
        run = replace(run, parts=parts, rows=run.rows[picked], lengths=run.lengths[picked])
        return run, outputs[picked], {name: array[picked] for name, array in state.items()}, refused

    def _put(self, bundle: Bundle, places: Places, state: State) -> None:
        """Write states to their sessions; nobody wants that of a predict."""
        if not bundle.stateless:
            self._rows.scatter(bundle.rows[places], state)


def _finite(outputs: Array, state: State) -> bool:
    """Whether all of it is, padding included."""
    return finite(outputs) and all(map(finite, state.values()))


def _good(outputs: Array, lengths: Index, state: State) -> NDArray[np.bool_]:
    """Of each row, whether all outputs within its length and all of its state are finite → [B]."""
    inside = np.arange(outputs.shape[1]) < lengths[:, None]  # [B, T]
    good: NDArray[np.bool_] = np.all(np.isfinite(outputs).all(axis=2) | ~inside, axis=1)
    for array in state.values():
        good &= np.isfinite(array).reshape(len(good), -1).all(axis=1)
    return good
