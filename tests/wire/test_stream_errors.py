"""`WS /v1/stream`: what frames are refused for; the socket stays open after an error."""

import itertools
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError

from tests.wire.conftest import NOT_FINITE
from tests.wire.expect import done, problem
from tests.wire.server import Server
from tests.wire.ws import Socket, dial

STEP = [1, 2, 3]


def refusal(stream: Socket, frame: dict[str, Any] | str | bytes, code: str, **echoed: Any) -> dict[str, Any]:
    """The problem that a frame leads to, when its answer repeats what is `echoed` and nothing else."""
    told = stream.ask(frame)
    assert {key: value for key, value in told.items() if key != "error"} == echoed
    problem(told["error"], code)
    error: dict[str, Any] = told["error"]
    return error


@pytest.mark.parametrize(
    "frame",
    [
        *("", "{", "[]", "null", "7", '"x"', "{}", '{"id":null}', '{"id":NaN}', '{"open":{"model":"lstm"}}'),
        *('{"id":-1,"open":{"model":"lstm"}}', '{"id":4294967296,"open":{"model":"lstm"}}', '{"id":"1"}'),
        *('{"id":1.5}', '{"id":true}', '{"id":[1]}', '{"id":1e400}', '{"id":18446744073709551616}'),
    ],
)
def test_where_the_id_cannot_be_read_it_is_null(stream: Socket, frame: str) -> None:
    refusal(stream, frame, "invalid_request", id=None)
    assert stream.open("lstm")["channel"] == 1


def test_a_binary_frame_is_answered_with_a_text_error(stream: Socket) -> None:
    told = stream.ask(b"\x01\x02")
    assert told["id"] is None
    problem(told["error"], "invalid_request")


@pytest.mark.parametrize("id", [0, 1, 2**32 - 1])
def test_the_id_is_echoed_and_not_checked_for_uniqueness(stream: Socket, id: int) -> None:
    for _ in range(2):
        refusal(stream, {"id": id, "open": {"model": "none"}}, "model_not_found", id=id)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({}, "invalid_request"),
        ({"x": 1}, "invalid_request"),
        ({"open": {}}, "invalid_request"),
        ({"open": 1}, "invalid_request"),
        ({"open": {"model": 1}}, "invalid_request"),
        ({"open": {"model": "lstm", "x": 1}}, "invalid_request"),
        ({"open": {"model": "lstm"}, "x": 1}, "invalid_request"),
        ({"open": {"model": "lstm", "session": 1}}, "invalid_request"),
        ({"open": {"model": "lstm", "session": "a b"}}, "invalid_request"),
        ({"open": {"model": "lstm", "version": 1}}, "invalid_request"),
        ({"open": {"model": "lstm", "ttl_seconds": 0}}, "invalid_request"),
        ({"open": {"model": "none"}}, "model_not_found"),
        ({"open": {"model": "lstm", "version": "3"}}, "version_not_found"),
        ({"open": {"model": "lstm", "version": "11"}}, "version_not_found"),
        ({"open": {"model": "bidirectional"}}, "not_streamable"),
        ({"close": {}}, "invalid_request"),
        ({"close": {"channel": "1"}}, "invalid_request"),
        ({"close": {"channel": 1, "end": 1}}, "invalid_request"),
        ({"close": {"channel": 9}}, "channel_not_found"),
        ({"close": {"channel": 0}}, "channel_not_found"),
    ],
)
def test_a_bad_open_or_close_changes_nothing(stream: Socket, frame: dict[str, Any], code: str) -> None:
    refusal(stream, {"id": 7, **frame}, code, id=7)
    assert stream.open("lstm")["channel"] == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"inputs": None}, "invalid_input"),
        ({"inputs": []}, "invalid_input"),
        ({"inputs": [[1, 2]]}, "invalid_input"),
        ({"step": -1}, "invalid_request"),
        ({"step": "0"}, "invalid_request"),
        ({"step": 1}, "step_conflict"),
        ({"x": 1}, "invalid_request"),
        ({"channel": 2}, "channel_not_found"),
        ({"channel": -1}, "channel_not_found"),
        ({"channel": 2**40, "inputs": "x"}, "channel_not_found"),
    ],
)
def test_a_bad_call_echoes_its_channel_and_moves_nothing(stream: Socket, change: dict[str, Any], code: str) -> None:
    stream.open("lstm")
    frame = {"id": 7, "channel": 1, "inputs": [STEP]} | change
    error = refusal(stream, frame, code, id=7, channel=frame["channel"])
    if code == "step_conflict":
        assert error["expected_step"] == 0
    assert stream.ask({"id": 8, "channel": 1, "inputs": [STEP], "step": 0})["step"] == 1


