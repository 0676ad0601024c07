"""An engine over the RunningSum fake, with its parts; when it stops it is looked at for leaks."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from service.engine import Engine
from service.gate import Gate
from service.replay import Budget
from service.rows import State
from service.selftest import Fitness
from service.sessions import Session, Sessions
from service.work import Answer
from tests.fakes import FakeClock, RunningSum, column

TTL = 60.0


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
        self.engine = Engine(self.model, found, self.sessions, self.gate, chunk=chunk, batch=batch, clock=self.clock)
        self.loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Let the engine run."""
        self.loop = asyncio.create_task(self.engine.run())

    async def stop(self) -> None:
        """Let what was accepted end, stop the engine, and find every row given back."""
        self.model.release()
        if self.loop is None:
            return
        if self.engine.dead is None:
            await self.engine.drained()
        self.loop.cancel()
        await asyncio.wait([self.loop])
        assert self.loop.cancelled() or self.loop.exception() is None
        assert self.engine.dead is None or self.model.broken
        self.nothing_leaks()

    def nothing_leaks(self) -> None:
        """Nothing is queued, and the rows in use are those of the live sessions."""
        assert (self.gate.rows, self.gate.bytes) == (0, 0)
        assert self.engine.rows.used == self.sessions.statistics().live

    def open(self, id: str = "s") -> Session:
        """A new session at step 0."""
        return self.engine.open_now(id, TTL)

    def step(self, session: Session, *values: float, step: int | None = None, **how: Any) -> Awaitable[Answer]:
        """Accept these values as a call on a session."""
        return self.engine.step(session, column(*values), step, **how)

    async def state(self, session: Session) -> tuple[int, float]:
        """The step and the sum of a session, after the work accepted before."""
        step, state = await self.engine.read(session)
        return step, float(state["sum"][0, 0])


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
