"""`WS /v1/stream`: what good binary frames do. Every answer is compared with the lone run of the file."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from tests.wire.binary import UNCHECKED, Item, answer, request, steps_from
from tests.wire.expect import bits, done
from tests.wire.oracle import Oracle
from tests.wire.server import Server
from tests.wire.ws import Socket, dial

ONE = np.array([[1, 2, 3]], np.float32)


@pytest.fixture
def other(server: Server) -> Iterator[Socket]:
    with dial(server.stream_url) as socket:
        yield socket


def open_some(stream: Socket, count: int, name: str) -> list[int]:
    return stream.open_many("lstm", [f"{name}-{index}" for index in range(count)])


def test_a_frame_and_its_answer_are_laid_out_byte_by_byte(stream: Socket, name: str, oracle: Oracle) -> None:
    open_some(stream, 7, name)
    first, second = np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([[7, 8, 9]], np.float32)
    head = "EFBEADDE 02000000 07000000 02000000 02000000 01000000"
    steps = "0000000000000000 FFFFFFFFFFFFFFFF"
    inputs = "0000803F 00000040 00004040 00008040 0000A040 0000C040 0000E040 00000041 00001041"
    stream.tell(bytes.fromhex(head + steps + inputs))
    told = stream.connection.recv(timeout=10)
    assert isinstance(told, bytes)
    assert told[:40] == bytes.fromhex(head + "0200000000000000 0100000000000000")
    assert told[40:] == bits(np.concatenate([oracle.whole(first), oracle.whole(second)]))


@pytest.mark.parametrize("id", [0, 1, 2**32 - 1])
def test_the_id_is_echoed_and_not_checked_for_uniqueness(stream: Socket, id: int) -> None:
    stream.open("lstm")
    assert [stream.step([Item(1, ONE)], id).id for _ in range(2)] == [id, id]


def test_ragged_lengths_are_answered_in_the_order_of_the_frame(
    stream: Socket, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    """Lengths around the chunk of a tick among them; three frames, so that states are carried."""
    channels = open_some(stream, 40, name)
    lengths = rng.permutation([*range(1, 35), 63, 64, 65, 97, 200, 500])
    inputs = {channel: oracle.inputs(rng, 3 * int(length)) for channel, length in zip(channels, lengths, strict=True)}
    seen: dict[int, list[bytes]] = {channel: [] for channel in channels}
    for part in range(3):
        order = rng.permutation(channels).tolist()
        thirds = {channel: np.split(inputs[channel], 3)[part] for channel in order}
        told = stream.step([Item(channel, one, part * len(one)) for channel, one in thirds.items()])
        assert list(told.steps.items()) == [(channel, (part + 1) * len(one)) for channel, one in thirds.items()]
        for channel, outputs in told.outputs.items():
            seen[channel].append(outputs.tobytes())
    assert {channel: b"".join(some) for channel, some in seen.items()} == {
        channel: bits(oracle.whole(some)) for channel, some in inputs.items()
    }


def test_ten_thousand_sessions_step_in_one_frame(
    stream: Socket, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    channels = open_some(stream, 10_000, name)
    inputs = rng.normal(0, 2, (2, len(channels), 3)).astype(np.float32)
    told = [stream.step(steps_from([step] * len(channels), inputs[step][:, None])) for step in range(2)]
    assert [list(one.steps.values()) for one in told] == [[1] * 10_000, [2] * 10_000]
    for channel in rng.choice(channels, 200, replace=False).tolist():
        whole = oracle.whole(inputs[:, channel - 1])
        assert bits([one.outputs[channel][0] for one in told]) == bits(whole)


def test_unchecked_steps_run_wherever_the_sessions_stand(stream: Socket, name: str, oracle: Oracle) -> None:
    open_some(stream, 3, name)
    stream.step([Item(2, np.repeat(ONE, 5, axis=0))])
    told = stream.step([Item(1, ONE), Item(2, ONE, UNCHECKED), Item(3, ONE, 0)])
    assert told.steps == {1: 1, 2: 6, 3: 1}
    assert told.outputs[2].tobytes() == bits(oracle.whole(np.repeat(ONE, 6, axis=0))[5])


@pytest.mark.parametrize("model", ["gru", "rnn", "feedforward", "metro-traffic"])
def test_every_model_that_streams_takes_frames(
    stream: Socket, name: str, models: Path, rng: np.random.Generator, model: str
) -> None:
    oracle = Oracle(models / f"{model}/1/model.onnx", twin=model == "rnn")
    stream.open_many(model, [f"{name}-{index}" for index in range(5)])
    inputs = [oracle.inputs(rng, steps) for steps in (1, 2, 3, 40, 1)]
    told = stream.step(steps_from([0] * 5, inputs))
    assert [one.tobytes() for one in told.outputs.values()] == [bits(oracle.whole(one)) for one in inputs]


def test_many_frames_in_flight_on_the_same_channels_stay_in_order(
    stream: Socket, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    """More than the calls that may wait on one session: the rest is held back, and nothing is refused."""
    open_some(stream, 4, name)
    inputs = rng.normal(0, 2, (1500, 4, 3)).astype(np.float32)
    for id, one in enumerate(inputs):
        stream.tell(request(id, steps_from([id] * 4, one[:, None])))
    told = sorted((stream.hear_binary() for _ in inputs), key=lambda one: one.id)
    assert [one.steps for one in told] == [dict.fromkeys([1, 2, 3, 4], step) for step in range(1, 1501)]
    for channel in (1, 2, 3, 4):
        assert bits([one.outputs[channel][0] for one in told]) == bits(oracle.whole(inputs[:, channel - 1]))


def test_text_and_binary_frames_of_a_channel_run_in_the_order_sent(
    stream: Socket, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    open_some(stream, 2, name)
    inputs = oracle.inputs(rng, 300)
    for at in range(0, 300, 3):
        stream.tell({"id": at, "channel": 1, "inputs": inputs[at : at + 1].tolist()})
        stream.tell(request(at + 1, [Item(2, ONE), Item(1, inputs[at + 1 : at + 3])]))
    outputs: dict[int, bytes] = {}
    for _ in range(200):
        content = stream.connection.recv(timeout=10)
        if isinstance(content, bytes):
            told = answer(content)
            outputs[told.id] = told.outputs[1].tobytes()
        else:
            text = orjson.loads(content)
            outputs[text["id"]] = bits(text["outputs"])
    assert b"".join(outputs[id] for id in sorted(outputs)) == bits(oracle.whole(inputs))


def test_a_frame_with_a_short_item_may_overtake_one_with_a_long_item(stream: Socket, name: str) -> None:
    open_some(stream, 3, name)
    stream.tell(request(1, [Item(1, ONE), Item(2, np.repeat(ONE, 4_000, axis=0))]))
    stream.tell(request(2, [Item(3, ONE)]))
    assert [stream.hear_binary().id, stream.hear_binary().id] == [2, 1]


def test_frames_of_several_sockets_on_the_same_sessions_never_mix(
    stream: Socket, other: Socket, name: str, oracle: Oracle
) -> None:
    sockets = (stream, other)
    for socket in sockets:
        open_some(socket, 3, name)
    for id in range(50):
        for socket in sockets:
            socket.tell(request(id, steps_from([UNCHECKED] * 3, [ONE] * 3)))
    told = [socket.hear_binary() for socket in sockets for _ in range(50)]
    whole = oracle.whole(np.repeat(ONE, 100, axis=0))
    for channel in (1, 2, 3):
        seen = {one.steps[channel]: one.outputs[channel].tobytes() for one in told}
        assert seen == {step: bits(whole[step - 1]) for step in range(1, 101)}


def test_a_frame_may_come_in_fragments(stream: Socket, name: str) -> None:
    open_some(stream, 2, name)
    whole = request(9, steps_from([0, 0], [ONE, ONE]))
    stream.connection.send(whole[at : at + 5] for at in range(0, len(whole), 5))
    assert stream.hear_binary().steps == {1: 1, 2: 1}


def test_other_doors_see_what_a_frame_did(stream: Socket, http: httpx.Client, name: str) -> None:
    open_some(stream, 2, name)
    frame = stream.step(steps_from([0, 0], [ONE, ONE]))
    assert done(http.get(f"/v1/sessions/{name}-0"))["step"] == 1
    again = done(http.post(f"/v1/sessions/{name}-0/steps", json={"inputs": ONE.tolist(), "step": 0}))
    assert bits(again["outputs"]) == frame.outputs[1].tobytes(), "kept, whichever door asked"
    done(http.post(f"/v1/sessions/{name}-1/steps", json={"inputs": ONE.tolist(), "step": 1}))
    assert stream.step([Item(2, ONE, 2), Item(1, ONE, 1)]).steps == {2: 3, 1: 2}
