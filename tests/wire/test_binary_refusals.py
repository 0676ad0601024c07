"""Binary frames are checked whole: one fault, one text error, nothing applied, and the socket stays open."""

import struct
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosedError

from tests.wire.binary import UNCHECKED, Item, request
from tests.wire.expect import done, problem
from tests.wire.server import Server
from tests.wire.ws import Frame, Socket, dial

ONE = np.array([[1, 2, 3]], np.float32)
TWO = np.repeat(ONE, 2, axis=0)


@pytest.fixture
def three(stream: Socket, name: str) -> Socket:
    """A socket with three channels of `lstm`, one of its version 1 and one of `gru`; each session has taken a step."""
    stream.open_many("lstm", [f"{name}-{index}" for index in range(3)])
    stream.open("lstm", f"{name}-3", version="1")
    stream.open("gru", f"{name}-4")
    for channels in ([1, 2, 3], [4], [5]):
        stream.step([Item(channel, ONE, 0) for channel in channels])
    return stream


def unmoved(stream: Socket) -> None:
    """Each session stands where it stood, and the socket is as good as before."""
    for channels in ([3, 1, 2], [4], [5]):
        told = stream.step([Item(channel, TWO, 1) for channel in channels])
        assert told.steps == dict.fromkeys(channels, 3)


def refusal(stream: Socket, frame: bytes, code: str, **echoed: int | None) -> Frame:
    told = stream.ask(frame)
    assert {key: value for key, value in told.items() if key != "error"} == echoed
    problem(told["error"], code)
    error: Frame = told["error"]
    return error


GOOD = request(7, [Item(1, TWO, 1), Item(2, ONE, 1)])


@pytest.mark.parametrize("size", range(4))
def test_without_an_id_the_error_has_null(three: Socket, size: int) -> None:
    refusal(three, GOOD[:size], "invalid_request", id=None)
    unmoved(three)


@pytest.mark.parametrize("size", [4, 5, 7, 8, 9, 12, 24, 39, 40, 41, 44, 75])
def test_a_frame_that_is_cut_off_says_how_long_it_should_be(three: Socket, size: int) -> None:
    detail = refusal(three, GOOD[:size], "invalid_request", id=7)["detail"]
    assert str(size) in detail
    assert size < 8 or str(40 if size < 40 else 76) in detail
    unmoved(three)


@pytest.mark.parametrize("more", [1, 4, 12, 1000])
def test_a_frame_with_bytes_left_over_is_refused(three: Socket, more: int) -> None:
    assert "76" in refusal(three, GOOD + bytes(more), "invalid_request", id=7)["detail"]
    unmoved(three)


@pytest.mark.parametrize("count", [5, 2**16, 2**32 - 1])
def test_a_count_that_its_frame_does_not_hold_is_refused(three: Socket, count: int) -> None:
    refusal(three, struct.pack("<II", 7, count) + GOOD[8:], "invalid_request", id=7)
    unmoved(three)


def test_a_frame_of_no_channels_is_refused(three: Socket) -> None:
    refusal(three, struct.pack("<II", 7, 0), "invalid_input", id=7)
    unmoved(three)


@pytest.mark.parametrize("place", [0, 1])
def test_a_length_of_zero_is_refused_and_its_place_named(three: Socket, place: int) -> None:
    items = [Item(1, ONE, 1), Item(2, ONE, 1)]
    items[place] = items[place]._replace(inputs=ONE[:0])
    error = refusal(three, request(7, items), "invalid_input", id=7, channel=place + 1)
    assert error["detail"] == f"inputs[{place}]: empty"
    unmoved(three)


def test_lengths_whose_sum_no_frame_holds_are_refused(three: Socket) -> None:
    head = struct.pack("<II2I2I2Q", 7, 2, 1, 2, 2**32 - 1, 2**32 - 1, 1, 1)
    refusal(three, head + ONE.tobytes(), "invalid_request", id=7)
    unmoved(three)


@pytest.mark.parametrize("channel", [0, 6, 64, 65_537, 2**31, 2**32 - 1])
@pytest.mark.parametrize("place", [0, 2])
def test_an_unknown_channel_is_named(three: Socket, channel: int, place: int) -> None:
    items = [Item(1, ONE, 1), Item(2, ONE, 1), Item(3, ONE, 1)]
    items[place] = Item(channel, ONE, 1)
    refusal(three, request(7, items), "channel_not_found", id=7, channel=channel)
    unmoved(three)


def test_a_closed_channel_is_unknown(three: Socket, name: str) -> None:
    three.open("lstm", f"{name}-5")
    again = request(7, [Item(1, ONE, 0), Item(6, ONE, 0)])
    three.tell(again)
    assert three.hear_binary().steps == {1: 1, 6: 1}
    three.ask({"id": 1, "close": {"channel": 6}})
    refusal(three, again, "channel_not_found", id=7, channel=6)
    unmoved(three)


