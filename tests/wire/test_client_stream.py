"""`client.stream()` against the real service: bit-equal to the lone run, through cuts and a shutdown."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from carousel_client import (
    Client,
    ConnectionFailed,
    InvalidInput,
    NonFiniteOutput,
    PartlyFailed,
    StateLost,
    StepConflict,
    Stream,
)
from carousel_client.blocking import run
from tests.wire.conftest import NOT_FINITE
from tests.wire.oracle import Oracle
from tests.wire.server import Server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, timeout=30) as client:
        yield client


@pytest.fixture
def stream(client: Client) -> Iterator[Stream]:
    with client.stream() as stream:
        yield stream


def cut(stream: Stream) -> None:
    """Lose the socket without a word."""

    async def abort() -> None:
        stream._async._socket.abort()

    run(abort())


def test_every_form_of_inputs_gives_the_bits_of_the_lone_run(
    stream: Stream, oracle: Oracle, rng: np.random.Generator
) -> None:
    channels = stream.open_many("lstm", [None] * 5)
    inputs = [oracle.inputs(rng, 12) for _ in channels]
    calls: list[Any] = [
        np.stack([given[0] for given in inputs]),
        np.stack([given[1:5] for given in inputs]),
        [given[5 : 6 + item] for item, given in enumerate(inputs)],
    ]
    answers = [stream.submit(channels, call) for call in calls]
    steps, blocks, ragged = [answer.result() for answer in answers]
    for item, given in enumerate(inputs):
        told = np.concatenate([steps[item][None], blocks[item], ragged[item]])
        np.testing.assert_array_equal(told, oracle.whole(given)[: len(told)])
        assert channels[item].next_step == len(told)


def test_a_row_alone_is_answered_like_the_rest_interface(stream: Stream, client: Client, name: str) -> None:
    channel = stream.open("lstm", name)
    with client.session("lstm") as session:
        for row in np.eye(3, dtype=np.float32):
            np.testing.assert_array_equal(channel.step(row), session.step(row))


def test_ten_thousand_channels_share_a_frame(stream: Stream, oracle: Oracle, rng: np.random.Generator) -> None:
    inputs = oracle.inputs(rng, 10_000)
    channels = stream.open_many("lstm", [None] * len(inputs))
    outputs = stream.step(channels, inputs)
    for item in (0, 1, 4_999, 9_999):
        np.testing.assert_array_equal(outputs[item], oracle.whole(inputs[item : item + 1])[0])


def test_cuts_while_calls_are_under_way_lose_and_double_nothing(
    stream: Stream, oracle: Oracle, rng: np.random.Generator
) -> None:
    channels = stream.open_many("lstm", [None] * 8)
    inputs = np.stack([oracle.inputs(rng, 200) for _ in channels])
    answers: list[Future[Any]] = []
    for step in range(200):
        if step % 10 == 5:
            cut(stream)
        answers.append(stream.submit(channels, inputs[:, step]))
    outputs = np.stack([answer.result() for answer in answers], axis=1)
    for given, told in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(told, oracle.whole(given))


def test_threads_share_a_stream(stream: Stream, oracle: Oracle, rng: np.random.Generator) -> None:
    inputs = [oracle.inputs(rng, 30) for _ in range(6)]

    def live(given: Any) -> Any:
        channel = stream.open("lstm")
        return [channel.step(row) for row in given]

    with ThreadPoolExecutor(6) as threads:
        for given, told in zip(inputs, threads.map(live, inputs), strict=True):
            np.testing.assert_array_equal(told, oracle.whole(given))


def test_of_a_call_of_which_one_session_fails_the_others_are_answered(stream: Stream) -> None:
    a, b = stream.open("log"), stream.open("log")
    ones = np.ones(3, np.float32)
    with pytest.raises(PartlyFailed) as partly:
        stream.step([a, b], np.stack([ones, np.array(NOT_FINITE, np.float32)]))
    assert list(partly.value.errors) == [b.session]
    assert isinstance(partly.value.errors[b.session], NonFiniteOutput)
    np.testing.assert_array_equal(partly.value.outputs[0], stream.open("log").step(ones))
    assert (a.next_step, b.next_step) == (1, 0)
    stream.step([a, b], np.stack([ones, ones]))


def test_a_step_of_another_client_is_a_conflict_and_opening_again_goes_on_from_it(
    stream: Stream, client: Client, name: str
) -> None:
    channel = stream.open("lstm", name)
    with client.session("lstm", id=name) as session:
        session.step([[1, 2, 3]] * 2)
    with pytest.raises(StepConflict) as conflict:
        channel.step([1, 2, 3])
    assert (conflict.value.expected_step, conflict.value.session) == (2, name)
    assert stream.open("lstm", name).next_step == 2
    channel.step([1, 2, 3])


def test_wrong_inputs_are_refused_before_they_are_sent(stream: Stream) -> None:
    channel = stream.open("metro-traffic")
    with pytest.raises(InvalidInput, match="3 features, the model has 9"):
        channel.step([1, 2, 3])
    channel.step([3100, 289.4, 0, 0, 40, 14, 2, 5, 1])


def test_a_session_that_was_deleted_while_the_socket_was_lost_is_never_gone_on_with(
    stream: Stream, client: Client, name: str
) -> None:
    channel = stream.open("lstm", name)
    channel.step([1, 2, 3])
    cut(stream)
    client.session("lstm", id=name).delete()
    with pytest.raises(StateLost):
        channel.step([1, 2, 3])
    assert stream.open("lstm", name).next_step == 0


def test_a_service_that_stops_answers_what_it_accepted_and_the_rest_fails(
    launch: Callable[..., Server], oracle: Oracle, rng: np.random.Generator
) -> None:
    server = launch().wait_until_ready()
    inputs = oracle.inputs(rng, 400)
    with Client(server.url, timeout=30, retries=1) as client, client.stream() as stream:
        channel = stream.open("lstm", "s")
        answers = [stream.submit([channel], row[None]) for row in inputs[:200]]
        server.terminate()
        with pytest.raises((ConnectionFailed, StepConflict)):  # of the first that fails, or of one behind it
            while True:
                answers.append(stream.submit([channel], inputs[len(answers) % 400][None]))
        told = [answer.result() for answer in answers if answer.exception() is None]
        assert len(told) == channel.next_step >= 100
        assert all(answer.exception() is not None for answer in answers[len(told) :])
    given = inputs[np.arange(len(told)) % 400]
    np.testing.assert_array_equal(np.concatenate(told), oracle.whole(given))
    assert server.process.wait(timeout=20) == 0
