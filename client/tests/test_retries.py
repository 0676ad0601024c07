from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import pytest
from fake_clock import Clock
from fake_service import (
    FakeService,
    Fault,
    answer_with,
    lose_answer,
    lose_request,
    no_fault,
    problem,
    refuse_connection,
)

from carousel_client import (
    ConnectionFailed,
    EngineFailed,
    ForeignAnswer,
    Internal,
    Overloaded,
    SessionExists,
    SessionNotFound,
    StepConflict,
    TimedOut,
)

OVERLOADED = answer_with(problem(503, "overloaded", {"Retry-After": "1"}, retry_after_ms=20))
UNAPPLIED = {
    "refused": refuse_connection,
    "overloaded": OVERLOADED,
    "shutting_down": answer_with(problem(503, "shutting_down")),
}
UNCERTAIN = {
    "lost answer": lose_answer,
    "lost request": lose_request,
    "proxy's 502": answer_with(httpx.Response(502, text="<html>")),
    "proxy's 503": answer_with(httpx.Response(503, text="<html>")),
    "proxy's 504": answer_with(httpx.Response(504, text="<html>")),
}


def each(faults: dict[str, Fault]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", faults.values(), ids=faults.keys())


@each(UNAPPLIED | UNCERTAIN)
async def test_a_step_is_applied_once_whatever_the_network_does(
    client: Any, service: FakeService, fault: Fault
) -> None:
    async with client.session("sum") as s:
        service.faults.extend([fault, fault, no_fault, fault])
        assert (await s.step([1, 1])) == [1, 1]
        assert (await s.step([1, 1])) == [2, 2]
        assert service.sessions[s.id].step == s.next_step == 2
    assert service.routes().count(f"POST /v1/sessions/{s.id}/steps") == 5


@each(UNAPPLIED | UNCERTAIN)
async def test_reading_and_predicting_are_tried_again(client: Any, service: FakeService, fault: Fault) -> None:
    calls: list[Callable[[], Any]] = [
        client.models,
        lambda: client.model("sum"),
        lambda: client.predict("sum", [[[1, 2]]]),
    ]
    for call in calls:
        service.faults.append(fault)
        assert await call()
    assert len(service.requests) == 6


async def test_an_attempt_is_the_same_request_again(client: Any, service: FakeService) -> None:
    async with client.session("sum") as s:
        service.faults.append(lose_answer)
        await s.step([1, 1])
        first, second = service.requests[-2:]
    assert first.content == second.content
    assert first.headers["X-Request-Id"] == second.headers["X-Request-Id"]
    assert service.requests[0].headers["X-Request-Id"] != first.headers["X-Request-Id"]


@each(UNCERTAIN)
async def test_an_unchecked_call_that_may_have_been_applied_is_not_sent_again(
    client: Any, service: FakeService, fault: Fault
) -> None:
    await client.session("sum", "s").open()
    service.requests.clear()
    calls: list[Callable[[], Any]] = [
        lambda: client.steps("sum", [("s", [[1, 1]]), ("s", [[1, 1]], 1)]),
        lambda: client.restore("s", b"[0, [0, 0]]"),
    ]
    for call in calls:
        service.faults.append(fault)
        with pytest.raises((ConnectionFailed, ForeignAnswer)):
            await call()
    assert len(service.requests) == 2


@each(UNAPPLIED)
async def test_an_unchecked_call_that_was_not_applied_is_sent_again(
    client: Any, service: FakeService, fault: Fault
) -> None:
    service.faults.append(fault)
    (answer,) = await client.steps("sum", [("s", [[1, 1]])], open=True)
    assert answer.outputs == [[1, 1]]
    service.faults.append(fault)
    assert (await client.restore("s", b"[5, [0, 0]]")).next_step == 5


async def test_many_steps_that_are_all_numbered_are_sent_again_and_applied_once(
    client: Any, service: FakeService
) -> None:
    service.faults.append(lose_answer)
    answers = await client.steps("sum", [("s", [[1, 1]], 0), ("t", [[1, 1]], 0), ("s", [[1, 1]], 1)], open=True)
    assert [answer.outputs for answer in answers] == [[[1, 1]], [[1, 1]], [[2, 2]]]
    assert service.sessions["s"].step == 2


@pytest.mark.parametrize(("id", "history"), [(None, []), (None, [[1, 1]]), ("named", [[1, 1]])])
async def test_a_session_whose_creation_was_not_heard_of_is_taken_up(
    client: Any, service: FakeService, id: str | None, history: Any
) -> None:
    service.faults.append(lose_answer)
    async with client.session("sum", id, history=history or None) as s:
        assert (s.created, s.next_step) == (True, len(history))
        assert list(service.sessions) == [s.id]


async def test_a_session_of_a_made_id_is_taken_up_only_as_its_creation_left_it(
    client: Any, service: FakeService
) -> None:
    def moved(serve: Callable[[], httpx.Response]) -> httpx.Response:
        serve()
        next(iter(service.sessions.values())).step = 7
        raise aiohttp.ServerDisconnectedError

    service.faults.append(moved)
    with pytest.raises(SessionExists):
        await client.session("sum").open()


async def test_a_made_id_that_is_taken_without_a_lost_answer_is_not_taken_over(
    client: Any, service: FakeService
) -> None:
    service.faults.append(answer_with(problem(409, "session_exists")))
    with pytest.raises(SessionExists):
        await client.session("sum").open()


async def test_a_fork_whose_answer_was_lost_is_taken_up_only_under_an_id_of_our_making(
    client: Any, service: FakeService
) -> None:
    async with client.session("sum", history=[[1, 1]]) as s:
        service.faults.append(lose_answer)
        fork = await s.fork()
        assert (fork.next_step, fork.model) == (1, "sum")
        service.faults.append(lose_answer)
        with pytest.raises(SessionExists):  # a stranger's session of that name cannot be told from our copy
            await s.fork("named")


async def test_a_deletion_whose_answer_was_lost_has_succeeded(client: Any, service: FakeService) -> None:
    s = client.session("sum")
    await s.open()
    service.faults.append(lose_answer)
    await s.delete()
    assert service.sessions == {}
    service.faults.append(refuse_connection)
    with pytest.raises(SessionNotFound):
        await s.delete()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (answer_with(problem(500, "internal")), Internal),
        (answer_with(httpx.Response(500, text="oops")), ForeignAnswer),
        (answer_with(httpx.Response(302, headers={"Location": "/login"})), ForeignAnswer),
        (answer_with(problem(409, "step_conflict", expected_step=9, applied=True)), StepConflict),
    ],
)
async def test_an_answer_is_an_answer_and_not_asked_for_again(
    client: Any, service: FakeService, fault: Fault, error: type[Exception]
) -> None:
    async with client.session("sum") as s:
        service.faults.append(fault)
        with pytest.raises(error):
            await s.step([1, 1])
        assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (refuse_connection, ConnectionFailed),
        (lose_request, ConnectionFailed),
        (OVERLOADED, Overloaded),
        (answer_with(problem(503, "engine_failed")), EngineFailed),
    ],
)
async def test_giving_up_raises_what_happened_after_all_retries(
    connect: Callable[..., Any], service: FakeService, clock: Clock, fault: Fault, error: type[Exception]
) -> None:
    async with connect(retries=3) as client:
        service.faults.extend([fault] * 9)
        with pytest.raises(error):
            await client.models()
    assert len(service.requests) == 4
    assert len(clock.pauses) == 3


