"""Calls and operations whose session another process had: once more on the session as it is then."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from service.engine.forecasts import Asked
from service.errors import SessionExists, SessionMoved, SessionNotFound, ShuttingDown, StepConflict, StoreUnavailable
from service.sessions.digests import Digester
from service.sessions.session import Session
from service.sessions.snapshots import Rule
from service.store.store import Change, Conflicts, Home
from tests.fakes import FakeStore, column, until
from tests.service.engine.serving import TTL, Serve, Serving, answered, outcomes, summed
from tests.service.engine.test_frames import many


class Rival(FakeStore):
    """Another process has sessions: their next commit conflicts, and they come back as it left them."""

    it: Serving
    count = bytes = 0  # of sessions elsewhere

    def __init__(self) -> None:
        super().__init__()
        self.moves: dict[str, tuple[int, float, float | None]] = {}  # by id: step, sum, and the input of a kept step
        self.times = 1  # that a commit conflicts
        self.reborn = False  # the session is another one then
        self.may_come = asyncio.Event()
        self.may_come.set()
        self.came: list[str] = []

    def commit(self, home: Home, changes: Sequence[Change]) -> "asyncio.Future[Conflicts] | None":
        """See Store."""
        for id in self.moves:
            session = self.it.sessions.find(id)
            assert session is not None
            if self.times and id not in self.it.sessions.recovering:
                self.conflicts[session.row] = SessionMoved(id)
                self.it.sessions.recovering = {*self.it.sessions.recovering, id}
                self.it.engine.calls.end_waiting(session.row, SessionMoved(id))
        return super().commit(home, changes)

    def owned(self) -> None:
        """See Elsewhere."""

    def fetch(self, id: str) -> "asyncio.Future[None] | None":
        """See Elsewhere."""
        return asyncio.ensure_future(self._bring(id)) if id in self.it.sessions.recovering else None

    async def _bring(self, id: str) -> None:
        await self.may_come.wait()
        sessions, engine = self.it.sessions, self.it.engine
        if id not in sessions.recovering:
            return
        place = sessions._live.get(id)
        assert place is not None
        session = place[1]
        await until(lambda: not engine.table.last.item(session))
        old = Session(id, engine, session, engine.table.birth.item(session))
        stands, rule = sessions.stands(old), engine.rewinds.rule(session)
        taken = engine.rewinds.of(session)
        sessions.spill(old)
        step, total, kept = self.moves[id]
        new = sessions.restore(stands._replace(step=step), engine, rule, old.birth + self.reborn)
        engine.table.scatter(np.array([new.row]), summed(total))
        if kept is not None:
            [digest] = Digester(1).of(column(kept), np.array([1]))
            engine.answers.keep_one(new.row, step - 1, digest, column(total))
        for one in taken:
            engine.rewinds.take(new.row, one.step, one.state)
        sessions.restored([id])
        self.conflicts.pop(session, None)
        self.times -= 1
        if not self.times:
            del self.moves[id]
        self.came.append(id)
        sessions.recovering = {*sessions.recovering} - {id}


def shared(serve: Serve, **how: Any) -> tuple[Serving, Rival]:
    store = Rival()
    store.it = it = serve(store=store, **how)
    it.sessions.elsewhere = store  # type: ignore[assignment]
    return it, store


async def test_a_call_that_names_no_step_or_the_expected_one_runs_on_the_state_that_is_there(serve: Serve) -> None:
    it, store = shared(serve)
    session = it.open()
    store.moves = {"s": (3, 100, None)}
    assert await outcomes(it.step(session, 1, 2)) == [[101, 103]]
    session = it.sessions.get("s")
    store.moves, store.times = {"s": (5, 2000, None)}, 1
    answer = await it.step(session, 5, step=5)
    assert (answer.sums, answer.step) == ([2005], 6)


async def test_a_repeat_of_a_kept_call_gets_its_answer_and_any_other_step_a_conflict(serve: Serve) -> None:
    it, store = shared(serve)
    session = it.open()
    store.moves = {"s": (1, 5, 5)}
    assert await outcomes(it.step(session, 5, step=0)) == [[5]]
    store.moves, store.times = {"s": (4, 9, None)}, 1
    [error] = await outcomes(it.step(it.sessions.get("s"), 6, step=1))
    assert (type(error), error.extra) == (StepConflict, {"expected_step": 4, "applied": True})
    assert await it.state(it.sessions.get("s")) == (4, 9)


@pytest.mark.parametrize("alone", [False, True])
async def test_what_waited_behind_goes_again_in_its_order(serve: Serve, alone: bool) -> None:
    it, store = shared(serve, started=False)
    session = it.open()
    store.moves = {"s": (0, 0, None)}
    calls: list[Any] = [it.step(session, 1, step=0, alone=alone), it.step(session, 2), it.step(session, 3, 4, step=2)]
    calls += [it.lifecycle.read(session), it.step(session, 3, 4, step=2), it.step(session, 5, step=4)]
    it.start()
    first, second, third, read, retry, last = await outcomes(*calls)
    assert [first, second, third, retry, last] == [[1], [3], [6, 10], [6, 10], [15]]
    assert (read[0], float(read[1]["sum"][0, 0])) == (4, 10)
    assert await it.state(it.sessions.get("s")) == (5, 15)
    assert store.came == ["s"]


async def test_rows_of_a_frame_whose_sessions_are_here_are_applied_once_and_the_frame_is_answered_whole(
    serve: Serve,
) -> None:
    it, store = shared(serve)
    sessions = many(it, 3)
    store.moves = {sessions[1].id: (0, 50, None)}
    frame = it.frame((sessions[0], [1], 0), (sessions[1], [2], 0), (sessions[2], [3], 0))
    done = await frame
    assert (answered(done), done.starts.tolist()) == ([[1], [52], [3]], [0, 0, 0])
    store.moves, store.times = {sessions[1].id: (9, 60, None)}, 1
    sessions = [it.sessions.get(one.id) for one in sessions]
    mixed = await it.frame((sessions[0], [1, 1], 1), (sessions[1], [2], 1), (sessions[2], [3], None))
    one, conflict, other = answered(mixed)
    assert (one, type(conflict), other) == ([2, 3], StepConflict, [6])
    assert not mixed.refused


async def test_of_merged_calls_the_others_do_not_wait(serve: Serve) -> None:
    it, store = shared(serve)
    sessions = many(it, 3)
    store.moves = {sessions[1].id: (4, 50, None)}
    store.may_come.clear()
    one, moved, other = it.merged(*((session, [7], None) for session in sessions))
    assert await asyncio.gather(one, other) == [[7], [7]]
    assert not moved.done()
    assert not it.engine.calls.idle
    store.may_come.set()
    assert await moved == [57]


async def test_a_session_that_is_another_one_now_is_not_the_one_that_was_called(serve: Serve) -> None:
    it, store = shared(serve)
    session = it.open()
    store.moves, store.reborn = {"s": (0, 50, None)}, True
    calls: list[Any] = [it.step(session, 1), it.lifecycle.delete(session)]
    assert [type(one) for one in await outcomes(*calls)] == [SessionNotFound] * 2
    assert await it.state(it.sessions.get("s")) == (0, 50)


async def test_a_call_that_conflicts_twice_is_told_to_come_later(serve: Serve) -> None:
    it, store = shared(serve)
    session = it.open()
    store.moves, store.times = {"s": (0, 50, None)}, 2
    [error] = await outcomes(it.step(session, 1))
    assert (type(error), error.extra["retry_after_ms"]) == (StoreUnavailable, 50)
    while "s" in it.sessions.recovering:
        await store._bring("s")
    assert await outcomes(it.step(it.sessions.get("s"), 1)) == [[51]]


async def test_operations_are_done_to_the_session_that_is_there(serve: Serve) -> None:
    it, store = shared(serve)
    session = await it.lifecycle.open("s", TTL, rule=Rule(1, 3))
    await it.step(session, 5)

    def taken(total: float) -> Session:
        store.moves, store.times = {"s": (1, total, None)}, 1
        return it.sessions.get("s")

    await it.lifecycle.rewind(taken(8), 1)
    assert await it.state(it.sessions.get("s")) == (1, 5)
    assert await it.lifecycle.replace(taken(9), 4, summed(44)) == it.sessions.get("s")
    assert await it.state(it.sessions.get("s")) == (4, 44)
    await it.lifecycle.delete(taken(10))
    with pytest.raises(SessionNotFound):
        it.sessions.get("s")


async def test_what_looks_at_a_session_waits_for_it_behind_a_call_that_conflicts(serve: Serve) -> None:
    it, store = shared(serve, started=False)
    session = it.open()
    store.moves = {"s": (2, 20, None)}
    step = it.step(session, 1)
    calls: list[Any] = [it.lifecycle.read(session), it.lifecycle.fork(session, "copy")]
    calls += [it.lifecycle.fork_many(session, ["a", "b"])]
    calls += [it.engine.forecasts.forecast(session, Asked(column(1), 1, np.array([0])))]
    it.start()
    read, copy, (ids, _), (outputs, at) = await outcomes(*calls)
    copies = [it.sessions.get(id) for id in ids]
    assert await outcomes(step) == [[21]]
    assert (read[0], float(read[1]["sum"][0, 0])) == (3, 21)
    assert [await it.state(one) for one in (copy, *copies)] == [(3, 21)] * 3
    assert (outputs[:, 0].tolist(), at) == ([22, 44], 3)


async def test_an_opening_that_conflicts_is_committed_again(serve: Serve) -> None:
    it, store = shared(serve)
    for open in (lambda: it.lifecycle.open("s", TTL), lambda: it.lifecycle.open_warm("s", TTL, column(1, 2))):
        store.conflicts = {1: SessionMoved("s")}
        opening = asyncio.ensure_future(open())
        await until(lambda: bool(store.written and store.written[-1][1]))
        store.conflicts = {}
        session = await opening
        await it.lifecycle.delete(session)
        store.conflicts = {1: SessionExists("s")}
        assert [type(one) for one in await outcomes(open())] == [SessionExists]
        store.conflicts = {}


async def test_an_end_does_not_wait_for_ever(serve: Serve) -> None:
    it, store = shared(serve)
    session = it.open()
    store.moves = {"s": (0, 50, None)}
    store.may_come.clear()
    calls: list[Any] = [it.step(session, 1), it.lifecycle.read(session)]
    await until(lambda: len(it.engine.reruns) == 2)
    assert not it.engine.calls.idle
    it.engine.abort()
    assert [type(one) for one in await outcomes(*calls)] == [ShuttingDown] * 2
    assert it.engine.calls.idle
    store.may_come.set()
    await store._bring("s")
