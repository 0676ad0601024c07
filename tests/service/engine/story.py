"""Does each operation of a story to the engine, which answers later, and to an oracle, which answers at once."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any

from service.engine.call import Call, Deadline
from service.errors import CarouselError, DeadlineExceeded, InvalidInput, NonFiniteOutput, StepConflict
from service.sessions.reach import vacant
from service.sessions.session import Session
from tests.fakes import column, sums
from tests.service.engine.serving import TTL, Serving, answered, summed

NAN, REFUSED = 13, 17  # the values that the model cannot take
IDS = "abc"
FAR = 1000.0  # seconds to a deadline that does not pass


@dataclass(frozen=True)
class Truth:
    """A session as the oracle knows it; `last` is the step, the values and the outcome of its last applied call."""

    step: int = 0
    sum: int = 0
    last: tuple[int, list[int], list[float]] | None = None


class Story:
    """Does each operation to the engine, which answers later, and to the oracle, which answers at once."""

    def __init__(self, it: Serving) -> None:
        self.it = it
        self.truths: dict[str, Truth] = {}
        self.calls: list[asyncio.Future[Any]] = []
        self.expected: list[Any] = []

    def expect(self, call: Awaitable[Any], outcome: Any) -> None:
        self.calls.append(asyncio.ensure_future(call))
        self.expected.append(outcome)

    async def session(self, id: str) -> Session:
        """The session of that id, made if there is none; all its openings are done."""
        await vacant(self.it.sessions, id)
        if id not in self.truths:
            self.truths[id] = Truth()
            return await self.it.lifecycle.open(id, TTL)
        session = self.it.sessions.find(id)
        assert session is not None
        if self.it.sessions.opening(session):
            await asyncio.wait(self.calls)
        return session

    async def step(self, id: str, asked: list[int], checked: bool, *, alone: bool = False) -> asyncio.Future[Any]:
        session = await self.session(id)
        named = session.ahead if checked else None
        call = self.it.step(session, *asked, step=named, alone=alone)
        self.expect(call, self.comes_of(id, asked, named))
        return call

    async def alone(self, id: str, value: int, checked: bool) -> None:
        """A single step that is answered at once if nothing runs."""
        await self.step(id, [value], checked, alone=True)

    async def burst(self, id: str, asked: list[int], checked: bool) -> None:
        """Single steps behind each other."""
        for value in asked:
            await self.step(id, [value], checked)

    def comes_of(self, id: str, asked: list[int], named: int | None) -> Any:
        """What a call comes to that was accepted; it may be applied now."""
        truth = self.truths[id]
        if named not in (None, truth.step):  # a call before it will fail, which the client does not know
            return StepConflict
        if {NAN, REFUSED} & set(asked):
            return (NonFiniteOutput, InvalidInput)
        answer = sums(*asked, before=truth.sum)
        self.truths[id] = Truth(truth.step + len(asked), int(answer[-1]), (truth.step, asked, answer))
        return answer

    async def frame(self, asked: list[tuple[str, list[int], str]], seconds: float | None) -> None:
        """A call of many rows, with a deadline or none; one that names a wrong step refuses all of it."""
        rows, kept = await self.rows(asked)
        done = self.it.frame(*rows, deadline=None if seconds is None else Deadline(self.it.clock() + seconds))
        if any(kind == "wrong" for _, _, kind in asked):
            self.expect(refusal(done), StepConflict)
            return
        for index, ((id, _, _), (_, values, named), answer) in enumerate(zip(asked, rows, kept, strict=True)):
            if answer is None and seconds == 0:
                self.expect(of_row(done, index), (DeadlineExceeded, StepConflict))
            else:
                self.expect(of_row(done, index), answer or self.comes_of(id, values, named))

    async def merged(self, asked: list[tuple[str, int, str]]) -> None:
        """Single steps of many clients in one call: each stands for itself."""
        rows, kept = await self.rows([(id, [value], kind) for id, value, kind in asked], single=True)
        answers = self.it.merged(*rows)
        for (id, _, kind), (_, values, named), answer, told in zip(asked, rows, kept, answers, strict=True):
            self.expect(told, StepConflict if kind == "wrong" else answer or self.comes_of(id, values, named))

    async def rows(
        self, asked: list[tuple[str, list[int], str]], *, single: bool = False
    ) -> tuple[list[tuple[Session, list[int], int | None]], list[list[float] | None]]:
        """The rows of a call, and the answer of each that repeats one. Single: no call of several steps is repeated."""
        for id, _, _ in asked:
            await self.session(id)
        rows, kept = [], []
        for id, values, kind in asked:
            session, last = self.it.sessions.get(id), self.repeatable(id) if kind == "again" else None
            if last is not None and single and len(last[1]) > 1:
                last = None
            named = {"unnamed": None, "wrong": session.ahead + 100}.get(kind, session.ahead)
            rows.append((session, values, named) if last is None else (session, last[1], last[0]))
            kept.append(None if last is None else last[2])
        return rows, kept

    def repeatable(self, id: str) -> tuple[int, list[int], list[float]] | None:
        """The last applied call, unless another that waits will fail and was accepted before: its step is another's."""
        truth = self.truths[id]
        return truth.last if self.it.sessions.get(id).ahead == truth.step else None

    async def retry(self, id: str) -> None:
        session = await self.session(id)
        if (last := self.repeatable(id)) is not None:
            step, asked, answer = last
            self.expect(self.it.step(session, *asked, step=step), answer)

    async def late(self, id: str, asked: list[int], checked: bool) -> None:
        session = await self.session(id)
        named = session.ahead if checked else None
        self.expect(
            self.it.step(session, *asked, step=named, deadline=self.it.clock()), (DeadlineExceeded, StepConflict)
        )

    async def predict(self, asked: list[list[int]]) -> None:
        async def answers() -> list[list[float]]:
            return await self.it.predict(*asked)

        bad = any({NAN, REFUSED} & set(one) for one in asked)
        self.expect(answers(), (NonFiniteOutput, InvalidInput) if bad else [sums(*one) for one in asked])
        await asyncio.sleep(0)

    async def abandoned(self, asked: list[list[int]]) -> None:
        await self.predict(asked)
        self.calls.pop().cancel()
        self.expected.pop()

    async def fork(self, id: str, new: str) -> None:
        session = await self.session(id)
        if new not in self.truths:
            await vacant(self.it.sessions, new)
            self.expect(self.it.lifecycle.fork(session, new), Session)
            self.truths[new] = replace(self.truths[id], last=None)

    async def reads(self, id: str, count: int) -> None:
        session, truth = await self.session(id), self.truths[id]
        for _ in range(count):
            self.expect(self.it.state(session), (truth.step, truth.sum))
            await asyncio.sleep(0)

    async def replace(self, id: str, step: int, value: int) -> None:
        session = await self.session(id)
        self.expect(self.it.lifecycle.replace(session, step, summed(value)), Session)
        self.truths[id] = Truth(step, value)

    async def delete(self, id: str) -> None:
        session = await self.session(id)
        self.expect(self.it.lifecycle.delete(session), None)
        del self.truths[id]

    async def warm(self, id: str, history: list[int]) -> None:
        """Open with a history, if there is no such session."""
        if id in self.truths:
            return
        await vacant(self.it.sessions, id)
        bad = {NAN, REFUSED} & set(history)
        self.expect(
            self.it.lifecycle.open_warm(id, TTL, column(*history)), (NonFiniteOutput, InvalidInput) if bad else Session
        )
        await asyncio.sleep(0)
        if bad:
            await asyncio.wait(self.calls)
        else:
            self.truths[id] = Truth(len(history), sum(history))

    async def pause(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)


async def of_row(done: Awaitable[Call], index: int) -> Any:
    return answered(await done)[index]


async def refusal(done: Awaitable[Call]) -> CarouselError:
    """The error of a call that was refused whole."""
    call = await done
    [error] = call.errors.values()
    assert call.refused
    return error
