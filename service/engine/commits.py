"""Results of a batch: committed to the store, then written to the table, then told.

A commit may be done later: its calls stay in the order, and other sessions go on.
"""

from __future__ import annotations

import logging
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from service.engine.call import ALL, Call, Entry, Onward, Operation, Piece
from service.engine.finished import Finished, Writes, pick, without
from service.engine.runner import Advance, Outcome, non_finite
from service.errors import CarouselError, CommitUnknown, StoreUnavailable
from service.store.store import Snapped

if TYPE_CHECKING:
    from service.engine.calls import Calls
    from service.engine.engine import Engine
    from service.engine.failures import Failure
    from service.engine.scheduler import Scheduler
    from service.models.model import Array, State
    from service.store.store import Change, Conflicts, Store

_NONE: Conflicts = {}

_log = logging.getLogger("carousel.engine")


class Commits:
    """Run → commit → apply → tell → release. Invariant: nothing is in the table or told before it is committed."""

    def __init__(self, engine: Engine, store: Store, calls: Calls, scheduler: Scheduler) -> None:
        self._engine, self._store, self._calls, self._scheduler = engine, store, calls, scheduler
        self._writes = Writes(engine.table, engine.answers, calls.touch)

    def finish(self, outcome: Outcome) -> None:
        """Commit the rows that are done, schedule those that have steps left, and tell the failed ones."""
        begin = time.perf_counter()
        finished: list[Finished] = []
        failures: list[Failure] = [(piece.call, piece.index(0), error) for piece, error in outcome.refused]
        for advance in outcome.advances:
            if not advance.piece.call.told:
                self._sort(advance, finished, failures)
        predicts = [one for one in finished if not one.call.commits]
        if predicts:
            for one in predicts:
                if isinstance(one.call, Onward):
                    one.call.state = one.state and {name: array.copy() for name, array in one.state.items()}
            self._apply(predicts, _NONE)
        if len(predicts) < len(finished):
            self._commit_steps([one for one in finished if one.call.commits])
        if failures:
            self._calls.failures.fail(failures)
        self._engine.counters.answering.add(time.perf_counter() - begin)

    def finish_alone(self, call: Call, state: State) -> None:
        """Commit a step that was run at once, since the engine was idle; then as `finish`."""
        begin = time.perf_counter()
        one = Finished(call, ALL, call.rows, call.starts, call.lengths, call.outputs, state)
        try:
            pending = self._store.commit(self._engine, [one.change()])
        except Exception as error:
            self._calls.failures.fail([(call, 0, _refusal(error))])
            return
        if pending is None:
            self._writes.one(one)
            self._calls.done(call, 1)
            took = time.perf_counter() - begin
            self._engine.counters.answering.add(took)
            self._engine.counters.tell(1, took)
        else:
            self._calls.enter(call)
            self._follow(pending, [call], partial(self._settle, [one], ()))

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
        self._calls.abort(lambda entry: CommitUnknown() if entry.pending else error)
        self._engine.reruns.abort(error)

    def _commit_steps(self, finished: list[Finished]) -> None:
        snapshots = self._snapshots(finished) if self._engine.rewinds.rows else []
        changes: list[Change] = [one.change() for one in finished]
        self._commit([*changes, *snapshots], [one.call for one in finished], partial(self._settle, finished, snapshots))

    def _settle(
        self, finished: list[Finished], snapshots: Sequence[Snapped], result: Conflicts | CarouselError
    ) -> None:
        """A commit of steps is done: with conflicts, or with the error of all of them."""
        if isinstance(result, CarouselError):
            result = {row: result for one in finished for row in one.rows.tolist()}
        for one in snapshots:
            if one.row not in result:
                self._engine.rewinds.take(*one)
        self._apply(finished, result)

    def _snapshots(self, finished: list[Finished]) -> list[Snapped]:
        """The snapshots that are due after these rows. Such a row has one call in a batch: see `Engine.go_on`."""
        due = self._engine.rewinds.due
        return [
            Snapped(row, start + length, pick(one.state, np.array([place])))
            for one in finished
            if one.state is not None
            for place, (row, start, length) in enumerate(
                zip(one.rows.tolist(), one.starts.tolist(), one.lengths.tolist(), strict=True)
            )
            if due(row, start, start + length)
        ]

    def _commit(
        self,
        changes: Sequence[Change],
        entries: Sequence[Entry],
        then: Callable[[Conflicts | CarouselError], None],
    ) -> None:
        """Commit changes of entries; call `then` with the conflicts, or with the error if nothing was written."""
        try:
            pending = self._store.commit(self._engine, changes)
        except Exception as error:
            then(_refusal(error))
            return
        if pending is None:
            then(_NONE)
        else:
            self._follow(pending, entries, then)

    def _follow(
        self,
        pending: Future[Conflicts],
        entries: Sequence[Entry],
        then: Callable[[Conflicts | CarouselError], None],
    ) -> None:
        """Go on when a commit of entries is done."""

        def done(future: Future[Conflicts]) -> None:
            for entry in entries:
                entry.pending -= 1
            error = None if future.cancelled() else future.exception()
            try:
                then(CommitUnknown() if future.cancelled() else _refusal(error) if error else future.result())
            except Exception as defect:
                self._engine.die(defect)

        for entry in entries:
            entry.pending += 1
        pending.add_done_callback(done)

    def _sort(self, advance: Advance, finished: list[Finished], failures: list[Failure]) -> None:
        """Part the rows of a piece that are done, that go on, and that failed."""
        piece, lengths, outputs, state, good, riders = advance
        if good is not None:
            failures += [(piece.call, piece.index(row), non_finite()) for row in np.flatnonzero(~good).tolist()]
            which = np.flatnonzero(good)
            if not len(which):
                return
            piece, lengths, outputs, state = piece.pick(which), lengths[which], outputs[which], pick(state, which)
        if riders:
            self._sort_riders(piece, riders, outputs, state, finished)
            return
        steps = lengths.item(0)
        _store_outputs(piece, steps, outputs)
        if steps == piece.left:
            self._add(piece, state, finished)
        else:
            self._scheduler.go_on(Piece(piece.call, piece.places, piece.count, piece.done + steps, state))

    def _sort_riders(
        self, piece: Piece, riders: Sequence[Call], outputs: Array, state: State, finished: list[Finished]
    ) -> None:
        """A single step and those that ran behind it are done: the last one has the state after them all."""
        for depth, call in enumerate([piece.call, *riders]):
            call.outputs = np.ascontiguousarray(outputs[:, depth])
            last = depth == len(riders)
            self._add(Piece(call, ALL, piece.count), state if last else None, finished, depth)

    @staticmethod
    def _add(piece: Piece, state: State | None, finished: list[Finished], depth: int = 0) -> None:
        call, places = piece.call, piece.places
        rows, starts, lengths = call.rows[places], call.starts[places], call.lengths[places]
        finished.append(
            Finished(call, places, rows, starts, lengths, call.steps_of(call.outputs, places), state, depth)
        )

    def _apply(self, finished: list[Finished], conflicts: Conflicts) -> None:
        """Write what was committed to the table, tell the calls that are done, and give up their places."""
        failures: list[Failure] = []
        if conflicts:
            finished = [without(one, conflicts, failures) for one in finished]
        finished = [one for one in finished if not one.call.told and len(one.rows)]
        self._writes.all([one for one in finished if one.call.commits])
        over = [one.call for one in finished if self._calls.done(one.call, len(one.rows))]
        if failures:
            self._calls.failures.fail(failures)
        self._calls.release(call for call in over if not call.before)


def _store_outputs(piece: Piece, steps: int, outputs: Array) -> None:
    """Write the outputs [n, T, K] of so many steps of a piece into those of its call."""
    call, done, width = piece.call, piece.done, outputs.shape[2]
    if steps == call.each and piece.count == len(call.rows):
        call.outputs = outputs[:, :steps].reshape(-1, width)
        return
    if len(call.outputs) < len(call.inputs):
        call.outputs = np.empty((len(call.inputs), width), np.float32)
    call.outputs.reshape(-1, call.each, width)[piece.places, done : done + steps] = outputs[:, :steps]


def _refusal(error: BaseException) -> CarouselError:
    """The error of calls whose commit failed: nothing was written."""
    if isinstance(error, CarouselError):
        return error
    _log.error("a store failed", exc_info=error)
    return StoreUnavailable(f"the store failed: {error}")
