"""`client.stream()`, sync and async, over real sockets to the fake service."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fake_stream import REFUSED, REPLAY, ProblemError, lone_run
from stream_server import StreamServer, refusal

from carousel_client import (
    AsyncClient,
    AsyncStream,
    Client,
    ConnectionFailed,
    ForeignAnswer,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    RouteNotFound,
    SessionNotFound,
    StateLost,
    StepConflict,
    Stream,
    TimedOut,
)
from carousel_client.retry import Policy
from carousel_client.transport import Service


class Awaited:
    """A blocking stream or channel whose calls can be awaited, so that a test need be written once."""

    def __init__(self, blocking: Any) -> None:
        self._blocking = blocking

    async def open(self, *args: Any, **kwargs: Any) -> Awaited:
        return Awaited(self._blocking.open(*args, **kwargs))

    async def step(self, channels: Any, *args: Any, **kwargs: Any) -> Any:
        return self._blocking.step(plain(channels), *args, **kwargs)

    async def submit(self, channels: Any, *args: Any, **kwargs: Any) -> Any:
        return asyncio.wrap_future(self._blocking.submit(plain(channels), *args, **kwargs))

    async def close(self, **kwargs: Any) -> None:
        self._blocking.close(**kwargs)

    async def rewind(self, *args: Any, **kwargs: Any) -> None:
        self._blocking.rewind(*args, **kwargs)

    async def forecast(self, *args: Any, **kwargs: Any) -> Any:
        return self._blocking.forecast(*args, **kwargs)

    async def __aenter__(self) -> Awaited:
        self._blocking.__enter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._blocking.__exit__(*error)

    async def open_many(self, *args: Any, **kwargs: Any) -> list[Awaited]:
        return [Awaited(channel) for channel in self._blocking.open_many(*args, **kwargs)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blocking, name)

    def __repr__(self) -> str:
        return repr(self._blocking)


def plain(channels: Any) -> Any:
    """Without their wrapping, where it is channels."""
    if isinstance(channels, list):
        return [channel._blocking if isinstance(channel, Awaited) else channel for channel in channels]
    return channels


@pytest.fixture
def server() -> Iterator[StreamServer]:
    server = StreamServer()
    yield server
    server.stop()


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, server: StreamServer) -> Callable[..., Any]:
    """A stream whose retries wait for little more than what the service asks for."""

    def stream(url: str | None = None, timeout: float | None = 20.0, retries: int = 4) -> Any:
        policy = Policy(timeout, retries, jitter=lambda low, _: low / 10)
        stream = AsyncStream(Service.at(url or server.url), policy)
        return stream if request.param == "async" else Awaited(Stream(stream))

    return stream


def rows(*values: float) -> Any:
    return np.array([[value, 2 * value] for value in values], np.float32)


async def test_many_channels_step_at_once_and_each_alone(make: Callable[..., Any]) -> None:
    async with make() as stream:
        a, b = await stream.open("sum", "a"), await stream.open("sum", "b")
        outputs = await stream.step([a, b], rows(1, 2))
        assert outputs.tolist() == [[1, 2, 0], [2, 4, 0]]
        assert (await a.step([3, 6])).tolist() == [4, 8, 1]
        assert (await b.step(rows(1, 1))).tolist() == [[3, 6, 1], [4, 8, 2]]
        assert (a.session, a.model, a.version, a.created) == ("a", "sum", "1", True)
        assert (a.next_step, a.replay, a.feature_count, a.output_count) == (2, REPLAY, 2, 3)
        assert "a of sum/1 at step 2" in repr(a)


async def test_many_calls_are_under_way_and_each_answer_finds_its_caller(make: Callable[..., Any]) -> None:
    async with make() as stream:
        channels = [await stream.open("sum", f"s{i}") for i in range(5)]
        answers = [await stream.submit(channels, rows(*range(i, i + 5))) for i in range(200)]
        outputs = [await answer for answer in answers]
    for item in range(5):
        given = rows(*range(item, item + 200))
        np.testing.assert_array_equal([output[item] for output in outputs], lone_run(given))


async def test_ten_thousand_channels_share_a_frame(make: Callable[..., Any], server: StreamServer) -> None:
    n = 10_000
    async with make() as stream:
        channels = await stream.open_many("sum", [str(i) for i in range(n)])
        assert [channel.session for channel in channels] == [str(i) for i in range(n)]
        for _ in range(2):
            outputs = await stream.step(channels, np.arange(2 * n, dtype=np.float32).reshape(n, 2))
    assert outputs.shape == (n, 3)
    np.testing.assert_array_equal(outputs[:, 0], 2 * np.arange(0, 2 * n, 2))
    assert sum(isinstance(frame, bytes) for frame in server.streams.heard()) == 2


async def six_calls(stream: Any) -> None:
    """Two sessions, six calls, every answer checked."""
    a, b = await stream.open("sum", "a"), await stream.open("sum", "b")
    answers = [await stream.submit([a, b] if i % 2 else [a], rows(i, i)[: 1 + i % 2]) for i in range(6)]
    outputs = [await answer for answer in answers]
    np.testing.assert_array_equal([output[0] for output in outputs], lone_run(rows(*range(6))))
    np.testing.assert_array_equal([output[1] for output in outputs[1::2]], lone_run(rows(1, 3, 5)))


async def test_a_line_that_is_cut_at_any_byte_loses_and_doubles_nothing(
    make: Callable[..., Any], server: StreamServer
) -> None:
    async with make(server.cut_url) as stream:
        await six_calls(stream)
    whole = [carried - 6 for carried in server.carried]  # without the last frame, which closes
    for way in (0, 1):
        for budget in range(0, whole[way], 29):
            server.streams.sessions.clear()
            server.budgets.append((budget, None) if way == 0 else (None, budget))
            async with make(server.cut_url) as stream:
                await six_calls(stream)
            assert not server.budgets
            assert [session.step for session in server.streams.sessions.values()] == [6, 3], (way, budget)


async def test_a_line_that_is_cut_again_and_again_gets_there(make: Callable[..., Any], server: StreamServer) -> None:
    server.budgets.extend((budget, None) for budget in range(250, 450, 10))
    async with make(server.cut_url, retries=30) as stream:
        await six_calls(stream)
    assert len(server.streams.sockets) > 5


async def drop(server: StreamServer) -> None:
    for end in list(server._ends):
        end.transport.abort()


async def test_a_service_that_goes_away_is_looked_for_again(make: Callable[..., Any], server: StreamServer) -> None:
    server.close_codes.extend([1001, 1012, 1011])
    async with make() as stream:
        await six_calls(stream)
    assert len(server.streams.sockets) == 4


async def test_a_service_that_is_not_there_fails_all_calls_and_may_come_back(
    make: Callable[..., Any], server: StreamServer
) -> None:
    async with make(server.cut_url, retries=2) as stream:
        channel = await stream.open("sum", "a")
        await channel.step([1, 2])
        server.budgets.extend([(0, None)] * 3)
        await server.soon(drop(server))
        with pytest.raises(ConnectionFailed):
            await channel.step([1, 2])
        assert (await channel.step([1, 2])).tolist() == [2, 4, 1]


async def test_an_address_without_a_service_is_an_error_soon(make: Callable[..., Any]) -> None:
    async with make("http://127.0.0.1:1", retries=1) as stream:
        with pytest.raises(ConnectionFailed):
            await stream.open("sum")


async def test_a_refused_handshake_is_told_and_tried_again_only_where_that_helps(
    make: Callable[..., Any], server: StreamServer
) -> None:
    async with make() as stream:
        server.refusals.append(refusal(404, b'{"code": "not_found", "detail": "no such route"}'))
        with pytest.raises(RouteNotFound, match="no such route"):
            await stream.open("sum", "a")
        server.refusals.append(refusal(200, b"<html>"))
        with pytest.raises(ForeignAnswer):
            await stream.open("sum", "a")
        server.refusals.append(refusal(503, b'{"code": "shutting_down", "retry_after_ms": 1}', Retry_After="1"))
        server.refusals.append(refusal(502, b"<html>"))
        await stream.open("sum", "a")
    assert len(server.paths) == 5


async def test_the_url_may_have_a_path(make: Callable[..., Any], server: StreamServer) -> None:
    async with make(server.url + "/behind/a/proxy/") as stream:
        assert "/behind/a/proxy/v1/stream" in repr(stream)
        await stream.open("sum", "a")
    assert server.paths == ["/behind/a/proxy/v1/stream"]


async def test_problems_are_the_clients_errors(make: Callable[..., Any], server: StreamServer) -> None:
    async with make() as stream:
        with pytest.raises(ModelNotFound):
            await stream.open("unknown", "a")
        a, b = await stream.open("sum", "a"), await stream.open("sum", "b")
        with pytest.raises(InvalidInput, match="it is invalid_input"):
            await a.step([REFUSED, 0])
        for wrong in ([[1, 2], [3]], np.ma.array([1, 2], mask=[0, 1])):
            with pytest.raises(InvalidInput, match=r"^invalid_input: inputs: "):
                await a.step(wrong)
        with pytest.raises(InvalidInput, match="5 features"):
            await a.step([1, 2, 3, 4, 5])
        del server.streams.sessions["b"]
        with pytest.raises(SessionNotFound) as gone:
            await stream.step([a, b], rows(1, 1))
        assert gone.value.session == "b"
        assert (await a.step([1, 2])).tolist() == [1, 2, 0]


async def test_opening_is_tried_again_where_nothing_was_applied(make: Callable[..., Any], server: StreamServer) -> None:
    full = ProblemError(503, "overloaded", retry_after_ms=1)
    async with make(retries=2) as stream:
        server.streams.refuse_opens.extend([full] * 2)
        await stream.open("sum", "a")
        server.streams.refuse_opens.extend([full] * 3)
        with pytest.raises(Overloaded) as refused:
            await stream.open("sum", "b")
    assert refused.value.retry_after == 0.001


async def test_a_service_that_never_answers_is_not_waited_for_beyond_the_timeout(
    make: Callable[..., Any], server: StreamServer
) -> None:
    async with make() as stream:
        channel = await stream.open("sum", "a")
        server.silent = True
        with pytest.raises(TimedOut):
            await channel.step([1, 2], timeout=0.05)
        answer = await stream.submit([channel], rows(1), timeout=0.05)
        with pytest.raises(TimedOut):
            await answer
        server.silent = False
        channel.resume()
        assert (await channel.step([1, 2])).tolist() == [1, 2, 0]  # applied once, though asked for three times
        assert server.streams.sessions["a"].step == 1


async def test_a_service_that_stops_reading_does_not_block_a_call_for_ever(
    make: Callable[..., Any], server: StreamServer
) -> None:
    async with make() as stream:
        channel = await stream.open("sum", "a")
        server.deaf = True
        await server.soon(close_all(server))
        with pytest.raises(TimedOut):
            await stream.step([channel], np.ones((1, 2_000_000, 2), np.float32), timeout=0.3)
        server.deaf = False
        assert (await channel.step([1, 2])).tolist() == [1, 2, 0]


async def close_all(server: StreamServer) -> None:
    for connection in list(server._server.connections):
        await connection.close(1001)


async def test_leaving_waits_for_what_is_under_way(make: Callable[..., Any], server: StreamServer) -> None:
    async with make() as stream:
        channel = await stream.open("sum", "a")
        answers = [await stream.submit([channel], rows(i)) for i in range(20)]
    np.testing.assert_array_equal([(await answer)[0] for answer in answers], lone_run(rows(*range(20))))


async def test_leaving_by_an_error_fails_what_is_under_way(make: Callable[..., Any], server: StreamServer) -> None:
    stream = make()
    with pytest.raises(KeyError):
        async with stream:
            channel = await stream.open("sum", "a")
            server.silent = True
            answer = await stream.submit([channel], rows(1))
            raise KeyError
    with pytest.raises(ConnectionFailed, match="closed"):
        await answer
    with pytest.raises(ConnectionFailed, match="closed"):
        await stream.open("sum", "a")
    await stream.close()


async def test_sessions_of_made_ids_end_with_the_stream_and_others_live_on(
    make: Callable[..., Any], server: StreamServer
) -> None:
    async with make() as stream:
        await stream.open("sum")
        await stream.open("sum", "kept")
        ended = await stream.open("sum", "ended")
        await ended.close(end=True)
        made = await stream.open("sum")
        await made.close(end=False)
        async with await stream.open("sum") as brief:
            assert brief.session in server.streams.sessions
    assert set(server.streams.sessions) == {"kept", made.session}


async def test_a_lost_state_is_an_error(make: Callable[..., Any], server: StreamServer) -> None:
    async with make() as stream:
        channel = await stream.open("sum", "a")
        await channel.step([1, 2])
        server.streams.sessions.clear()
        await server.soon(close_all(server))
        with pytest.raises(StateLost):
            await channel.step([1, 2])


def test_threads_share_a_stream(server: StreamServer) -> None:
    given = rows(*range(50))
    with Client(server.url) as client, client.stream() as stream, ThreadPoolExecutor(8) as threads:

        def live(name: str) -> Any:
            channel = stream.open("sum", name)
            return [channel.step(row) for row in given]

        for outputs in threads.map(live, [f"s{i}" for i in range(8)]):
            np.testing.assert_array_equal(outputs, lone_run(given))


def test_threads_share_a_channel(server: StreamServer) -> None:
    with Client(server.url) as client, client.stream() as stream, ThreadPoolExecutor(8) as threads:
        channel = stream.open("sum", "a")
        outputs = list(threads.map(lambda _: channel.step([1, 1]), range(80)))
    assert sorted(output[0] for output in outputs) == list(range(1, 81))


async def test_tasks_share_a_stream(server: StreamServer) -> None:
    given = rows(*range(50))
    async with AsyncClient(server.url) as client, client.stream() as stream:

        async def live(name: str) -> Any:
            channel = await stream.open("sum", name)
            return [await channel.step(row) for row in given]

        for outputs in await asyncio.gather(*(live(f"s{i}") for i in range(8))):
            np.testing.assert_array_equal(outputs, lone_run(given))


async def test_a_cancelled_call_may_be_made_again(server: StreamServer) -> None:
    async with AsyncClient(server.url) as client, client.stream() as stream:
        channel = await stream.open("sum", "a")
        server.silent = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.step([1, 2]), 0.05)
        server.silent = False
        await server.soon(close_all(server))
        assert (await channel.step([1, 2])).tolist() == [1, 2, 0]
    assert server.streams.sessions["a"].step == 1


def test_a_stream_that_never_was_used_closes(server: StreamServer) -> None:
    with Client(server.url, timeout=math.inf) as client, client.stream():
        pass
    assert server.paths == []


async def back_and_on(stream: Any) -> None:
    """Steps, a rewind between them, and steps again, every answer checked."""
    channel = await stream.open("sum", "s", snapshots={"every": 1, "keep": 9})
    for value in (1, 2, 3):
        await channel.step(np.array([value, 0]))
    await channel.rewind(1)
    assert (channel.next_step, (await channel.step(np.array([5, 0]))).tolist()) == (1, [6, 0, 1])
    assert (await channel.forecast(np.array([[1, 0], [1, 0]]))).tolist() == [[7, 0, 2], [8, 0, 3]]
    with pytest.raises(StepConflict) as caught:
        await channel.rewind(3)
    assert (caught.value.snapshots, caught.value.session) == ([1, 2], "s")
    assert (await channel.step(np.array([1, 0]))).tolist() == [7, 0, 2]


async def test_a_channel_is_set_back_between_its_calls(make: Callable[..., Any]) -> None:
    async with make() as stream:
        await back_and_on(stream)


@pytest.mark.parametrize("way", [0, 1])
async def test_a_channel_is_set_back_though_the_socket_is_cut(
    make: Callable[..., Any], server: StreamServer, way: int
) -> None:
    async with make(server.cut_url) as stream:
        await back_and_on(stream)
    whole = server.carried[way]
    for budget in range(0, whole, 37):
        server.streams.sessions.clear()
        server.budgets.append((budget, None) if way == 0 else (None, budget))
        async with make(server.cut_url) as stream:
            await back_and_on(stream)
        assert not server.budgets
