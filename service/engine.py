"""The engine of one model version: owns its queue, its state rows and its loop; the only concurrency of the service.

It knows calls, sessions and a model; not HTTP, sockets or files. Everything but `run` is called on the loop's thread,
so there is one owner and no lock.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from service.admission import Admission
from service.errors import ShuttingDown
from service.gate import Gate
from service.lifetimes import Lifetimes
from service.models.fitness import Fitness
from service.models.model import Array, Model
from service.queue import Queue
from service.replay import Answers
from service.reply import Reply, settles
from service.rows import ZERO, Rows
from service.runner import WHOLE, Runner
from service.scheduler import Scheduler
from service.sessions import Session, Sessions
from service.statistics import EngineStatistics, Tally
from service.ticks import Ticks
from service.work import UNCHECKED, Answer, Call, One, Patience

_log = logging.getLogger("carousel.engine")


class Engine:
    """Advances rows. Invariants: a row is in a batch at most once; work of one session runs in order; accepted work
    runs even if its caller left (abandoned predicts are dropped when they are popped); a bad row poisons nobody.
    """

    def __init__(
        self,
        model: Model,
        fitness: Fitness,
        sessions: Sessions,
        gate: Gate,
        *,
        name: str = "model",
        version: str = "1",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model, self.fitness, self.name, self.version = model, fitness, name, version
        self.rows = Rows(model.state_shapes)
        self.answers = Answers(self.rows, model.outputs, sessions.budget)
        self.gate, self._tally = gate, Tally()
        self.admission = Admission(
            gate, self.rows, sessions, self._tally, model=model, fitness=fitness, name=f"{name}/{version}"
        )
        policy = fitness.policy if fitness.streamable else replace(fitness.policy, chunk=WHOLE)
        scheduler = Scheduler(policy)
        sizes = {"features": model.features, "outputs": model.outputs}
        self._queue = Queue(self.rows, self.answers, gate, scheduler, tally=self._tally, clock=clock, **sizes)
        self.lifetimes = Lifetimes(self, sessions, self._queue, self.admission)
        runner = Runner(model, fitness, self.rows, self._queue.works, self._tally, chunk=policy.chunk, clock=clock)
        self._ticks = Ticks(self._queue, runner, self._tally)

    def __repr__(self) -> str:
        return f"<Engine {self.name}/{self.version}: {self._queue!r}, {self.rows!r}>"

    # What callers do: checked and queued at once, in the order of the calls; the awaiting comes after.

    def submit(self, call: Call) -> None:
        """Accept a call whose rows are all different, or all ZERO; its steps are checked before the next tick.

        Raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed: it was not accepted.

        """
        self.admission.admit_call(call)
        self._queue.add(call)

    def predict(self, sequences: Sequence[Array], deadline: float | None = None) -> "asyncio.Future[list[Array]]":
        """Accept sequences [T, F] → to await: outputs [T, K] of each, from the zero state; all of them or an error.

        What did not run when the answer is cancelled does not.

        Raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed: it was not accepted.

        """
        answer: Reply[list[Array]] = Reply(loop=asyncio.get_running_loop())
        if len(sequences) == 1:
            tell = settles(answer, lambda call: [call.outputs])
            call: Call = One(ZERO, None, sequences[0], tell, Patience.until(deadline))
        else:
            lengths = np.array([len(one) for one in sequences], np.int64)
            ends = np.cumsum(lengths)[:-1]
            tell = settles(answer, lambda call: np.split(call.outputs, ends))
            rows, asked = np.full(len(lengths), ZERO, np.int64), np.full(len(lengths), UNCHECKED, np.int64)
            call = Call(rows, lengths, asked, np.concatenate(sequences), tell, Patience.until(deadline))
        self.admission.counted(self.submit, call)
        answer.add_done_callback(lambda done: self._queue.abandon(call) if done.cancelled() else None)
        return answer

    def step(
        self, session: Session, inputs: Array, step: int | None = None, deadline: float | None = None
    ) -> Reply[Answer]:
        """Accept a call on a session: inputs [T, F], `step` the index of the first of them → the answer to await.

        Raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed, NotStreamable: it was not accepted. Awaited:
            StepConflict: `step` is neither the next one nor a kept call's.

        """
        self.admission.streamable()
        answer: Reply[Answer] = Reply(loop=asyncio.get_running_loop())
        call = One(session.row, step, inputs, settles(answer, One.only), patience=Patience.until(deadline))
        self.admission.counted(self.submit, call)
        answer.hurry = self._hurry
        return answer

    def accept(
        self, session: Session, inputs: Array, step: int | None, patience: Patience | None
    ) -> "asyncio.Future[Answer]":
        """What `step` does, for one of many calls that were admitted together in this turn of the loop."""
        answer: Reply[Answer] = Reply(loop=asyncio.get_running_loop())
        self._queue.add(One(session.row, step, inputs, settles(answer, One.only), patience=patience))
        return answer

    def settle(self) -> None:
        """Decide on what has arrived, so that `ahead` counts it."""
        self._queue.settle()

    async def freed(self) -> None:
        """Return when something that was accepted has left."""
        self._queue.freed.clear()
        await self._queue.freed.wait()

    async def drained(self) -> None:
        """Return when no accepted work is left."""
        while len(self._queue):
            await self.freed()

    def abort(self) -> None:
        """Fail what is not done in the time there was to drain; nothing of it is applied."""
        self._queue.abort(ShuttingDown())

    def statistics(self) -> EngineStatistics:
        """A frozen view."""
        return self._tally.frozen(self.gate, alive=self.admission.dead is None)

    async def run(self) -> None:
        """Run what is accepted; until cancelled, or until the model itself fails: then every waiter is told."""
        try:
            await self._ticks.run()
        except Exception as error:
            self._die(error)

    def _hurry(self) -> None:
        try:
            self._ticks.hurry()
        except Exception as error:
            self._die(error)

    def _die(self, error: Exception) -> None:
        """Whatever it was, nobody may wait for a dead engine."""
        _log.error("engine %s/%s died", self.name, self.version, exc_info=error)
        self.admission.dead = error
        self._queue.abort(self.admission.failure())
