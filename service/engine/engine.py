"""The engine of one model version: owns its loop, its table and its calls; the only concurrency of the service.

It knows calls, sessions, a model and a store; not HTTP, sockets or files. Everything but `run` is called on the loop's
thread, so there is one owner and no lock.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from service.engine.acceptance import Acceptance
from service.engine.admission import Admission, Bounds
from service.engine.call import Deadline
from service.engine.calls import Calls
from service.engine.commits import Commits
from service.engine.forecasts import Forecasts
from service.engine.lifecycle import Lifecycle
from service.engine.migrations import Migrations
from service.engine.operations import Operations
from service.engine.reruns import Reruns
from service.engine.runner import Runner
from service.engine.scheduler import Scheduler
from service.engine.statistics import Counters, EngineStatistics
from service.errors import CarouselError, ShuttingDown
from service.models.model import NoModel
from service.sessions.digests import Digester
from service.sessions.replay import Answers
from service.sessions.snapshots import Rewinds
from service.sessions.table import Table

if TYPE_CHECKING:
    from service.engine.call import Call, Operation, Piece
    from service.engine.shadow import Shadow
    from service.models.fitness import Fitness
    from service.models.model import Model
    from service.sessions.sessions import Sessions
    from service.store.store import Store

_TURNS = 3  # of the loop before a tick, at most: what comes while others are read goes with them
_WHOLE = 2**31 - 1  # steps of a chunk where the model needs the whole sequence

_log = logging.getLogger("carousel.engine")


class Engine:
    """Advances sessions. Invariants: a row is in a batch at most once; calls of one session run in order; accepted
    calls run even if their client left (abandoned predicts are dropped when popped); a bad row harms no other.
    """

    def __init__(
        self,
        model: Model,
        fitness: Fitness,
        sessions: Sessions,
        store: Store,
        bounds: Bounds,
        *,
        name: str = "model",
        version: str = "1",
        digest: str = "",
        refusal: CarouselError | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model, self.fitness, self.name, self.version = model, fitness, name, version
        self.digest, self.refusal = digest, refusal  # of the model's file; why its sessions cannot be called
        self.table = Table(model.state_shapes)
        self.answers = Answers(self.table, model.outputs, sessions.budget)
        self.rewinds = Rewinds()
        self.counters, self._clock = Counters(), clock
        self.admission = Admission(
            bounds, self.table, sessions, self.counters, model=model, fitness=fitness, name=f"{name}/{version}"
        )
        policy = fitness.policy if fitness.streamable else replace(fitness.policy, chunk=_WHOLE)
        self._scheduler = Scheduler(policy)
        self.reruns = Reruns(sessions, self, self.go_on)
        parts = self.table, self.admission, self._scheduler
        self.calls = Calls(*parts, reruns=self.reruns, clock=clock, operate=self._operate)
        self._acceptance = Acceptance(self.calls, self.table, self.answers, Digester(model.features))
        self._runner = Runner(model, fitness, self.table, self.counters, chunk=policy.chunk)
        self._commits = Commits(self, store, self.calls, self._scheduler)
        self.operations = Operations(sessions, self.operate)
        self.lifecycle, self.forecasts = Lifecycle(self, sessions), Forecasts(self)
        self.migrations = Migrations(self, sessions)
        self.shadow: Shadow | None = None
        self._resting = False  # nothing runs, and nothing is ready

    def __repr__(self) -> str:
        return f"<Engine {self.name}/{self.version}: {self.calls!r}, {self.table!r}>"

    # What doors call.

    def submit(self, call: Call, *, held: bool = False) -> None:
        """Accept a call, all of it. It may be told before this returns: a repeated call, or a step that conflicts.

        `held`: room was held for it until now, see Admission.

        Raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed: nothing of it was accepted.

        """
        self.admission.check_call(call, held=held)
        if self.shadow is not None and call.state is None:
            self.shadow.watch(call)
        self.go_on(call)

    def go_on(self, call: Call) -> None:
        """Accept a call that goes on with work that was accepted, also while the service drains."""
        if self.rewinds.rows and call.deadline is None and not self.rewinds.rows.keys().isdisjoint(call.rows.tolist()):
            call.deadline = Deadline(math.inf)  # what has a deadline runs in no tick of another: its state is needed
        self._acceptance.accept(call)

    def operate(self, operation: Operation) -> None:
        """Accept an operation: `lifecycle` makes them."""
        self.calls.operate(operation)

    def abandon(self, call: Call) -> None:
        """The client of a predict has left: what of it did not run does not."""
        self.calls.abandon(call)

    def run_alone(self, call: Call) -> bool:
        """Run a call at once, if it is one plain step and nothing runs: it needs no batch → whether it was accepted.

        If not, submit it. For calls that came alone: what comes together runs faster in one batch.
        """
        if not self._resting or self.shadow or not self.admission.room() or call.rows.item(0) in self.rewinds.rows:
            return False
        if not self._acceptance.alone(call):
            return False
        try:
            found = self._runner.run_alone(call.rows.item(0), call.inputs)
            if found is None:
                return False
            call.outputs, state = found
            self.counters.queued.add(0.0)
            self._commits.finish_alone(call, state)
        except Exception as error:
            self.die(error)
            return call.told
        return True

    async def freed(self) -> None:
        """Return when something that was accepted has left."""
        self.calls.freed.clear()
        await self.calls.freed.wait()

    async def drained(self) -> None:
        """Return when everything that was accepted has ended."""
        while not self.calls.idle:
            await self.freed()

    def sleep(self) -> None:
        """Give the model's memory back. No call may come until `wake`: `refusal` tells sessions why."""
        self.model = self._runner.model = NoModel(self.model)

    def close(self) -> None:
        """Give all memory back: no session lives in it, and a call that comes yet is told to come again.

        Parts that refer to each other are taken apart: the collector may not look at them for days.
        """
        self.admission.closed = True
        self.sleep()
        self.answers.close()
        self.table.close()
        self.calls.close()
        self.reruns.close()
        del self.lifecycle, self.operations, self.forecasts, self.migrations, self._commits

    def wake(self, model: Model) -> None:
        """Serve again, by the same file."""
        self.model = self._runner.model = model
        self.refusal = None

    def abort(self, error: CarouselError | None = None) -> None:
        """End what is left unapplied."""
        self._commits.abort(error or ShuttingDown())

    def statistics(self) -> EngineStatistics:
        """A frozen view."""
        alive = self.admission.dead is None
        return self.counters.frozen(alive=alive, rows=self.admission.rows, size=self.admission.size)

    # The loop.

    async def run(self) -> None:
        """Run what is accepted, until cancelled or until the model fails on zeros too: then every client is told."""
        try:
            while True:
                self._resting = not self.calls.ready.is_set()
                await self.calls.ready.wait()
                self._resting = False
                await self._gathered()
                await self._tick()
        except Exception as error:
            self.die(error)

    def die(self, error: Exception) -> None:
        """End everything unapplied, and accept nothing more: what happened is a defect."""
        _log.error("engine %s/%s died", self.name, self.version, exc_info=error)
        self.admission.dead = error
        self.abort(self.admission.failure())

    async def _gathered(self) -> None:
        """Return when a turn of the loop has brought nothing more, or after so many."""
        for _ in range(_TURNS):
            seen = self.admission.rows
            await asyncio.sleep(0)
            if self.admission.rows == seen:
                return

    async def _tick(self) -> None:
        """Run the next batch, commit and apply what came of it, and tell the calls that are done."""
        batch = self._scheduler.next_batch()
        if not batch:
            self.calls.ready.clear()
            return
        if self.calls.deadlines:
            self.calls.deadlines.take(piece.call for piece in batch)
        batch = [piece for piece in batch if not piece.call.told]
        if batch:
            riders = self._scheduler.riders(batch)
            self._count_queued(batch, riders)
            outcome = await self._runner.run(batch, riders)
            self._commits.finish(outcome)

    def _count_queued(self, batch: list[Piece], riders: list[list[Call]]) -> None:
        now = self._clock()
        for piece, mine in zip(batch, riders, strict=True):
            for call in (piece.call, *mine):
                self.counters.queued.add(now - call.arrived, piece.count)

    def _operate(self, operation: Operation) -> None:
        self._commits.operate(operation)
