"""An engine over the RunningSum fake, with its parts; when it stops it is looked at for leaks."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from service.engine.admission import Bounds
from service.engine.call import UNCHECKED, Call, Deadline
from service.engine.engine import Engine
from service.engine.operations import settle
from service.models.fitness import Fitness
from service.models.model import State
from service.models.speed import Policy
from service.sessions.budget import Budget
from service.sessions.digests import Digester
from service.sessions.session import Session
from service.sessions.sessions import Sessions
from service.sessions.table import ZERO
from service.store.memory import MemoryStore
from service.store.store import Store
from tests.fakes import FakeClock, FakeStore, RunningSum, column, until

TTL = 60.0

Serve = Callable[..., "Serving"]
Item = tuple[Session, Sequence[float], int | None]  # of a call of many rows: the step of the first value, if named


class Answer(NamedTuple):
    """What one row of a call came to: the answered sums and the step after them."""

    sums: list[float]
    step: int


class Serving:
    """An engine with its parts. Calls may be queued before `start`, so that it is known which of them meet."""

    def __init__(
        self,
        model: RunningSum | None = None,
        *,
        chunk: int = 4,
        batch: int = 8,
        in_a_thread: bool = False,
        fitness: Fitness | None = None,
        store: Store | None = None,
        **bounds: int,
    ) -> None:
        limits = {"most": 100, "most_bytes": 10**6, "most_rows": 100, "queue_bytes": 10**6, "replay": 4} | bounds
        self.model, self.clock = model or RunningSum(), FakeClock()
        budget = Budget(each=limits["replay"], most_bytes=10**6)
        self.sessions = Sessions(budget, most=limits["most"], most_bytes=limits["most_bytes"], clock=self.clock)
        found = fitness or Fitness(True, 0.0, 1, seconds_per_step=1.0 if in_a_thread else 0.0)
        found = replace(found, policy=Policy(batch, chunk, batch * chunk))
        waiting = Bounds(limits["most_rows"], limits["queue_bytes"])
        self.store = MemoryStore() if store is None else store
        self.engine = Engine(self.model, found, self.sessions, self.store, waiting, clock=self.clock)
        self.lifecycle = self.engine.lifecycle
        self.loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Let the engine run."""
        self.loop = asyncio.create_task(self.engine.run())

    async def stop(self) -> None:
        """Let what was accepted end, stop the engine, and find every row given back."""
        self.model.release()
        if isinstance(self.store, FakeStore):
            self.store.held = False
            self.store.release()
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
        await until(lambda: not self.engine.calls.ready.is_set())

    def nothing_leaks(self) -> None:
        """Nothing waits, and the rows in use are those of the live sessions."""
        table, calls, admission = self.engine.table, self.engine.calls, self.engine.admission
        assert (admission.rows, admission.size, len(calls.order.open), len(calls.deadlines)) == (0, 0, 0, 0)
        stands = self.sessions.statistics()
        assert table.used == stands.live - stands.by_state.get("spilled", 0) - stands.by_state.get("elsewhere", 0)
        assert not (table.waiting.any() or table.last.any())
        assert not any(array[ZERO].any() for array in table.state.values())
        if admission.dead is None:
            assert len(self.engine._scheduler) == 0

    def open(self, id: str = "s") -> Session:
        """A new session at step 0."""
        return self.lifecycle.open(id, TTL).result()

    def step(
        self,
        session: Session,
        *values: float,
        step: int | None = None,
        deadline: Deadline | float | None = None,
        alone: bool = False,
    ) -> "asyncio.Future[Answer]":
        """Accept these values as a call on a session → to await: its answer. The call runs though its client leaves.

        `alone`: as a door that knows of no other call does.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        late = Deadline(deadline) if isinstance(deadline, float) else deadline

        def ended(done: Call) -> None:
            settle(answer, answered(done)[0] if done.errors else Answer(answered(done)[0], after(done)[0]))

        asked = call(values, rows=[session.row], asked=[step], ended=ended, deadline=late)
        if not (alone and self.engine.run_alone(asked)):
            self.engine.submit(asked)
        return answer

    def frame(self, *items: Item, **how: Any) -> "asyncio.Future[Call]":
        """Accept these items as one call of many rows → the call, once it is done."""
        answer: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        sessions, values, steps = zip(*items, strict=True)
        rows = [session.row for session in sessions]
        self.engine.submit(call(*values, rows=rows, asked=steps, ended=answer.set_result, **how))
        return answer

    def merged(self, *items: Item, **how: Any) -> "list[asyncio.Future[Any]]":
        """Accept single steps of many clients as one call → the answer or error of each."""
        answers: list[asyncio.Future[Any]] = [asyncio.get_running_loop().create_future() for _ in items]

        def ended(part: Call) -> None:
            for answer, value in zip(part.tags or (), answered(part), strict=True):
                answer.set_result(value)

        sessions, values, steps = zip(*items, strict=True)
        rows = [session.row for session in sessions]
        self.engine.submit(call(*values, rows=rows, asked=steps, ended=ended, tags=answers, **how))
        return answers

    def predict(self, *sequences: Sequence[float], deadline: float | None = None) -> "asyncio.Future[list[Any]]":
        """Accept a predict → the sums of each sequence. A client that leaves abandons it."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        late = None if deadline is None else Deadline(deadline)

        def ended(done: Call) -> None:
            settle(answer, min(done.errors.items())[1] if done.errors else answered(done))

        predict = call(*sequences, ended=ended, deadline=late)
        self.engine.submit(predict)
        answer.add_done_callback(lambda done: self.engine.abandon(predict) if done.cancelled() else None)
        return answer

    def kept(self, session: Session, step: int, *values: float) -> bool:
        """Whether the answer to these values at that step is kept for a retry."""
        [digest] = Digester(1).of(column(*values), np.array([len(values)]))
        return self.engine.answers.find(session.row, step, len(values), digest) is not None

    async def state(self, session: Session) -> tuple[int, float]:
        """The step and the sum of a session, after the calls accepted before."""
        step, state = await self.lifecycle.read(session)
        return step, float(state["sum"][0, 0])


def call(
    *sequences: Sequence[float],
    rows: Sequence[int] | None = None,
    asked: Sequence[int | None] | None = None,
    ended: Callable[[Call], object] = lambda _: None,
    **how: Any,
) -> Call:
    """A call of these sequences on these rows, or a predict of them; `asked` names the step of each, or None."""
    return Call(
        np.full(len(sequences), ZERO, np.int64) if rows is None else np.array(rows, np.int64),
        np.array([len(one) for one in sequences], np.int64),
        np.array([UNCHECKED if step is None else step for step in asked or [None] * len(sequences)], np.int64),
        np.concatenate([column(*one) for one in sequences]),
        ended,
        **how,
    )


def answered(done: Call) -> list[Any]:
    """What each row of a call came to: the answered sums, or the error."""
    return [
        done.errors[index] if index in done.errors else done.outputs[done.span(index), 0].tolist()
        for index in range(len(done.rows))
    ]


def after(done: Call) -> list[int]:
    """The step of each session after a call."""
    steps: list[int] = (done.starts + done.lengths).tolist()
    return steps


async def outcomes(*calls: Awaitable[Any]) -> list[Any]:
    """What each of the calls came to: the answered sums, or the error."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return [one.sums if isinstance(one, Answer) else one for one in ended]


def outputs(answer: Answer) -> list[float]:
    """The answered sums."""
    return answer.sums


def summed(value: float) -> State:
    """A state [1, …] of RunningSum."""
    return {"sum": column(value)}
