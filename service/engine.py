"""The engine of one model version: owns its queue, its state rows and its loop; the only concurrency of the service.

It knows works, sessions and a model; not HTTP, sockets or files. Everything but `run` is called on the loop's thread,
so there is one owner and no lock.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service.errors import EngineFailed, NotStreamable, Overloaded, PayloadTooLarge, ShuttingDown
from service.gate import Gate
from service.model import Model
from service.queue import Queue, future
from service.replay import digest_of
from service.rows import Array, Rows, State
from service.runner import Runner
from service.selftest import Fitness
from service.sessions import Session, Sessions
from service.statistics import EngineStatistics
from service.work import Answer, Call, Work

CHUNK = 32  # time steps of a row in one tick
BATCH = 64  # rows in one tick
_TURNS = 3  # of the loop between ticks: sockets are read, their calls begin, and are accepted; so the next batch fills
PENDING = 1024  # calls that may wait on one session

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
        chunk: int = CHUNK,
        batch: int = BATCH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model, self.fitness, self.name, self.version = model, fitness, name, version
        self.rows = Rows(model.state_shapes)
        self.dead: Exception | None = None
        self.gate, self._sessions = gate, sessions
        steps = None if fitness.streamable else batch * chunk
        self._queue = Queue(self.rows, sessions, gate, outputs=model.outputs, batch=batch, steps=steps, clock=clock)
        self._runner = Runner(model, fitness, self.rows, chunk=chunk)

    def __repr__(self) -> str:
        return f"<Engine {self.name}/{self.version}: {self._queue!r}, {self.rows!r}>"

    # What callers do: checked and queued at once, in the order of the calls; the awaiting comes after.

    async def predict(self, sequences: Sequence[Array], deadline: float | None = None) -> list[Array]:
        """Outputs [T, K] of each of the sequences [T, F], each from the zero state; all of them or an error."""
        self.admit(sequences)
        call = Call(deadline)
        self._queue.predict(call, sequences)
        answers = asyncio.gather(*(work.answer for work in call.works))
        try:
            return [answer.outputs for answer in await answers]
        except BaseException:
            for work in call.works:
                work.answer.cancel()
            raise

    def step(
        self, session: Session, inputs: Array, step: int | None = None, deadline: float | None = None
    ) -> Awaitable[Answer]:
        """Accept a call on a session: inputs [T, F], `step` the index of the first of them → the answer to await.

        Raises:
            StepConflict: `step` is neither the next one nor a kept call's.
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed, NotStreamable: it was not accepted.

        """
        self.admit([inputs], [session])
        return self.accept(session, inputs, step, Call(deadline))

    def accept(
        self, session: Session, inputs: Array, step: int | None = None, call: Call | None = None
    ) -> Awaitable[Answer]:
        """What `step` does, for one of many in a call that was admitted as a whole in this turn of the loop."""
        self.streamable()
        digest = digest_of(inputs)
        repeated = session.repeated(step, len(inputs), digest)
        self._sessions.touch(session)
        if isinstance(repeated, Work):
            self._queue.join(repeated.call, call.deadline if call else None)
            return asyncio.shield(repeated.answer)
        if repeated is not None:
            answer = future()
            answer.set_result(Answer(repeated.outputs, repeated.start + repeated.steps))
            return answer
        work = self._queue.step(session, inputs, call or Call(), checked=step is not None, digest=digest)
        return asyncio.shield(work)

    async def open(
        self, id: str | None, ttl: float, history: Array | None = None, deadline: float | None = None
    ) -> Session:
        """A new session; 201 comes after its history [T, F] ran, and if that fails there is no session."""
        if history is None:
            return self.open_now(id, ttl)
        self.streamable()
        self.admit([history])
        session = self._sessions.create(id, self.name, self.version, self.rows, ttl)
        answer = self._queue.step(session, history, Call(deadline), kept=False)
        answer.add_done_callback(self._takes_back(session))
        await asyncio.shield(answer)
        return session

    def open_now(self, id: str | None, ttl: float) -> Session:
        """A new session at step 0, at once."""
        self.streamable()
        self.admit([])
        session = self._sessions.create(id, self.name, self.version, self.rows, ttl)
        self._sessions.opened(session)
        return session

    def take_back(self, session: Session, deadline: float) -> None:
        """Undo an opening of which no step was applied, if nobody has called on the session since its idle clock stood
        at `deadline`.
        """
        unused = not session.step and not session.pending and session.deadline == deadline
        if unused and self._sessions.find(session.id) is session:
            self._sessions.delete(session)

    def fork(self, session: Session, id: str | None) -> Awaitable[Session]:
        """A new session with a copy of state, step, version and TTL, once the accepted work is done."""
        self.admit([], [session])
        copy = self._sessions.create(id, self.name, self.version, self.rows, session.ttl)

        def act() -> Session:
            self.rows.scatter([copy.row], self.rows.gather([session.row]))
            copy.step = copy.ahead = session.step
            self._sessions.touch(session)
            self._sessions.opened(copy)
            return copy

        turn = self._queue.turn(session, act)
        turn.add_done_callback(self._takes_back(copy))
        return asyncio.shield(turn)

    def delete(self, session: Session) -> Awaitable[None]:
        """Forget the session once the accepted work is done; from now on nobody finds it."""
        self.admit([], [session])
        session.ending = self._queue.turn(session, lambda: self._sessions.delete(session))
        return asyncio.shield(session.ending)

    def read(self, session: Session) -> Awaitable[tuple[int, State]]:
        """Its step and a copy of its state, [1, …] each, once the accepted work is done."""
        self.admit([], [session])
        return asyncio.shield(self._queue.turn(session, lambda: (session.step, self.rows.gather([session.row]))))

    def replace(self, session: Session, step: int, state: State) -> Awaitable[Session]:
        """Set step and state [1, …] once the accepted work is done; its kept answers are forgotten."""
        self.admit([], [session])

        def act() -> Session:
            self._sessions.replays.forget(session)
            self.rows.scatter([session.row], state)
            session.step = step
            self._sessions.touch(session)
            return session

        return asyncio.shield(self._queue.turn(session, act, step_after=step))

    def restore(self, id: str, ttl: float, step: int, state: State) -> Session:
        """A new session at `step` with `state` [1, …]."""
        session = self.open_now(id, ttl)
        self.rows.scatter([session.row], state)
        session.step = session.ahead = step
        return session

    async def drained(self) -> None:
        """Return when no accepted work is left."""
        while waiting := self._queue.futures():
            await asyncio.wait(waiting)

    def statistics(self) -> EngineStatistics:
        """A frozen view."""
        return self._runner.tally.frozen(self.gate, alive=self.dead is None)

    # The loop.

    async def run(self) -> None:
        """Schedule, run, apply; until cancelled, or until the model itself fails: then every waiter is told."""
        try:
            while True:
                if not await self._tick():
                    await self._queue.ready.wait()
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
        except Exception as error:  # whatever it was, nobody may wait for a dead engine
            _log.error("engine %s/%s died", self.name, self.version, exc_info=error)
            self.dead = error
            self._queue.abort(self._failure())

    async def _tick(self) -> bool:
        """Run the next batch and settle what became of each work; False if there was none.

        `ended` is the unit that a durable store will commit, before any of its works is answered.
        """
        batch = self._queue.next_batch()
        if not batch:
            return False
        ended, going_on, refused = await self._runner.run(batch)
        for work in going_on:
            self._queue.goes_on(work)
        for work in ended:
            self._queue.finish(work)
        for work, error in refused:
            self._queue.fail([work], error)
        return True

    # The door.

    def admit(self, inputs: Sequence[Array], calls: Sequence[Session | str] = (), *, opening: int = 0) -> None:
        """Refuse at the door, all or nothing: room for these inputs [T, F], for the calls on these sessions (or ids of
        new ones) and for `opening` more sessions.

        Raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed: nothing was accepted.

        """
        if self.dead is not None:
            raise self._failure()
        size = sum(one.nbytes + 4 * len(one) * self.model.outputs for one in inputs)
        waiting_steps = self.gate.bytes / (4 * (self.model.features + self.model.outputs))
        self.gate.check(len(inputs), size, retry_after=waiting_steps * self.fitness.seconds_per_step)
        for session, count in Counter(calls).items():
            if count > PENDING:
                raise PayloadTooLarge(f"{count} calls on one session at once; at most {PENDING} can wait")
            if isinstance(session, Session) and len(session.pending) + count > PENDING:
                raise Overloaded(f"{len(session.pending)} calls wait on session {session.id!r} already")
        if opening and not self._sessions.room(opening, self.rows.row_bytes):
            raise Overloaded(f"the session table has no room for {opening} more")

    async def room(self, inputs: Array, calls: Sequence[Session] = ()) -> None:
        """Return when `admit` would not answer that it is overloaded: how a stream is held back instead of refused."""
        while True:
            try:
                return self.admit([inputs], calls)
            except Overloaded:
                self._queue.freed.clear()
                await self._queue.freed.wait()

    def streamable(self) -> None:
        """Raise NotStreamable if the model needs the whole sequence."""
        if not self.fitness.streamable:
            raise NotStreamable(f"{self.name}/{self.version} needs the whole sequence")

    def abort(self) -> None:
        """Fail what is not done in the time there was to drain; nothing of it is applied."""
        self._queue.abort(ShuttingDown())

    def _failure(self) -> EngineFailed:
        return EngineFailed(f"the engine of {self.name}/{self.version} died: {self.dead}")

    def _takes_back(self, session: Session) -> "Callable[[asyncio.Future[Any]], None]":
        """What to do when the first work of a hidden session is done: forget it, if the work failed."""

        def done(future: "asyncio.Future[Any]") -> None:
            if future.exception() is not None:
                self._sessions.delete(session)

        return done


async def vacant(sessions: Sessions, id: str) -> None:
    """Wait until a delete of that id that was accepted before is done: what follows comes after it."""
    while (session := sessions.find(id)) is not None and session.ending is not None:
        await asyncio.wait([session.ending])
