"""What an engine lets in: all or nothing, now or never."""

from collections.abc import Callable
from typing import Any

import pytest

from service.engine.admission import PENDING, Admission
from service.errors import CarouselError, EngineFailed, NotStreamable, Overloaded, PayloadTooLarge, ShuttingDown
from service.models.fitness import Fitness
from service.sessions.session import Session
from tests.service.engine.serving import Serve, Serving, call

STEP = 8  # bytes that a time step waits with: a float in, a float out


def admission(serve: Serve, rows: int = 0, steps: int = 0, **how: Any) -> Admission:
    """The admission of an engine for 3 rows and 100 bytes, after a call of so many rows and steps together."""
    it = serve(**{"started": False, "most_rows": 3, "queue_bytes": 100} | how)
    if rows:
        it.engine.submit(call(*[[1]] * (rows - 1), [1] * (steps - rows + 1)))
    made: Admission = it.engine.admission
    return made


@pytest.mark.parametrize(("rows", "steps"), [(3, 12), (0, 0), (1, 1)])
async def test_what_fits_together_is_let_in(serve: Serve, rows: int, steps: int) -> None:
    admission(serve).check(rows, steps)


@pytest.mark.parametrize(("rows", "steps"), [(2, 2), (1, 8)])
async def test_what_does_not_fit_now_is_refused_until_there_is_room(serve: Serve, rows: int, steps: int) -> None:
    busy = admission(serve, rows=2, steps=5)
    with pytest.raises(Overloaded):
        busy.check(rows, steps)
    assert (busy.rows, busy.size) == (2, 5 * STEP)
    idle = admission(serve)
    idle.check(rows, steps)


@pytest.mark.parametrize(("rows", "steps"), [(4, 4), (1, 13)])
async def test_what_can_never_fit_is_too_large_even_while_all_is_full(serve: Serve, rows: int, steps: int) -> None:
    with pytest.raises(PayloadTooLarge):
        admission(serve, rows=3, steps=12).check(rows, steps)


@pytest.mark.parametrize(("seconds", "told"), [(0.0, 1), (0.25, 750), (2.0, 6000), (1e9, 30_000)])
async def test_a_refusal_says_when_to_come_again_within_reason(serve: Serve, seconds: float, told: int) -> None:
    slow = admission(serve, rows=3, steps=3, fitness=Fitness(True, 0.0, 1, seconds_per_step=seconds))
    with pytest.raises(Overloaded) as caught:
        slow.check(1, 1)
    assert caught.value.problem()["retry_after_ms"] == told


@pytest.mark.parametrize(("rows", "steps"), [(0, 0), (1, 1), (4, 13)])
@pytest.mark.parametrize("why", ["draining", "dead"])
async def test_an_engine_that_drains_or_is_dead_lets_nothing_in(serve: Serve, why: str, rows: int, steps: int) -> None:
    closed = admission(serve)
    closed.closed, closed.dead = why == "draining", ValueError("broken") if why == "dead" else None
    with pytest.raises(ShuttingDown if why == "draining" else EngineFailed):
        closed.check(rows, steps)
    assert closed.room() == 0


async def test_what_was_let_in_counts_until_it_is_told(serve: Serve) -> None:
    it = serve(started=False, most_rows=9, queue_bytes=1000)
    session, other = it.open(), it.open("t")
    frame = it.frame((session, [1, 2], 0), (other, [3], 0))
    predict = it.predict([1], [2, 3])
    assert (it.engine.admission.rows, it.engine.admission.size) == (4, 6 * STEP)
    predict.cancel()
    it.start()
    await frame
    await it.quiet()
    assert (it.engine.admission.rows, it.engine.admission.size) == (0, 0)


@pytest.mark.parametrize(
    ("rows", "size", "room"), [(10, 1000, 8), (10, 5 * STEP, 3), (10, 3 * STEP - 1, 0), (2, 1000, 0)]
)
async def test_room_is_how_many_single_steps_fit(serve: Serve, rows: int, size: int, room: int) -> None:
    busy = admission(serve, rows=2, steps=2, most_rows=rows, queue_bytes=size)
    assert busy.room() == room
    busy.check(room, room)
    with pytest.raises((Overloaded, PayloadTooLarge)):
        busy.check(room + 1, room + 1)


async def test_many_calls_are_let_in_together_or_not_at_all(serve: Serve) -> None:
    it = serve(started=False, most=3, most_rows=5)
    session, other = it.open(), it.open("t")
    it.engine.admission.check_many(5, [session, session, other, "new", "new"])
    for refused in ([session] * 6, ["new", "newer"]):
        with pytest.raises((Overloaded, PayloadTooLarge)):
            it.engine.admission.check_many(len(refused), refused)
    assert (it.engine.admission.rows, it.sessions.statistics().live) == (0, 2)


def operations(it: Serving, session: Session) -> list[Callable[[], Any]]:
    return [lambda: it.lifecycle.fork(session, None), lambda: it.lifecycle.read(session)]


async def test_operations_count_among_what_waits_on_a_session_and_a_delete_is_always_let_in(serve: Serve) -> None:
    it = serve(started=False, most_rows=2 * PENDING)
    session = it.open()
    waiting = [it.step(session, 1), *(it.lifecycle.read(session) for _ in range(PENDING - 1))]
    for refused in operations(it, session):
        with pytest.raises(Overloaded):
            refused()
    assert session.waiting == PENDING
    waiting.append(it.lifecycle.delete(session))
    it.start()
    for one in waiting:
        await one


async def test_a_model_that_needs_the_whole_sequence_has_no_sessions(serve: Serve) -> None:
    admission(serve).streamable()
    with pytest.raises(NotStreamable, match="model/1"):
        admission(serve, fitness=Fitness(False, 0.0, 1, 0.0)).streamable()


async def test_refusals_are_counted_by_their_code(serve: Serve) -> None:
    it = serve(started=False)
    for error in (Overloaded("full"), Overloaded("full"), ShuttingDown()):
        it.engine.admission.refuse(error)
    assert it.engine.statistics().refused == {"overloaded": 2, "shutting_down": 1}


def test_an_error_is_a_problem_document_with_its_own_members() -> None:
    assert Overloaded("full", 250).problem() == {
        "type": "urn:carousel:overloaded",
        "title": "Overloaded",
        "status": 503,
        "detail": "full",
        "code": "overloaded",
        "retry_after_ms": 250,
    }
    assert CarouselError().problem()["detail"] == "Internal error"
