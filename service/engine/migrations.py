"""Sessions that go on in another engine: another version of their model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from service.engine.call import UNCHECKED, Call, Deadline, Onward
from service.engine.lifecycle import itself
from service.engine.operations import settle, shielded
from service.errors import Overloaded
from service.sessions.table import ZERO
from service.store.store import Moved

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import Array, State
    from service.sessions.session import Session
    from service.sessions.sessions import Sessions

_FREED = 0.01  # seconds between looks whether a row is free

_T = TypeVar("_T")


class Migrations:
    """From one engine to others. Invariant: a session is here or there, also in the store."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine, self._table, self._sessions = engine, engine.table, sessions

    def warmed(self, history: Array, deadline: Deadline | None, begun: State | None = None) -> asyncio.Future[State]:
        """The state [1, …] of this engine after a history [T, F] that began with another one; None: the zero state.

        Raises, or the future raises:
            Overloaded, PayloadTooLarge, ShuttingDown, EngineFailed, InvalidInput, NonFiniteOutput, DeadlineExceeded.

        """
        found: asyncio.Future[State] = asyncio.get_running_loop().create_future()

        def ended(call: Call) -> None:
            settle(found, call.errors[0] if call.errors else call.state)

        row, lengths, asked = np.array([ZERO]), np.array([len(history)]), np.array([UNCHECKED])
        state = self._table.gather(row) if begun is None else begun
        self._engine.submit(Onward(row, lengths, asked, history, ended, deadline, state=state))
        return found

    def migrate(
        self,
        session: Session,
        home: Engine,
        told: Callable[[Session], _T] = itself,
        *,
        state: State | None = None,
    ) -> asyncio.Future[_T]:
        """Let a session go on in another engine after its accepted calls, with its state, or with another one [1, …].

        Its step stays, kept answers and snapshots are forgotten, and what arrives before it has moved is overloaded.
        """
        self._engine.admission.check_operation(session)
        home.admission.streamable()
        home.admission.check()
        new = self._sessions.seat(session, home)

        def moved(one: Session) -> Moved:
            now = self._table.gather(np.array([one.row])) if state is None else state
            return Moved(new.row, one.id, one.step, now, home, self._engine, one.row)

        def act(one: Session) -> _T:
            stands = moved(one)
            home.table.step[new.row] = home.table.ahead[new.row] = stands.step
            home.table.scatter(np.array([new.row]), stands.state)
            self._engine.calls.end_waiting(one.row, Overloaded(f"session {one.id!r} moves", 10))
            self._sessions.moved(one, new)
            asyncio.get_running_loop().call_soon(self._free, one.row)
            return told(new)

        def done(future: asyncio.Future[_T]) -> None:
            if future.exception() is not None:
                self._sessions.unseat(new)

        answer = self._engine.operations.operate(session, act, lambda one: [moved(one)])
        answer.add_done_callback(done)
        return shielded(answer)

    def _free(self, row: int) -> None:
        """Free a row once nothing that was accepted holds it."""
        if self._table.last.item(row):
            asyncio.get_running_loop().call_later(_FREED, self._free, row)
        else:
            self._table.free(row)
