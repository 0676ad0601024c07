"""Binary frames sent again after lost answers and lost sockets: kept answers come back, nothing is applied twice."""

import socket
from collections.abc import Iterator

import numpy as np
import pytest

from tests.wire.binary import UNCHECKED, Item, request, steps_from
from tests.wire.expect import Array, bits, problem
from tests.wire.frames import BINARY, masked
from tests.wire.oracle import Oracle
from tests.wire.server import Server
from tests.wire.ws import Socket, dial

ONE = np.array([[1, 2, 3]], np.float32)
TWO = np.array([[4, 5, 6]], np.float32)


@pytest.fixture
def other(server: Server) -> Iterator[Socket]:
    with dial(server.stream_url) as socket:
        yield socket


def names(name: str, count: int) -> list[str]:
    return [f"{name}-{index}" for index in range(count)]


def steps_run(server: Server) -> float:
    return server.metric("carousel_steps_total", model="lstm", version="10")


def test_a_frame_sent_again_is_answered_bit_for_bit_and_runs_nothing(
    stream: Socket, server: Server, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    stream.open_many("lstm", names(name, 30))
    frame = request(1, steps_from([0] * 30, [oracle.inputs(rng, steps) for steps in range(1, 31)]))
    stream.tell(frame)
    first = stream.connection.recv(timeout=10)
    run = steps_run(server)
    stream.tell(frame)
    assert stream.connection.recv(timeout=10) == first
    assert steps_run(server) == run


def test_items_that_repeat_kept_calls_are_replayed_and_the_others_run(
    stream: Socket, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    """Kept calls of one step and of many, the newest and an older one."""
    stream.open_many("lstm", names(name, 5))
    inputs = [oracle.inputs(rng, 80) for _ in range(5)]
    whole = [oracle.whole(one) for one in inputs]
    stream.step([Item(channel, inputs[channel - 1][:40], 0) for channel in (1, 2)])
    stream.step([Item(channel, inputs[channel - 1][:1], 0) for channel in (3, 4, 5)])
    stream.step([Item(2, inputs[1][40:], 40), Item(4, inputs[3][1:2], 1)])
    parts = {1: (0, 40), 2: (0, 40), 3: (0, 1), 4: (0, 1), 5: (1, 80)}
    told = stream.step([Item(channel, inputs[channel - 1][at:to], at) for channel, (at, to) in parts.items()])
    assert told.steps == {channel: to for channel, (_, to) in parts.items()}
    for channel, (at, to) in parts.items():
        assert told.outputs[channel].tobytes() == bits(whole[channel - 1][at:to])
    assert [stream.open("lstm", id)["step"] for id in names(name, 5)] == [40, 80, 1, 2, 80]


def test_a_retry_of_a_frame_that_still_runs_waits_for_it(
    stream: Socket, other: Socket, server: Server, name: str, oracle: Oracle
) -> None:
    """On the same socket and on another; whole, and mixed with an item that is new."""
    for one in (stream, other):
        one.open_many("lstm", names(name, 4))
    inputs = np.split(np.random.default_rng(1).normal(0, 2, (12_000, 3)).astype(np.float32), 3)
    run = steps_run(server)
    stream.tell(request(1, steps_from([0] * 3, inputs)))
    stream.tell(request(2, steps_from([0] * 3, inputs)))
    first, again = stream.hear_binary(), None
    other.tell(request(3, [*steps_from([0] * 3, inputs), Item(4, ONE, 0)]))
    again, third = stream.hear_binary(), other.hear_binary()
    whole = [bits(oracle.whole(one)) for one in inputs]
    assert {first.id, again.id} == {1, 2}
    assert [[told.outputs[channel].tobytes() for channel in (1, 2, 3)] for told in (first, again, third)] == [whole] * 3
    assert steps_run(server) == run + 12_001


def test_so_many_answers_of_a_session_are_kept_as_opened_says(stream: Socket, name: str) -> None:
    stream.open_many("lstm", names(name, 2))
    kept = stream.open("lstm", f"{name}-0")["replay"]
    frames = [steps_from([step, step], [ONE + step, TWO + step]) for step in range(kept + 2)]
    first = [stream.step(items) for items in frames]
    for items, told in zip(frames[2:], first[2:], strict=True):
        assert repr(stream.step(items)) == repr(told)
    for items in frames[:2]:
        assert problem(stream.ask(request(7, items))["error"], "step_conflict")["applied"]


@pytest.mark.parametrize("given", [TWO, np.repeat(ONE, 2, axis=0), -ONE * 0])
def test_other_inputs_at_a_step_that_was_taken_are_a_conflict(stream: Socket, name: str, given: Array) -> None:
    """A zero with its sign too: the same bits are meant, not equal numbers."""
    stream.open_many("lstm", names(name, 2))
    stream.step(steps_from([0, 0], [ONE * 0, ONE * 0]))
    told = stream.ask(request(7, [Item(1, ONE * 0, 0), Item(2, given, 0)]))
    assert told["channel"] == 2
    assert problem(told["error"], "step_conflict")["applied"]


def test_a_retry_may_come_in_the_other_kind_of_frame(stream: Socket, name: str) -> None:
    stream.open_many("lstm", names(name, 2))
    binary = stream.step([Item(1, ONE, 0)]).outputs[1]
    text = stream.ask({"id": 1, "channel": 1, "inputs": ONE.tolist(), "step": 0})
    assert bits(text["outputs"]) == binary.tobytes()
    text = stream.ask({"id": 1, "channel": 2, "inputs": TWO.tolist(), "step": 0})
    assert stream.step([Item(2, TWO, 0)]).outputs[2].tobytes() == bits(text["outputs"])


def test_an_unchecked_item_runs_each_time(stream: Socket, name: str) -> None:
    stream.open_many("lstm", names(name, 2))
    items = [Item(1, ONE, 0), Item(2, ONE, UNCHECKED)]
    assert [stream.step(items).steps for _ in range(3)] == [{1: 1, 2: 1}, {1: 1, 2: 2}, {1: 1, 2: 3}]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.34, 0.5, 0.67, 0.99, 1.0])
def test_a_frame_cut_off_with_its_socket_is_wholly_accepted_or_not_at_all(
    stream: Socket, server: Server, name: str, oracle: Oracle, share: float
) -> None:
    """Three frames of 50 sessions, cut off after so many of their bytes: `opened.step` tells, and all is sent again."""
    ids = names(name, 50)
    inputs = np.random.default_rng(2).normal(0, 2, (3, 50, 3)).astype(np.float32)
    frames = [request(step, steps_from([step] * 50, inputs[step][:, None])) for step in range(3)]
    sent = b"".join(masked(frame, BINARY) for frame in frames)
    with dial(server.stream_url) as lost:
        lost.open_many("lstm", ids)
        lost.connection.socket.sendall(sent[: int(share * len(sent))])
        lost.connection.socket.shutdown(socket.SHUT_RDWR)
    stream.open_many("lstm", ids)
    stood = {stream.open("lstm", id)["step"] for id in ids}
    assert len(stood) == 1
    assert stood.pop() <= int(3 * share)
    told = []
    for frame in frames:
        stream.tell(frame)
        told.append(stream.hear_binary())
    for channel in range(1, 51):
        assert bits([one.outputs[channel][0] for one in told]) == bits(oracle.whole(inputs[:, channel - 1]))
    assert {stream.open("lstm", id)["step"] for id in ids} == {3}
