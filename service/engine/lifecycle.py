"""How sessions begin, are copied, read, replaced and end: each in its turn between the calls accepted on them.

Everything returns a future, which is done at once if nothing waits on the session and the store commits at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from service.engine.call import UNCHECKED, Call, Deadline
from service.engine.operations import settle, shielded
from service.errors import SessionExists, SessionMoved, SnapshotNotKept
from service.sessions.reach import reach
from service.store.store import Change, Copied, Deleted, Opened, Replaced

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.model import Array, State
    from service.sessions.session import Session, Standing
    from service.sessions.sessions import Sessions
    from service.sessions.snapshots import Rule

_T = TypeVar("_T")
_SLICE = 500  # sessions that are made or dropped in one turn of the loop: 2 ms
_SLICE_BYTES = 2**23  # of their states, likewise


def itself(session: Session) -> Any:
    """Tell the session as it is."""
    return session


class Lifecycle:
    """Operations on the sessions of one engine. Invariant: an opening that fails leaves no session.

    `told` makes what a client is told of the session, before any later call on it runs.
    """

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine, self._table, self._sessions = engine, engine.table, sessions
        self._operate = engine.operations.operate

    def open(
        self,
        id: str | None,
        ttl: float,
        told: Callable[[Session], _T] = itself,
        *,
        step: int = 0,
        state: State | None = None,
        rule: Rule | None = None,
    ) -> asyncio.Future[_T]:
        """Open a session at a step with a state [1, …]; None: the zero state.

        Raises:
            NotStreamable, Overloaded, ShuttingDown, EngineFailed, SessionExists: there is no such session.

        """
        self._engine.admission.streamable()
        self._engine.admission.check()
        session = self._sessions.create(id, self._engine, ttl, rule)
        return self._begin(session, session, lambda _: (step, state), lambda one, _: told(one))

    def open_warm(
        self,
        id: str | None,
        ttl: float,
        history: Array,
        deadline: Deadline | None = None,
        told: Callable[[Session], _T] = itself,
        *,
        rule: Rule | None = None,
        state: State | None = None,
    ) -> asyncio.Future[_T]:
        """Open a session after its history [T, F] ran from a state [1, …]: see `open`.

        If the history fails there is no session.
        """
        admission = self._engine.admission
        admission.streamable()
        admission.check(1, len(history))
        session = self._sessions.create(id, self._engine, ttl, rule)
        if state is not None:
            self._table.scatter(np.array([session.row]), state)
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

        def ended(call: Call) -> None:
            if call.errors:  # the row is free once the call has given up its place
                asyncio.get_running_loop().call_soon(self._sessions.delete, session)
                settle(answer, call.errors[0])
            else:
                self._sessions.opened(session)
                settle(answer, told(session))

        rows, lengths = np.array([session.row]), np.array([len(history)])
        opens = (session.id, ttl)
        self._engine.submit(Call(rows, lengths, np.array([UNCHECKED]), history, ended, deadline, opens=opens))
        return answer

    def fork(self, session: Session, id: str | None, told: Callable[[Session], _T] = itself) -> asyncio.Future[_T]:
        """Open a session with a copy of the state, the step and the TTL of another, after its accepted calls."""
        self._engine.admission.check_operation(session)
        copy = self._sessions.create(id, self._engine, session.ttl)

        def stands(source: Session) -> tuple[int, State]:
            return source.step, self._table.gather(np.array([source.row]))

        def forked(one: Session, source: Session) -> _T:
            self._sessions.touch(source)
            return told(one)

        return self._begin(session, copy, stands, forked)

    async def fork_many(self, session: Session, asked: Sequence[str] | int) -> tuple[list[str], Standing]:
        """Open sessions of these ids, or so many, as `fork` does: all or none → ids, and how all of them stood."""
        self._engine.admission.check_operation(session)
        if not isinstance(asked, int) and self._sessions.find(asked[0]) is not None:
            raise SessionExists(f"session {asked[0]!r} exists")  # a retry is told so where there is no room, too
        self._engine.admission.check(opening=asked if isinstance(asked, int) else len(asked))
        forking = self._fork_many(session, [None] * asked if isinstance(asked, int) else asked)
        return await asyncio.shield(asyncio.ensure_future(forking))  # the client may leave

    async def _fork_many(self, session: Session, ids: Sequence[str | None]) -> tuple[list[str], Standing]:
        copies: list[Session] = []
        session = await self._again(session.id)  # a row holds for one turn of the loop
        ttl = session.ttl
        try:
            for id in ids:
                copies.append(self._sessions.create(id, self._engine, ttl))
                if len(copies) % _SLICE == 0:
                    await asyncio.sleep(0)
            session = await self._again(session.id)  # else it has ended meanwhile
            step, state = await self.read(session)
            rows = np.array([copy.row for copy in copies])
            count = max(1, min(_SLICE, _SLICE_BYTES // max(1, self._table.row_bytes)))
            for part in (rows[first : first + count] for first in range(0, len(rows), count)):
                self._table.step[part] = self._table.ahead[part] = step
                self._table.scatter(part, state)
                await asyncio.sleep(0)
            copied = Copied(rows, [copy.id for copy in copies], ttl, step, state)

            def act(first: Session) -> Standing:
                self._sessions.opened(*copies)
                if (source := self._sessions.find(session.id)) is not None and source.birth == session.birth:
                    self._sessions.touch(source)
                return self._sessions.stands(first)

            return [copy.id for copy in copies], await self._operate(copies[0], act, lambda _: [copied])
        except BaseException:
            for index, copy in enumerate(copies, 1):
                self._sessions.delete(copy)
                if index % _SLICE == 0:
                    await asyncio.sleep(0)
            raise

    async def _again(self, id: str) -> Session:
        await reach(self._sessions, id)
        session = self._sessions.get(id)
        if session.home is not self._engine:
            raise SessionMoved(id)  # to another version: its row there says nothing here
        return session

    def read(self, session: Session) -> asyncio.Future[tuple[int, State]]:
        """The step and a copy of the state [1, …], after the accepted calls."""
        self._engine.admission.check_operation(session)
        return shielded(self._operate(session, lambda one: (one.step, self._table.gather(np.array([one.row])))))

    def replace(
        self, session: Session, step: int, state: State, told: Callable[[Session], _T] = itself
    ) -> asyncio.Future[_T]:
        """Set step and state [1, …] after the accepted calls; kept answers and later snapshots are forgotten."""
        return self._replace(session, step, lambda _: state, told)

    def rewind(self, session: Session, step: int, told: Callable[[Session], _T] = itself) -> asyncio.Future[_T]:
        """Set the session back to a kept snapshot, as `replace` does with a state.

        The future raises:
            SnapshotNotKept: there is none of that step.

        """
        return self._replace(session, step, lambda one: self._engine.rewinds.find(one.row, step), told)

    def _replace(
        self, session: Session, step: int, find: Callable[[Session], State | None], told: Callable[[Session], _T]
    ) -> asyncio.Future[_T]:
        self._engine.admission.check_operation(session)
        rewinds = self._engine.rewinds

        def changes(one: Session) -> Sequence[Change]:
            return [] if (state := find(one)) is None else [Replaced(one.row, step, state)]

        def act(one: Session) -> _T:
            state = find(one)
            if state is None:
                self._sessions.owned()
                raise SnapshotNotKept(step, one.step, [kept.step for kept in rewinds.of(one.row)])
            self._engine.answers.forget(one.row)
            rewinds.forget_later(one.row, step)
            self._table.step[one.row] = step
            self._table.scatter(np.array([one.row]), state)
            self._sessions.touch(one)
            return told(one)

        return shielded(self._operate(session, act, changes, step_after=step))

    def delete(self, session: Session) -> asyncio.Future[None]:
        """Forget a session after its accepted calls; from now on it is not found. A delete under way is returned."""
        ending = self._sessions.ending
        if (under_way := ending.get(session.id)) is not None:
            return shielded(under_way)
        self._engine.admission.check()  # however many calls wait: this is the last one
        self._table.generation += 1
        done = self._operate(session, self._sessions.delete, lambda one: [Deleted(one.row)])

        def ended(future: asyncio.Future[None]) -> None:
            if ending.get(session.id) is future:  # else the id was opened and deleted again
                del ending[session.id]

        if not done.done():
            ending[session.id] = done
            done.add_done_callback(ended)
        return shielded(done)

    def take_back(self, session: Session, deadline: float) -> None:
        """Delete a session of no applied step, unless it was called since its idle clock stood at `deadline`."""
        unused = not session.step and not session.waiting and session.deadline == deadline
        if unused and self._sessions.find(session.id) == session:
            self.delete(session)

    def _begin(
        self,
        source: Session,
        session: Session,
        stands: Callable[[Session], tuple[int, State | None]],
        told: Callable[[Session, Session], _T],
    ) -> asyncio.Future[_T]:
        """Open a session that was created, as it `stands` when it is the turn of the source."""

        def changes(source: Session) -> Sequence[Change]:
            return [Opened(session.row, session.id, session.ttl, *stands(source))]

        def act(source: Session) -> _T:
            step, state = stands(source)
            self._table.step[session.row] = self._table.ahead[session.row] = step
            if state is not None:
                self._table.scatter(np.array([session.row]), state)
            self._sessions.opened(session)
            return told(session, source)

        def failed(future: asyncio.Future[_T]) -> None:
            if future.exception() is not None:
                self._sessions.delete(session)

        opening = self._operate(source, act, changes)
        opening.add_done_callback(failed)
        return shielded(opening)
