"""Snapshots of sessions, and what becomes of a session that is rewound to one."""

import asyncio
from typing import Any

import pytest

from service.errors import SnapshotNotKept, StepConflict, StoreUnavailable
from service.sessions.session import Session
from service.sessions.snapshots import Rule
from service.store.store import Advanced, Snapped
from tests.fakes import FakeStore, column
from tests.service.engine.serving import TTL, Serve, Serving, outcomes, outputs


def opened(it: Serving, every: int, keep: int, id: str = "s") -> Session:
    return it.lifecycle.open(id, TTL, rule=Rule(every, keep)).result()


def kept(it: Serving, session: Session) -> Any:
    return it.sessions.stands(session).snapshots


async def test_a_snapshot_is_taken_at_the_end_of_each_call_that_reaches_or_passes_a_multiple(serve: Serve) -> None:
    it = serve(chunk=2)
    session = opened(it, 4, 3)
    assert kept(it, session) == []
    for values, expected in (((1,) * 3, []), ((1,), [4]), ((1,), [4]), ((1,) * 9, [4, 14]), ((1, 1), [4, 14, 16])):
        await it.step(session, *values)
        assert kept(it, session) == expected
    await it.step(session, *[1] * 4)
    assert kept(it, session) == [14, 16, 20]  # the newest three


async def test_a_history_leaves_a_snapshot_too_and_forks_carry_none(serve: Serve) -> None:
    it = serve(chunk=2)
    session = await it.lifecycle.open_warm("s", TTL, column(1, 2, 3, 4, 5), rule=Rule(2, 2))
    assert kept(it, session) == [5]
    assert kept(it, await it.lifecycle.fork(session, "copy")) is None


async def test_single_steps_that_wait_behind_each_other_leave_the_snapshots_that_are_due(serve: Serve) -> None:
    it = serve(started=False, chunk=8)
    session, other = opened(it, 2, 9), it.open("other")
    steps = [it.step(session, value) for value in range(1, 7)] + [it.step(other, value) for value in range(1, 7)]
    it.start()
    assert await outcomes(*steps) == [[float(sum(range(1, n + 1)))] for n in range(1, 7)] * 2
    assert kept(it, session) == [2, 4, 6]
    assert [one.state["sum"].item() for one in it.engine.rewinds.of(session.row)] == [3, 10, 21]


async def test_a_rewound_session_goes_on_from_the_snapshot_and_forgets_what_came_later(serve: Serve) -> None:
    it = serve()
    session = opened(it, 1, 9)
    for value in (1, 2, 3):
        await it.step(session, value)
    assert (await it.lifecycle.rewind(session, 2)).step == 2
    assert kept(it, session) == [1, 2]
    with pytest.raises(StepConflict):
        await it.step(session, 2, step=1)  # its answer is forgotten
    assert outputs(await it.step(session, 10, step=2)) == [13]
    assert outputs(await it.step(await it.lifecycle.rewind(session, 1), 1)) == [2]


async def test_a_rewind_takes_its_turn_between_calls(serve: Serve) -> None:
    it = serve(started=False)
    session = opened(it, 2, 9)
    before = it.step(session, 1, 2)
    rewound = it.lifecycle.rewind(session, 2)
    after, late = it.step(session, 5, step=2), it.step(session, 5, step=7)
    it.start()
    await rewound
    assert (outputs(await before), outputs(await after)) == ([1, 3], [8])
    with pytest.raises(StepConflict):
        await late


async def test_a_rewind_to_what_is_not_kept_changes_nothing_and_calls_behind_it_go_on(serve: Serve) -> None:
    it = serve(started=False)
    session = opened(it, 2, 1)
    before, rewound = it.step(session, 1, 2, 3), asyncio.ensure_future(it.lifecycle.rewind(session, 2))
    unnamed, named = it.step(session, 4), it.step(session, 4, step=2)
    it.start()
    with pytest.raises(SnapshotNotKept) as refused:
        await rewound
    assert (refused.value.extra["snapshots"], refused.value.extra["expected_step"]) == ([3], 3)
    assert (outputs(await before), outputs(await unnamed)) == ([1, 3, 6], [10])
    with pytest.raises(StepConflict):
        await named


async def test_a_replaced_state_forgets_later_snapshots(serve: Serve) -> None:
    it = serve()
    session = opened(it, 1, 9)
    for value in (1, 2, 3):
        await it.step(session, value)
    step, state = 2, {"sum": column(100)}
    await it.lifecycle.replace(session, step, state)
    assert kept(it, session) == [1, 2]


async def test_no_snapshot_is_there_that_the_store_has_not(serve: Serve) -> None:
    store = FakeStore()
    it = serve(store=store)
    session = opened(it, 1, 9)
    await it.step(session, 1)
    assert [type(change) for change in store.written[-1][0]] == [Advanced, Snapped]
    store.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await it.step(session, 2)
    with pytest.raises(StoreUnavailable):
        await it.lifecycle.rewind(session, 1)
    assert (kept(it, session), session.step) == ([1], 1)


async def test_snapshots_count_towards_the_bytes_of_sessions_and_are_given_back(serve: Serve) -> None:
    it = serve()
    bare = it.sessions.statistics().state_bytes
    session = opened(it, 1, 9)
    assert it.sessions.statistics().state_bytes - bare == 10 * it.engine.table.row_bytes
    await it.step(session, 1)
    await it.lifecycle.delete(session)
    assert (it.sessions.statistics().state_bytes, it.engine.rewinds.rows) == (bare, {})
