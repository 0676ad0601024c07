"""How long sessions live, and how many there may be, while an engine works on them."""

import pytest

from service.errors import NonFiniteOutput, Overloaded, SessionExpired, StepConflict
from tests.fakes import RunningSum, column
from tests.service.engine.serving import TTL, Serve, outputs, summed


@pytest.mark.parametrize("touch", ["step", "replay", "fork", "replace"])
async def test_what_uses_a_session_restarts_its_idle_clock(serve: Serve, touch: str) -> None:
    it = serve()
    session = it.open()
    await it.step(session, 1, step=0)
    it.clock.advance(TTL - 1)
    match touch:
        case "step":
            await it.step(session, 2)
        case "replay":
            await it.step(session, 1, step=0)
        case "fork":
            await it.lifecycle.fork(session, None)
        case "replace":
            await it.lifecycle.replace(session, 0, summed(0))
    it.clock.advance(TTL - 1)
    assert it.sessions.get("s") == session
    it.clock.advance(1)
    with pytest.raises(SessionExpired):
        it.sessions.get("s")


async def test_reading_does_not_restart_the_idle_clock_and_neither_does_a_refused_call(serve: Serve) -> None:
    it = serve()
    session = it.open()
    it.clock.advance(TTL - 1)
    await it.lifecycle.read(session)
    with pytest.raises(StepConflict):
        await it.step(session, 1, step=9)
    assert it.sessions.stands(session).left == 1


async def test_a_waiting_call_holds_the_idle_clock(serve: Serve) -> None:
    it = serve(started=False)
    session = it.open()
    answer = it.step(session, 1)
    it.clock.advance(10 * TTL)
    it.sessions.sweep(10)
    assert it.sessions.get("s") == session
    it.start()
    await answer
    assert it.sessions.stands(session).left == TTL


async def test_a_full_table_refuses_openings_and_forks_but_no_steps(serve: Serve) -> None:
    it = serve(most=2)
    session, _ = it.open(), it.open("t")
    for refused in (lambda: it.open("u"), lambda: it.lifecycle.fork(session, "u")):
        with pytest.raises(Overloaded):
            refused()
    with pytest.raises(Overloaded):
        await it.lifecycle.open_warm("u", TTL, column(1))
    with pytest.raises(Overloaded):
        it.engine.admission.check(1, 1, opening=1)
    it.nothing_leaks()
    assert outputs(await it.step(session, 1)) == [1]
    await it.lifecycle.delete(session)
    it.engine.admission.check(1, 1, opening=1)
    it.open("u")


async def test_an_opening_is_taken_back_unless_something_was_applied_or_waits(serve: Serve) -> None:
    it = serve(RunningSum(nan_on=13))
    unused, used, busy = it.open("unused"), it.open("used"), it.open("busy")
    with pytest.raises(NonFiniteOutput):
        await it.step(unused, 13)
    await it.step(used, 1)
    waiting = it.step(busy, 1)
    called_on = it.open("called on")
    for session in (unused, used, busy):
        it.lifecycle.take_back(session, session.deadline)
    it.lifecycle.take_back(unused, unused.deadline)
    it.lifecycle.take_back(called_on, called_on.deadline - 1)
    await waiting
    assert [it.sessions.find(id) for id in ("unused", "used", "busy", "called on")] == [None, used, busy, called_on]