@pytest.mark.parametrize("channel", ['"1"', "1.0", "true", "null", "1" * 30, "1e400"])
def test_a_channel_that_is_no_number_is_not_echoed(stream: Socket, channel: str) -> None:
    for inputs in ("[[1,2,3]]", "[[1,2,1e400]]"):
        refusal(stream, f'{{"id":7,"channel":{channel},"inputs":{inputs}}}', "invalid_request", id=7)


def test_a_call_on_a_session_that_was_deleted_elsewhere_is_refused(
    stream: Socket, http: httpx.Client, name: str
) -> None:
    stream.open("lstm", name)
    http.delete(f"/v1/sessions/{name}")
    refusal(stream, {"id": 2, "channel": 1, "inputs": [STEP]}, "session_not_found", id=2, channel=1)
    http.post("/v1/models/lstm/sessions", json={"id": name})
    refusal(stream, {"id": 2, "channel": 1, "inputs": [STEP]}, "session_not_found", id=2, channel=1)
    opened = stream.open("lstm", name)
    assert (opened["channel"], opened["created"]) == (2, False)
    assert done(http.get(f"/v1/sessions/{name}"))["step"] == 0


def test_a_session_of_another_model_or_version_is_a_mismatch(stream: Socket, http: httpx.Client, name: str) -> None:
    http.post("/v1/models/lstm/sessions", json={"id": name})
    refusal(stream, {"id": 1, "open": {"model": "gru", "session": name}}, "state_mismatch", id=1)
    refusal(stream, {"id": 1, "open": {"model": "none", "session": name}}, "state_mismatch", id=1)
    refusal(stream, {"id": 1, "open": {"model": "lstm", "session": name, "version": "1"}}, "state_mismatch", id=1)


def test_outputs_that_are_not_finite_do_not_move_the_state(stream: Socket) -> None:
    stream.open("log")
    refusal(stream, {"id": 2, "channel": 1, "inputs": [NOT_FINITE]}, "non_finite_output", id=2, channel=1)
    assert stream.ask({"id": 3, "channel": 1, "inputs": [[1, 1, 1]], "step": 0})["step"] == 1


def test_a_call_behind_one_that_failed_is_a_conflict_if_it_named_its_step(stream: Socket) -> None:
    stream.open("log")
    for id, (inputs, step) in enumerate([([NOT_FINITE], 0), ([[1, 1, 1]], 1), ([[1, 1, 1]], None)]):
        stream.tell({"id": id, "channel": 1, "inputs": inputs} | ({} if step is None else {"step": step}))
    told = {one["id"]: one for one in itertools.islice(iter(stream.hear, None), 3)}
    problem(told[0]["error"], "non_finite_output")
    assert problem(told[1]["error"], "step_conflict")["expected_step"] == 0
    assert told[2]["step"] == 1


def test_a_frame_over_the_body_limit_closes_the_socket_with_1009(server: Server) -> None:
    with dial(server.stream_url) as socket, pytest.raises(ConnectionClosedError) as closed:
        socket.tell('{"id":1,"x":"' + "x" * 2**26 + '"}')
        socket.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
