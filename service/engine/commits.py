"""What a tick came to: committed to the store, then applied to the table, then told.

A commit may be done later: its calls keep their places, and other sessions go on.
"""

import logging
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.engine.call import ALL, Call, Entry, Operation, Piece, Places
from service.engine.calls import Calls, Failure
from service.engine.runner import Advance, Outcome, non_finite
from service.engine.scheduler import Scheduler
from service.errors import CarouselError, CommitUnknown, StoreUnavailable
from service.models.model import Array, Index, State
from service.store.store import Advanced, Change, Conflicts, Opened, Store

if TYPE_CHECKING:
    from service.engine.engine import Engine

_NONE: Conflicts = {}

_log = logging.getLogger("carousel.engine")


@dataclass(slots=True)
class Finished:
    """Rows of a call that have done all their steps. `state` is None where the next one in the list has it."""

    call: Call
    places: Places
    rows: Index  # [n]
    starts: Index  # [n]
    lengths: Index  # [n]
    outputs: Array  # [Σlength, K]
    state: State | None  # [n, …]

    def change(self) -> Change:
        """What is committed of it."""
        call = self.call
        if call.opens is not None:
            return Opened(self.rows.item(0), *call.opens, self.lengths.item(0), self.state)
        inputs = call.steps_of(call.inputs, self.places)
        return Advanced(self.rows, self.starts, self.lengths, inputs, self.outputs, self.state)


class Commits:
    """Run → commit → apply → tell → release. Invariant: nothing is in the table or told before it is committed."""

    def __init__(self, engine: "Engine", store: Store, calls: Calls, scheduler: Scheduler) -> None:
        self._engine, self._store, self._calls, self._scheduler = engine, store, calls, scheduler
        self._table, self._answers = engine.table, engine.answers
        self._pending: set[Entry] = set()  # their commit is under way

    def finish(self, outcome: Outcome) -> None:
        """Commit what a run came to; what is to go on is scheduled, and what failed is told."""
        begin = time.perf_counter()
        finished: list[Finished] = []
        failures: list[Failure] = [(piece.call, piece.index(0), error) for piece, error in outcome.refused]
        for advance in outcome.advances:
            if not advance.piece.call.told:
                self._sort(advance, finished, failures)
        predicts = [one for one in finished if not one.call.commits]
        if predicts:
            self._apply(predicts, _NONE)
        if len(predicts) < len(finished):
            self._commit_steps([one for one in finished if one.call.commits])
        if failures:
            self._calls.fail(failures)
        self._engine.counters.answering.add(time.perf_counter() - begin)

    def operate(self, operation: Operation) -> None:
        """Commit what an operation changes, then let it act."""
        changes = operation.changes() if operation.changes is not None else ()
        if not changes:
            self._calls.acted(operation, None)
            return

        def committed(result: Conflicts | CarouselError) -> None:
            if not isinstance(result, CarouselError):
                self._calls.acted(operation, next(iter(result.values()), None))
            else:
                self._calls.acted(operation, result)

        self._commit(changes, [operation], committed)

    def abort(self, error: CarouselError) -> None:
        """End everything that is accepted unapplied; what is being committed is of unknown outcome."""
        self._calls.abort(lambda entry: CommitUnknown() if entry in self._pending else error)

    def _commit_steps(self, finished: list[Finished]) -> None:
        def committed(result: Conflicts | CarouselError) -> None:
            if isinstance(result, CarouselError):
                result = {row: result for one in finished for row in one.rows.tolist()}
            self._apply(finished, result)

        self._commit([one.change() for one in finished], [one.call for one in finished], committed)

    def _commit(
        self,
        changes: Sequence[Change],
        entries: Sequence[Entry],
        then: Callable[[Conflicts | CarouselError], None],
    ) -> None:
        """Commit changes of entries, `then` go on with the conflicts, or with the error if nothing was written."""
        try:
            pending = self._store.commit(self._engine, changes)
        except Exception as error:
            then(_refusal(error))
            return
        if pending is None:
            then(_NONE)
            return

        def done(future: "Future[Conflicts]") -> None:
            self._pending.difference_update(entries)
            error = None if future.cancelled() else future.exception()
            then(CommitUnknown() if future.cancelled() else _refusal(error) if error else future.result())

        self._pending.update(entries)
        pending.add_done_callback(done)

    def _sort(self, advance: Advance, finished: list[Finished], failures: list[Failure]) -> None:
        """Part the rows of a piece that are done, that go on, and that failed."""
        piece, lengths, outputs, state, good, riders = advance
        if good is not None:
            failures += [(piece.call, piece.index(row), non_finite()) for row in np.flatnonzero(~good).tolist()]
            which = np.flatnonzero(good)
            if not len(which):
                return
            piece, lengths, outputs, state = piece.pick(which), lengths[which], outputs[which], _pick(state, which)
        if riders:
            self._sort_riders(piece, riders, outputs, state, finished)
            return
        _store_outputs(piece, lengths, outputs)
        left = piece.lengths() - lengths
        if not left.any():
            self._add(piece, state, finished)
            return
        rest, ended = np.flatnonzero(left), np.flatnonzero(left == 0)
        self._scheduler.go_on(piece.advanced(rest, lengths.item(rest[0]), _pick(state, rest)))
        if len(ended):
            self._add(piece.pick(ended), _pick(state, ended), finished)

    def _sort_riders(
        self, piece: Piece, riders: Sequence[Call], outputs: Array, state: State, finished: list[Finished]
    ) -> None:
        """A single step and those that ran behind it are done: the last one has the state after all."""
        for depth, call in enumerate([piece.call, *riders]):
            call.outputs = np.ascontiguousarray(outputs[:, depth])
            last = depth == len(riders)
            self._add(Piece(call, ALL, piece.count, 1), state if last else None, finished)

    @staticmethod
    def _add(piece: Piece, state: State | None, finished: list[Finished]) -> None:
        call, places = piece.call, piece.places
        rows, starts, lengths = call.rows[places], call.starts[places], call.lengths[places]
        finished.append(Finished(call, places, rows, starts, lengths, call.steps_of(call.outputs, places), state))

    def _apply(self, finished: list[Finished], conflicts: Conflicts) -> None:
        """Write what was committed to the table, tell the calls that are done, and give up their places."""
        failures: list[Failure] = []
        if conflicts:
            finished = [_without(one, conflicts, failures) for one in finished]
        finished = [one for one in finished if not one.call.told and len(one.rows)]
        for one in finished:
            if one.call.commits:
                self._write(one)
        over = [one.call for one in finished if self._calls.done(one.call, len(one.rows))]
        if failures:
            self._calls.fail(failures)
        self._calls.release(call for call in over if not call.before)

    def _write(self, one: Finished) -> None:
        table, call, rows = self._table, one.call, one.rows
        table.step[rows] = one.starts + one.lengths
        if one.state is not None:
            table.scatter(rows, one.state)
        self._calls.touch(rows)
        if not call.kept or call.digests is None:
            return
        digests = call.digests[one.places]
        if call.each == 1:
            self._answers.keep(rows, one.starts, digests, one.outputs)
        else:
            ends = np.cumsum(one.lengths)[:-1]
            self._answers.keep_long(rows, one.starts, digests, np.split(one.outputs, ends))


