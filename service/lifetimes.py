"""How sessions begin, are copied, read, set and end: each in its turn between the calls that were accepted on them.

It knows sessions, their home and its queue; not what runs there, nor when. Everything is called on the loop's thread.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from service.admission import Admission
from service.models.model import Array, State
from service.queue import Queue
from service.reply import Reply, settles
from service.sessions import Home, Session, Sessions
from service.work import Call, One, Patience

_T = TypeVar("_T")


def _itself(session: Session) -> Any:
    return session


class Lifetimes:
    """Those of the sessions of one home. Invariant: what fails to begin leaves no session."""

    def __init__(self, home: Home, sessions: Sessions, queue: Queue, admission: Admission) -> None:
        self._home, self._rows, self._answers = home, home.rows, home.answers
        self._sessions, self._queue, self._admission = sessions, queue, admission

    async def open(
        self,
        id: str | None,
        ttl: float,
        history: Array | None = None,
        deadline: float | None = None,
        told: Callable[[Session], _T] = _itself,
    ) -> _T:
        """A new session; 201 comes after its history [T, F] ran, and if that fails there is no session. See `fork`."""
        if history is None:
            return told(self.open_now(id, ttl))
        self._admission.streamable()
        self._admission.counted(self._admission.admit, 1, len(history))
        session = self._sessions.create(id, self._home, ttl)
        answer: Reply[_T] = Reply(loop=asyncio.get_running_loop())
        tell = settles(answer, lambda _: told(session))

        def ended(call: Call) -> None:
            if call.errors:
                self._sessions.delete(session)
            else:
                self._sessions.opened(session)
            tell(call)

        self._queue.add(One(session.row, None, history, ended, patience=Patience.until(deadline), kept=False))
        return await answer

    def open_now(self, id: str | None, ttl: float) -> Session:
        """A new session at step 0, at once."""
        self._admission.streamable()
        self._admission.admit()
        session = self._sessions.create(id, self._home, ttl)
        self._sessions.opened(session)
        return session

    def restore(self, id: str, ttl: float, step: int, state: State) -> Session:
        """A new session at `step` with `state` [1, …]."""
        session = self.open_now(id, ttl)
        self._rows.scatter([session.row], state)
        self._rows.step[session.row] = self._rows.ahead[session.row] = step
        return session

    def take_back(self, session: Session, deadline: float) -> None:
        """Undo an opening of which no step was applied, if nobody has called on the session since its idle clock stood
        at `deadline`.
        """
        unused = not session.step and not session.waiting and session.deadline == deadline
        if unused and self._sessions.find(session.id) == session:
            self._sessions.delete(session)

    def fork(self, session: Session, id: str | None, told: Callable[[Session], _T] = _itself) -> Awaitable[_T]:
        """A new session with a copy of state, step, version and TTL, once the accepted work is done: what is `told` of
        it then, before anybody else's turn.
        """
        self._admission.admit_turn(session)
        copy = self._sessions.create(id, self._home, session.ttl)

        def act() -> _T:
            self._rows.scatter([copy.row], self._rows.gather([session.row]))
            self._rows.step[copy.row] = self._rows.ahead[copy.row] = session.step
            self._sessions.touch(session)
            self._sessions.opened(copy)
            return told(copy)

        def done(future: "asyncio.Future[_T]") -> None:
            if future.exception() is not None:
                self._sessions.delete(copy)

        turn = self._queue.turn(session.row, act)
        turn.add_done_callback(done)
        return asyncio.shield(turn)

    def read(self, session: Session) -> Awaitable[tuple[int, State]]:
        """Its step and a copy of its state, [1, …] each, once the accepted work is done."""
        self._admission.admit_turn(session)
        turn = self._queue.turn(session.row, lambda: (session.step, self._rows.gather([session.row])))
        return asyncio.shield(turn)

    def replace(
        self, session: Session, step: int, state: State, told: Callable[[Session], _T] = _itself
    ) -> Awaitable[_T]:
        """Set step and state [1, …] once the accepted work is done; its kept answers are forgotten. See `fork`."""
        self._admission.admit_turn(session)

        def act() -> _T:
            self._answers.forget(session.row)
            self._rows.scatter([session.row], state)
            self._rows.step[session.row] = step
            self._sessions.touch(session)
            return told(session)

        return asyncio.shield(self._queue.turn(session.row, act, step_after=step))

    def delete(self, session: Session) -> "asyncio.Future[None]":
        """Forget the session once the accepted work is done; from now on nobody finds it."""

        def spared(future: "asyncio.Future[None]") -> None:
            if future.exception() is not None:
                self._sessions.ending.pop(session.id, None)

        self._admission.admit()  # however many calls wait: this is the last one
        self._rows.losses += 1
        ending = self._queue.turn(session.row, lambda: self._sessions.delete(session))
        if not ending.done():
            self._sessions.ending[session.id] = ending
            ending.add_done_callback(spared)
        return asyncio.shield(ending)


async def vacant(sessions: Sessions, id: str) -> None:
    """Wait until a delete of that id that was accepted before is done: what follows comes after it."""
    while id in sessions.ending:
        await asyncio.wait([sessions.ending[id]])
