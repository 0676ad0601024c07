"""An engine over the RunningSum fake, with its parts; when it stops it is looked at for leaks."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from service.engine import Engine
from service.gate import Gate
from service.models.fitness import Fitness, Policy
from service.models.model import State
from service.replay import Budget, Digester
from service.reply import Reply
from service.sessions import Session, Sessions
from service.work import Answer, Call
from tests.fakes import FakeClock, RunningSum, column, until
from tests.service.works import call, idle, outcome

TTL = 60.0

Serve = Callable[..., "Serving"]
Item = tuple[Session, Sequence[float], int | None]  # of a call of many rows: the step of the first value, if named


class Serving:
    """What a test calls: an engine with its parts. Work may be queued before `start`, to be sure of what meets."""

    def __init__(
        self,
        model: RunningSum | None = None,
        *,
        chunk: int = 4,
        batch: int = 8,
        in_a_thread: bool = False,
        fitness: Fitness | None = None,
        **bounds: int,
    ) -> None:
        limits = {"most": 100, "most_bytes": 10**6, "most_rows": 100, "queue_bytes": 10**6, "replay": 4} | bounds
        self.model, self.clock = model or RunningSum(), FakeClock()
        budget = Budget(each=limits["replay"], most_bytes=10**6)
        self.sessions = Sessions(budget, most=limits["most"], most_bytes=limits["most_bytes"], clock=self.clock)
        self.gate = Gate(most_rows=limits["most_rows"], most_bytes=limits["queue_bytes"])
        found = fitness or Fitness(True, 0.0, 1, seconds_per_step=1.0 if in_a_thread else 0.0)
        found = replace(found, policy=Policy(batch, chunk, batch * chunk))
        self.engine = Engine(self.model, found, self.sessions, self.gate, clock=self.clock)
        self.lifetimes = self.engine.lifetimes
        self.loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Let the engine run."""
        self.loop = asyncio.create_task(self.engine.run())

    async def stop(self) -> None:
        """Let what was accepted end, stop the engine, and find every row given back."""
        self.model.release()
        if self.loop is None:
            return
        if self.engine.admission.dead is None:
            await self.quiet()
        self.loop.cancel()
        await asyncio.wait([self.loop])
        assert self.loop.cancelled() or self.loop.exception() is None
        assert self.engine.admission.dead is None or self.model.broken
        self.nothing_leaks()

    async def quiet(self) -> None:
        """Return when what was accepted has ended, and the engine has found nothing more to run."""
        await self.engine.drained()
        await until(lambda: not self.engine._queue.ready.is_set())

    def nothing_leaks(self) -> None:
        """Nothing is queued, the rows in use are those of the live sessions, and every work was given back once."""
        rows, queue = self.engine.rows, self.engine._queue
        assert (self.gate.rows, self.gate.bytes, len(queue), queue.works.bundles) == (0, 0, 0, {})
        assert rows.used == self.sessions.statistics().live
        assert not (rows.waiting.any() or rows.head.any() or queue._accepted.followers or queue._accepted.deadlines)
        if self.engine.admission.dead is None:  # a dead one schedules nothing any more, and gives nothing back
            assert len(queue._scheduler) == 0
            assert idle(queue.works)

    def open(self, id: str = "s") -> Session:
        """A new session at step 0."""
        return self.lifetimes.open_now(id, TTL)

    def step(self, session: Session, *values: float, step: int | None = None, **how: Any) -> Reply[Answer]:
        """Accept these values as a call on a session."""
        return self.engine.step(session, column(*values), step, **how)

    def frame(self, *items: Item, **how: Any) -> "asyncio.Future[Call]":
        """Accept these items as one call of many rows → the call, once it is done."""
        answer: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        sessions, values, steps = zip(*items, strict=True)
        rows = [session.row for session in sessions]
        self.engine.submit(call(*values, rows=rows, asked=steps, ended=answer.set_result, **how))
        return answer

    def kept(self, session: Session, step: int, *values: float) -> bool:
        """Whether the answer to these values at that step is kept for a retry."""
        [digest] = Digester(1).of(column(*values), np.array([len(values)]))
        return self.engine.answers.find(session.row, step, len(values), digest) is not None

    async def state(self, session: Session) -> tuple[int, float]:
        """The step and the sum of a session, after the work accepted before."""
        step, state = await self.lifetimes.read(session)
        return step, float(state["sum"][0, 0])


def answered(done: Call) -> list[Any]:
    """What each row of a call came to: the answered sums, or the error."""
    return [outcome(done, index) for index in range(len(done.rows))]


async def outcomes(*calls: Awaitable[Any]) -> list[Any]:
    """What each of the calls came to: the answered sums, or the error."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return [outputs(one) if isinstance(one, Answer) else one for one in ended]


def outputs(answer: Answer) -> list[float]:
    """The answered sums."""
    values: list[float] = answer.outputs[:, 0].tolist()
    return values


def summed(value: float) -> State:
    """A state [1, …] of RunningSum."""
    return {"sum": column(value)}