def _without(one: Finished, conflicts: Conflicts, failures: list[Failure]) -> Finished:
    """The rows that were written; the others are failures."""
    good = np.array([row not in conflicts for row in one.rows.tolist()])
    places = np.arange(len(one.call.rows))[one.places]
    for place, row in zip(places[~good].tolist(), one.rows[~good].tolist(), strict=True):
        failures.append((one.call, place, conflicts[row]))
    which = np.flatnonzero(good)
    outputs = one.call.steps_of(one.call.outputs, places[which]) if len(which) else one.outputs[:0]
    state = None if one.state is None else _pick(one.state, which)
    return Finished(one.call, places[which], one.rows[which], one.starts[which], one.lengths[which], outputs, state)


def _store_outputs(piece: Piece, lengths: Index, outputs: Array) -> None:
    """Write the outputs [n, T, K] of a piece into those of its call."""
    call, done, width = piece.call, piece.done, outputs.shape[2]
    if call.each and piece.count == len(call.rows) and call.each == lengths.item(0):
        call.outputs = outputs[:, : call.each].reshape(-1, width)
        return
    if len(call.outputs) < len(call.inputs):
        call.outputs = np.empty((len(call.inputs), width), np.float32)
    if call.each:
        steps = lengths.item(0)
        call.outputs.reshape(-1, call.each, width)[piece.places, done : done + steps] = outputs[:, :steps]
        return
    begins = (call.begins()[piece.places] + done).tolist()
    for source, begin, length in zip(outputs, begins, lengths.tolist(), strict=True):
        call.outputs[begin : begin + length] = source[:length]


def _pick(state: State, which: Index) -> State:
    return {name: array[which] for name, array in state.items()}


def _refusal(error: BaseException) -> CarouselError:
    """The error of calls whose commit failed: nothing was written."""
    if isinstance(error, CarouselError):
        return error
    _log.error("a store failed", exc_info=error)
    return StoreUnavailable(f"the store failed: {error}")