async def test_a_loss_is_not_hidden_behind_a_later_refusal(connect: Callable[..., Any], service: FakeService) -> None:
    async with connect(retries=1) as client, client.session("sum") as s:
        service.faults.extend([lose_answer, OVERLOADED])
        with pytest.raises(ConnectionFailed):  # not Overloaded, which says that nothing was applied
            await s.step([1, 1])
        assert service.sessions[s.id].step == 1


async def test_pauses_double_up_to_a_bound_and_are_jittered(
    connect: Callable[..., Any], service: FakeService, clock: Clock
) -> None:
    async with connect(retries=12, timeout=None) as client:
        service.faults.extend([refuse_connection] * 12)
        await client.models()
    assert all(0 <= pause <= min(5.0, 0.1 * 2**n) for n, pause in enumerate(clock.pauses))
    assert len(set(clock.pauses)) > 6


async def test_a_pause_is_at_least_what_the_service_asks(client: Any, service: FakeService, clock: Clock) -> None:
    service.faults.extend([answer_with(problem(503, "overloaded", {"Retry-After": "3"})), OVERLOADED])
    await client.models()
    assert 3 <= clock.pauses[0] <= 3.1
    assert 0.02 <= clock.pauses[1] <= 0.22


async def test_the_whole_call_has_one_deadline_which_the_service_is_told(
    connect: Callable[..., Any], service: FakeService, clock: Clock
) -> None:
    def slow(_: Callable[[], httpx.Response]) -> httpx.Response:
        clock.now += 1.5
        raise aiohttp.ServerDisconnectedError

    async with connect() as client:
        service.faults.append(slow)
        await client.predict("sum", [[[1, 2]]], timeout=2.0)
    first, second = [int(request.headers["X-Request-Timeout-Ms"]) for request in service.requests]
    assert first == 2000
    assert 400 <= second <= 500


async def test_no_pause_outlasts_the_deadline(client: Any, service: FakeService, clock: Clock) -> None:
    service.faults.append(answer_with(problem(503, "overloaded", {"Retry-After": "30"})))
    with pytest.raises(Overloaded) as refused:
        await client.predict("sum", [[[1, 2]]], timeout=10)
    assert refused.value.retry_after == 30
    assert clock.pauses == []


async def test_a_deadline_that_passes_here_is_told_from_one_that_passed_there(
    client: Any, service: FakeService, clock: Clock
) -> None:
    def silent(_: Callable[[], httpx.Response]) -> httpx.Response:
        clock.now += 10
        raise TimeoutError

    service.faults.append(silent)
    with pytest.raises(TimedOut) as late:
        await client.predict("sum", [[[1, 2]]], timeout=10)
    assert (late.value.status, late.value.code) == (None, "timed_out")
    assert late.value.request_id == service.requests[0].headers["X-Request-Id"]
    assert len(service.requests) == 1


async def test_without_a_timeout_nothing_is_bounded(connect: Callable[..., Any], service: FakeService) -> None:
    async with connect(timeout=None) as client:
        await client.models()
    (request,) = service.requests
    assert "X-Request-Timeout-Ms" not in request.headers