def test_channels_belong_to_one_socket(three: Socket, server: Server) -> None:
    with dial(server.stream_url) as other:
        refusal(other, request(7, [Item(1, ONE)]), "channel_not_found", id=7, channel=1)


def test_a_channel_that_occurs_twice_is_refused(three: Socket) -> None:
    items = [Item(1, ONE, 1), Item(2, ONE, 1), Item(1, ONE, 2)]
    refusal(three, request(7, items), "invalid_request", id=7, channel=1)
    unmoved(three)


@pytest.mark.parametrize("stranger", [4, 5])
def test_channels_of_two_models_or_versions_are_a_mismatch(three: Socket, stranger: int) -> None:
    items = [Item(1, ONE, 1), Item(2, ONE, 1), Item(stranger, ONE, 1)]
    refusal(three, request(7, items), "state_mismatch", id=7, channel=stranger)
    unmoved(three)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 1, 2), (2, 0, 1)])
def test_a_number_that_is_not_finite_is_refused_by_its_place(
    three: Socket, place: tuple[int, int, int], value: float
) -> None:
    items = [Item(1, ONE.copy(), 1), Item(2, TWO.copy(), 1), Item(3, ONE.copy(), 1)]
    item, step, column = place
    items[item].inputs[step, column] = value
    error = refusal(three, request(7, items), "invalid_input", id=7, channel=item + 1)
    assert error["detail"] == f"inputs[{item}][{step}][{column}] (x{column}): not finite"
    unmoved(three)


@pytest.mark.parametrize(
    ("step", "applied"), [(0, True), (2, False), (2**63 - 1, False), (2**63, False), (UNCHECKED - 1, False)]
)
def test_one_step_among_many_that_is_not_the_next_refuses_the_frame(
    stream: Socket, name: str, step: int, applied: bool
) -> None:
    channels = stream.open_many("lstm", [f"{name}-{index}" for index in range(300)])
    stream.step([Item(channel, ONE, 0) for channel in channels])
    items = [Item(channel, TWO, 1) for channel in channels]
    items[217] = Item(channels[217], TWO, step)
    error = refusal(stream, request(7, items), "step_conflict", id=7, channel=218)
    assert (error["expected_step"], error.get("applied", False)) == (1, applied)
    items[217] = Item(channels[217], TWO, 1)
    assert set(stream.step(items).steps.values()) == {3}


def test_a_fault_is_found_before_frames_in_flight_are_done_and_does_not_disturb_them(three: Socket) -> None:
    long = np.repeat(ONE, 3_000, axis=0)
    three.tell(request(1, [Item(1, long, 1), Item(2, long, 1)]))
    three.tell(request(2, [Item(3, ONE, 1), Item(1, ONE, 1)]))
    three.tell(request(3, [Item(3, ONE, 1), Item(1, ONE, 3_001)]))
    assert problem(three.hear()["error"], "step_conflict")["expected_step"] == 3_001
    assert [three.hear_binary().steps for _ in range(2)] == [{1: 3_001, 2: 3_001}, {3: 2, 1: 3_002}]


@pytest.mark.parametrize("kind", [bytes, str])
def test_a_frame_over_the_limit_closes_the_socket_with_1009_and_applies_nothing(
    launch: Callable[..., Server], kind: type
) -> None:
    server = launch(max_body_bytes=2_000).wait_until_ready()
    with dial(server.stream_url) as socket, httpx.Client(base_url=server.url) as http:
        socket.open("lstm", "s")
        fits = np.repeat(ONE, 164, axis=0)
        assert socket.step([Item(1, fits, 0)]).steps == {1: 164}, "1992 bytes"
        over = {"id": 1, "channel": 1, "inputs": [[1, 2, 3]] * 300}
        with pytest.raises(ConnectionClosedError) as closed:
            socket.tell(request(1, [Item(1, np.repeat(ONE, 165, axis=0))]) if kind is bytes else over)
            socket.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        assert done(http.get("/v1/sessions/s"))["step"] == 164


def test_a_text_frame_that_is_not_utf_8_closes_the_socket_with_1007(
    stream: Socket, http: httpx.Client, name: str
) -> None:
    stream.open("lstm", name)
    with pytest.raises(ConnectionClosedError) as closed:
        stream.connection.send(b'{"id":1,"channel":1,"inputs":[[1,2,3]],"\xff":0}', text=True)
        stream.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007
    assert done(http.get(f"/v1/sessions/{name}"))["step"] == 0
