"""Forecasts: a copy of a session is fed inputs, and then its own outputs. The session does not move."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.engine.call import UNCHECKED, Call, Deadline, Onward
from service.engine.operations import settle
from service.errors import InvalidInput
from service.sessions.table import ZERO

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import Array, Index, State
    from service.sessions.session import Session


@dataclass(frozen=True)
class Asked:
    """What a copy is fed: inputs [T, F], which may be none, and its own outputs n times.

    `feeds` [F] are the outputs that the features of the next step are. Without inputs the first step is made of the
    newest kept answer of the session.
    """

    inputs: Array
    steps: int
    feeds: Index


class Forecasts:
    """Forecasts of the sessions of one engine. Between its steps other calls run, as between those of any long call."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def forecast(
        self, session: Session, asked: Asked, deadline: Deadline | None = None
    ) -> asyncio.Future[tuple[Array, int]]:
        """The outputs [T + n, K], and the step of the session after the calls accepted before; it may be cancelled.

        Raises, or the future raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed, InvalidInput, NonFiniteOutput, DeadlineExceeded.

        """
        engine = self._engine
        engine.admission.check_operation(session)
        steps = len(asked.inputs) + asked.steps
        engine.admission.check(1, steps)
        engine.admission.hold(steps)
        answer: asyncio.Future[tuple[Array, int]] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda _: engine.admission.hold(-steps))

        def begin(one: Session) -> None:
            state, newest = engine.table.gather(np.array([one.row])), engine.answers.newest(one.row)
            _Run(engine, asked, answer, one.step).begin(state, newest, deadline)

        turn = engine.operations.operate(session, begin)
        turn.add_done_callback(lambda turn: settle(answer, error) if (error := turn.exception()) else None)
        return answer


class _Run:
    """One forecast under way."""

    def __init__(self, engine: Engine, asked: Asked, answer: asyncio.Future[tuple[Array, int]], step: int) -> None:
        self._engine, self._asked, self._answer, self._step = engine, asked, answer, step
        self._left = asked.steps  # of its own outputs that it is to be fed
        self._outputs = np.empty((len(asked.inputs) + asked.steps, engine.model.outputs), np.float32)
        self._done = 0  # of them
        self._running: Call | None = None
        answer.add_done_callback(self._answered)

    def begin(self, state: State, newest: Array | None, deadline: Deadline | None) -> None:
        inputs = self._asked.inputs
        if not len(inputs):
            if newest is None:
                raise InvalidInput("inputs: none, and no answer of the session is kept whose outputs could be fed")
            self._left, inputs = self._left - 1, newest[None, self._asked.feeds]
        self._run(inputs, state, deadline)

    def _run(self, inputs: Array, state: State | None, deadline: Deadline | None = None) -> None:
        if self._answer.cancelled():
            return
        lengths, asked = np.array([len(inputs)]), np.array([UNCHECKED])
        self._running = Onward(np.array([ZERO]), lengths, asked, inputs, self._ended, deadline, state=state)
        self._engine.go_on(self._running)

    def _answered(self, answer: asyncio.Future[tuple[Array, int]]) -> None:
        running, self._running = self._running, None  # which refers to this
        if answer.cancelled() and running is not None:
            self._engine.abandon(running)

    def _ended(self, call: Call) -> None:
        if call.errors:
            settle(self._answer, call.errors[0])
            return
        begin, self._done = self._done, self._done + len(call.outputs)
        self._outputs[begin : self._done] = call.outputs
        if not self._left:
            settle(self._answer, (self._outputs, self._step))
        else:
            self._left -= 1
            self._run(call.outputs[-1:, self._asked.feeds], call.state)
