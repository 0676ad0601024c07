"""A service that writes behind loses answered steps in a crash: the client sends them again, or says what is lost."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from fake_clock import Clock
from fake_service import FakeService, Sums
from fake_stream import lone_run
from stream_server import StreamServer

from carousel_client import AsyncStream, StateLost, StepConflict
from carousel_client.recent import Recent
from carousel_client.retry import Policy
from carousel_client.transport import Service


def test_what_was_answered_within_the_window_leads_back_to_where_the_service_stands() -> None:
    clock = Clock()
    recent = Recent[str](clock)
    recent.add(0, 1, "before it is known that answers may be lost")
    recent.seconds = 2.0
    for step, after in ((1, 2), (2, 5), (5, 6)):
        recent.add(step, after, f"{step}")
        clock.now += 1
    assert recent.lost(6, 6) == recent.lost(6, None) == recent.lost(6, 9) == []
    assert recent.lost(6, 2) == [(2, 5, "2"), (5, 6, "5")]
    assert recent.lost(6, 3) is None  # within a call: it never stands there
    assert recent.lost(6, 0) is None
    assert recent.lost(7, 2) is None
    clock.now += 1
    recent.add(6, 7, "6")  # the first ones are older than the window and its slack
    assert recent.lost(7, 1) is None
    assert recent.lost(7, 2) is not None
    recent.add(3, 4, "elsewhere")
    assert recent.lost(4, 3) == [(3, 4, "elsewhere")]
    assert recent.lost(4, 2) is None


async def stepped(client: Any, service: FakeService, behind_ms: int | None) -> tuple[Any, list[Sums]]:
    """A session that took four steps, and how the service had it before each of them."""
    service.sessions["s"] = Sums("s", behind_ms=behind_ms)
    session, past = client.session("sum", "s"), list[Sums]()
    await session.resume()
    for value in (1.0, 2.0, 3.0, 4.0):
        past.append(deepcopy(service.sessions["s"]))
        await session.step([[value, 0.0]])
    return session, past


@pytest.mark.parametrize("lost", [1, 2, 4])
async def test_lost_steps_are_sent_again_under_their_steps(client: Any, service: FakeService, lost: int) -> None:
    session, past = await stepped(client, service, 500)
    service.sessions["s"] = past[-lost]
    assert await session.step([[5.0, 0.0]]) == [[15.0, 0.0]]
    assert (session.next_step, service.sessions["s"].step) == (5, 5)


async def test_what_was_answered_before_the_window_is_lost(client: Any, service: FakeService, clock: Clock) -> None:
    session, past = await stepped(client, service, 500)
    clock.now += 60
    await session.step([[5.0, 0.0]])
    service.sessions["s"] = past[1]
    with pytest.raises(StateLost):
        await session.step([[6.0, 0.0]])


@pytest.mark.parametrize("behind_ms", [None, 500])
async def test_a_step_of_another_client_stays_a_conflict(
    client: Any, service: FakeService, behind_ms: int | None
) -> None:
    session, past = await stepped(client, service, behind_ms)
    service.sessions["s"].run([[1.0, 0.0]])
    with pytest.raises(StepConflict):
        await session.step([[5.0, 0.0]])
    if behind_ms is None:  # it promised to lose nothing
        service.sessions["s"] = past[-1]
        with pytest.raises(StepConflict):
            await session.step([[5.0, 0.0]])


@pytest.fixture
def server() -> Iterator[StreamServer]:
    server = StreamServer()
    yield server
    server.stop()


@pytest.fixture
def stream(server: StreamServer) -> AsyncStream:
    return AsyncStream(Service.at(server.url), Policy(20.0, 4, jitter=lambda low, _: low / 10))


async def crash(server: StreamServer, sessions: Any) -> None:
    """The service is back with what it had before."""

    async def cut() -> None:
        server.streams.sessions = sessions
        for connection in server._server.connections:
            connection.transport.abort()

    await server.soon(cut())


def rows(*values: float) -> Any:
    return np.array([[value, 2 * value] for value in values], np.float32)


async def test_a_stream_sends_lost_steps_again_before_all_others(stream: AsyncStream, server: StreamServer) -> None:
    server.streams.promises = {"behind_ms": 500}
    async with stream:
        a, b = await stream.open("sum", "a"), await stream.open("sum", "b")
        await stream.step([a, b], rows(1, 1))
        before = deepcopy(server.streams.sessions)
        await stream.step([a, b], [rows(2, 3), rows(2)])
        await a.step(rows(4))
        await crash(server, before)
        outputs = await stream.step([a, b], rows(5, 5))
    np.testing.assert_array_equal(outputs[0], lone_run(rows(1, 2, 3, 4, 5))[-1])
    np.testing.assert_array_equal(outputs[1], lone_run(rows(1, 2, 5))[-1])
    assert [session.step for session in server.streams.sessions.values()] == [5, 3]


@pytest.mark.parametrize("promises", [{}, {"behind_ms": 500}])
async def test_a_stream_says_what_it_cannot_send_again(
    stream: AsyncStream, server: StreamServer, promises: dict[str, int]
) -> None:
    server.streams.promises = promises
    async with stream:
        a = await stream.open("sum", "a")
        await a.step(rows(1))
        before = deepcopy(server.streams.sessions)
        await a.step(rows(2))
        await crash(server, before if not promises else {})
        with pytest.raises(StateLost):
            await a.step(rows(3))
