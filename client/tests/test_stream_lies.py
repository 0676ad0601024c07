"""Frames that no Carousel sends: each fails the calls of the stream with a CarouselError, and moves nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from fake_stream import FakeStreams
from hypothesis import given
from hypothesis import strategies as st
from stream_server import StreamServer, refusal
from test_stream_protocol import Wire, rows

from carousel_client import AnswerTooLarge, CarouselError, Client, ConnectionFailed, ForeignAnswer, TimedOut

OPENED = {
    "channel": 1,
    "session": "a",
    "created": True,
    "step": 0,
    "replay": 4,
    "feature_count": 2,
    "output_count": 3,
    "version": "1",
}


def opened(**lie: Any) -> str:
    return json.dumps({"id": 1, "opened": OPENED | lie})


@pytest.mark.parametrize(
    "message",
    [
        *(opened(channel=lie) for lie in (0, -1, 2**32, "1", 1.5, None, True)),
        *(opened(step=lie) for lie in (-1, 2**63, "0", None)),
        *(opened(replay=lie) for lie in (0, -1, "4")),
        *(opened(feature_count=lie) for lie in (0, -2, 2**40, "2")),
        *(opened(output_count=lie) for lie in (0, -3, None)),
        opened(session="b"),
        opened(version=1),
        opened(created="yes"),
        json.dumps({"id": 1, "opened": {"channel": 1}}),
        json.dumps({"id": 1, "opened": None}),
        json.dumps({"id": 1, "closed": {"channel": 1}}),
        json.dumps({"id": 1}),
        json.dumps({"id": 2, "opened": OPENED}),
        json.dumps({"id": "1", "opened": OPENED}),
        json.dumps({"id": None, "error": {"code": "invalid_request"}}),
        json.dumps({"id": 1, "error": {"detail": "no code"}}),
        json.dumps({"id": 1, "error": "text"}),
        json.dumps({"id": 1, "error": {"code": 7}}),
        "[" * 100_000,
        "<html>",
        "",
        "NaN",
        b"",
        b"\1\0\0",
        (1).to_bytes(4, "little") + bytes(20),
    ],
)
def test_an_opening_that_does_not_fit_is_foreign(message: str | bytes) -> None:
    wire, answer = Wire(FakeStreams()), Future[Any]()
    wire.protocol.open("a", {"model": "sum"}, answer)
    wire.connect()
    wire.protocol.next_frame()
    with pytest.raises(ForeignAnswer):
        wire.protocol.received(message)


def frame(id: int, channels: list[int], steps: list[int], outputs: Any, n: int | None = None) -> bytes:
    """A binary answer of one step for each channel."""
    counts = np.array([id, len(channels) if n is None else n], "<u4").tobytes()
    lengths = np.ones(len(channels), "<u4").tobytes()
    columns = np.array(channels, "<u4").tobytes() + lengths + np.array(steps, "<u8").tobytes()
    return counts + columns + np.asarray(outputs, "<f4").tobytes()


OUTPUTS = [[1, 2, 0], [1, 2, 0]]
LIES = {
    "another channel": frame(3, [1, 3], [1, 1], OUTPUTS),
    "swapped channels": frame(3, [2, 1], [1, 1], OUTPUTS),
    "fewer channels": frame(3, [1], [1], OUTPUTS[:1]),
    "a count that lies": frame(3, [1, 2], [1, 1], OUTPUTS, n=2**32 - 1),
    "another next step": frame(3, [1, 2], [1, 2], OUTPUTS),
    "a next step of the past": frame(3, [1, 2], [1, 0], OUTPUTS),
    "fewer outputs": frame(3, [1, 2], [1, 1], OUTPUTS[:1]),
    "wider outputs": frame(3, [1, 2], [1, 1], np.ones((2, 4))),
    "cut off": frame(3, [1, 2], [1, 1], OUTPUTS)[:-1],
    "NaN": frame(3, [1, 2], [1, 1], [[1, 2, 0], [1, np.nan, 0]]),
    "infinity": frame(3, [1, 2], [1, 1], [[1, np.inf, 0], [1, 2, 0]]),
    "another id": frame(4, [1, 2], [1, 1], OUTPUTS),
    "only a head": frame(3, [1, 2], [1, 1], OUTPUTS)[:8],
    "text": json.dumps({"id": 3, "outputs": OUTPUTS, "step": 1}),
    "opened": json.dumps({"id": 3, "opened": OPENED}),
    "a failure elsewhere": json.dumps(
        {"id": 3, "error": {"code": "internal"}, "failed": [{"channel": 9, "error": {"code": "internal"}}]}
    ),
    "a failure of no code": json.dumps(
        {"id": 3, "error": {"code": "internal"}, "failed": [{"channel": 1, "error": {}}]}
    ),
    "failures of text": json.dumps({"id": 3, "error": {"code": "internal"}, "failed": "all"}),
}


@pytest.mark.parametrize("message", LIES.values(), ids=LIES.keys())
def test_an_answer_that_does_not_fit_its_steps_is_foreign_and_moves_nothing(message: str | bytes) -> None:
    service = FakeStreams()
    wire = Wire(service)
    channels = [wire.open("a"), wire.open("b")]
    answer = wire.step(channels, rows(1, 1))
    assert wire.protocol.next_frame() is not None
    with pytest.raises(ForeignAnswer) as foreign:
        wire.protocol.received(message)
    wire.protocol.lost(foreign.value, again=False)
    assert isinstance(answer.exception(0), ForeignAnswer)
    assert [channel.next_step for channel in channels] == [0, 0]
    again = wire.step(channels, rows(1, 1))
    wire.socket = None
    wire.run()
    assert again.result(0).tolist() == OUTPUTS


def test_a_model_that_is_another_after_a_lost_socket_is_foreign() -> None:
    wire = Wire(FakeStreams())
    wire.open("a")
    wire.cut()
    wire.step([wire.protocol._order.channels["a"]], rows(1))
    wire.connect()
    wire.protocol.next_frame()
    with pytest.raises(ForeignAnswer):
        wire.protocol.received(json.dumps({"id": 2, "opened": OPENED | {"created": False, "output_count": 4}}))


texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda one: (
        st.lists(one, max_size=3)
        | st.dictionaries(
            st.sampled_from(["opened", "closed", "error", "failed", "channel", "code", "id", "step"]), one, max_size=4
        )
    ),
    max_leaves=8,
)


def told(id: int, tree: Any) -> str:
    return json.dumps({**tree, "id": id} if isinstance(tree, dict) else tree)


@given(
    st.lists(st.builds(told, st.integers(0, 5), texts) | st.text(max_size=20) | st.binary(max_size=80), max_size=4),
    st.binary(max_size=60),
)
def test_any_frames_at_all_raise_nothing_but_errors_of_the_client(messages: list[str | bytes], tail: bytes) -> None:
    wire = Wire(FakeStreams())
    channels = [wire.open("a"), wire.open("b")]
    answers = [wire.step(channels, rows(1, 1)), wire.step(channels[:1], rows(2))]
    closed = Future[Any]()
    wire.protocol.close(channels[1], closed, end=True)
    while wire.protocol.next_frame() is not None:
        pass
    error: CarouselError = ConnectionFailed("cut")
    try:
        for message in [*messages, (3).to_bytes(4, "little") + tail]:
            wire.protocol.received(message)
    except CarouselError as foreign:
        error = foreign
    wire.protocol.lost(error, again=False)
    for answer in [*answers, closed]:
        assert answer.done()
        assert answer.exception(0) is None or isinstance(answer.exception(0), CarouselError)


@pytest.fixture
def server() -> Iterator[StreamServer]:
    server = StreamServer()
    yield server
    server.stop()


@pytest.mark.parametrize("lie", ["<html>", b"\xff" * 40, json.dumps({"id": 99, "closed": {"channel": 1}})])
def test_a_lie_on_the_socket_fails_the_call_at_once_and_the_next_call_has_a_new_socket(
    server: StreamServer, lie: str | bytes
) -> None:
    with Client(server.url, timeout=20) as client, client.stream() as stream:
        channel = stream.open("sum", "a")
        server.lies.append(lie)
        with pytest.raises(ForeignAnswer):
            channel.step([1, 2])
        assert channel.step([1, 2]).tolist() == [1, 2, 0]
        assert len(server.streams.sockets) == 2


def test_a_frame_is_bounded_in_size(server: StreamServer) -> None:
    with Client(server.url, timeout=20, max_answer_bytes=10_000) as client, client.stream() as stream:
        channel = stream.open("sum", "a")
        server.lies.append("x" * 10_001)
        with pytest.raises(AnswerTooLarge):
            channel.step([1, 2])
        assert channel.step([1, 2]).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    "refused",
    [
        refusal(302, b"", Location="http://127.0.0.1:1/"),
        refusal(302, b"", Location="http://[::1"),
        refusal(200, b"<html>"),
        refusal(404, b"\xff\xfe"),
        refusal(500, b'{"code": 7}', Retry_After="soon"),
        refusal(400, b"[" * 100_000),
    ],
)
def test_a_handshake_of_another_service_is_foreign(server: StreamServer, refused: Any) -> None:
    with Client(server.url, timeout=20) as client, client.stream() as stream:
        server.refusals.append(refused)
        with pytest.raises(ForeignAnswer):
            stream.open("sum", "a")
        stream.open("sum", "a")


def test_a_socket_that_cannot_be_had_is_told_when_the_timeout_passes() -> None:
    late = pytest.raises(TimedOut, match="the last socket: connection_failed")
    with Client("http://127.0.0.1:1", timeout=0.3) as client, client.stream() as stream, late:
        stream.open("sum", "a")


def test_a_channel_that_stands_for_two_sessions_is_foreign() -> None:
    wire = Wire(FakeStreams())
    wire.open("a")
    wire.protocol.open("b", {"model": "sum"}, Future())
    wire.protocol.next_frame()
    with pytest.raises(ForeignAnswer, match="two sessions"):
        wire.protocol.received(json.dumps({"id": 2, "opened": OPENED | {"session": "b"}}))
