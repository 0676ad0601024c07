"""`WS /v1/stream`: what text frames do."""

import contextlib
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from tests.wire.expect import bits, done, problem, refused
from tests.wire.oracle import Oracle
from tests.wire.server import Server
from tests.wire.ws import Socket, dial

STEP = [1, 2, 3]


@pytest.fixture
def other(server: Server) -> Any:
    with dial(server.stream_url) as socket:
        yield socket


def test_opening_an_unknown_session_creates_it_and_says_all_that_a_client_needs(stream: Socket, name: str) -> None:
    assert stream.ask({"id": 5, "open": {"model": "lstm", "session": name}}) == {
        "id": 5,
        "opened": {
            **{"channel": 1, "session": name, "created": True, "step": 0, "replay": 4},
            **{"feature_count": 3, "output_count": 2, "version": "10"},
        },
    }


def test_without_a_session_one_is_made(stream: Socket, http: httpx.Client) -> None:
    opened = stream.open("gru")
    assert len(opened["session"]) >= 20
    assert (opened["created"], opened["output_count"]) == (True, 1)
    assert done(http.get(f"/v1/sessions/{opened['session']}"))["model"] == "gru"


def test_a_known_session_is_resumed_at_its_step(stream: Socket, http: httpx.Client, name: str) -> None:
    http.post("/v1/models/lstm/sessions?version=1", json={"id": name, "history": [STEP] * 3})
    opened = stream.open("lstm", name)
    assert (opened["created"], opened["step"], opened["version"]) == (False, 3, "1")


def test_a_version_and_a_ttl_can_be_asked_for(stream: Socket, http: httpx.Client, name: str) -> None:
    assert stream.open("lstm", name, version="2", ttl_seconds=50)["version"] == "2"
    session = done(http.get(f"/v1/sessions/{name}"))
    assert (session["version"], session["ttl_seconds"]) == ("2", 50)


def test_channels_count_from_1_and_a_session_opened_again_keeps_its_own(stream: Socket, name: str) -> None:
    assert [stream.open("lstm", f"{name}-{index}")["channel"] for index in (0, 1, 2, 1)] == [1, 2, 3, 2]


def test_a_closed_channel_is_gone_and_its_number_is_never_used_again(stream: Socket, name: str) -> None:
    assert stream.open("lstm", name)["channel"] == 1
    assert stream.ask({"id": 2, "close": {"channel": 1}}) == {"id": 2, "closed": {"channel": 1}}
    problem(stream.ask({"id": 3, "channel": 1, "inputs": [STEP]})["error"], "channel_not_found")
    problem(stream.ask({"id": 3, "close": {"channel": 1}})["error"], "channel_not_found")
    opened = stream.open("lstm", name)
    assert (opened["channel"], opened["created"]) == (2, False)


def test_a_channel_closed_to_its_end_takes_the_session_with_it(stream: Socket, http: httpx.Client, name: str) -> None:
    stream.open("lstm", name)
    assert "closed" in stream.ask({"id": 2, "close": {"channel": 1, "end": True}})
    refused(http.get(f"/v1/sessions/{name}"), "session_not_found")


def test_the_end_comes_after_the_frames_before_it(stream: Socket, http: httpx.Client, name: str) -> None:
    stream.open("lstm", name)
    stream.tell({"id": 2, "channel": 1, "inputs": [STEP] * 2_000})
    stream.tell({"id": 3, "close": {"channel": 1, "end": True}})
    told = {one["id"]: one for one in (stream.hear(), stream.hear())}
    assert told[2]["step"] == 2_000
    assert told[3]["closed"] == {"channel": 1}


def test_pipelined_frames_of_a_channel_run_in_the_order_sent_bit_for_bit(
    stream: Socket, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    inputs = oracle.inputs(rng, 200)
    stream.open("lstm", name)
    for at in range(0, 200, 2):
        stream.tell({"id": at, "channel": 1, "inputs": inputs[at : at + 2].tolist(), "step": at})
    told = sorted((stream.hear() for _ in range(100)), key=lambda one: one["id"])
    assert [one["step"] for one in told] == list(range(2, 202, 2))
    assert bits([step for one in told for step in one["outputs"]]) == bits(oracle.whole(inputs))


def test_a_short_answer_may_overtake_a_long_one(stream: Socket) -> None:
    stream.open("lstm"), stream.open("lstm")
    stream.tell({"id": 1, "channel": 1, "inputs": [STEP] * 4_000})
    stream.tell({"id": 2, "channel": 2, "inputs": [STEP]})
    assert [stream.hear()["id"], stream.hear()["id"]] == [2, 1]


def test_the_answer_has_the_style_of_the_frame(stream: Socket) -> None:
    stream.open("named")
    told = stream.ask({"id": 2, "channel": 1, "inputs": [{"flow": 1, "hour": 2, "day": 3}]})
    assert told.keys() == {"id", "channel", "outputs", "step"}
    assert (told["id"], told["channel"], told["step"]) == (2, 1, 1)
    assert list(told["outputs"][0]) == ["level", "trend"]


def test_several_sockets_hold_one_session(stream: Socket, other: Socket, name: str) -> None:
    assert stream.open("lstm", name)["created"]
    assert not other.open("lstm", name)["created"]
    first = stream.ask({"id": 1, "channel": 1, "inputs": [STEP], "step": 0})
    assert other.ask({"id": 1, "channel": 1, "inputs": [STEP], "step": 0}) == first, "kept, whichever socket asked"
    assert other.ask({"id": 2, "channel": 1, "inputs": [STEP], "step": 1})["step"] == 2


def test_a_lost_socket_leaves_its_sessions_alive_and_its_answers_kept(server: Server, other: Socket, name: str) -> None:
    with contextlib.suppress(ConnectionError), connect(server.stream_url, proxy=None) as lost:
        socket = Socket(lost)
        socket.open("lstm", name)
        socket.tell({"id": 2, "channel": 1, "inputs": [STEP] * 100, "step": 0})
        first = socket.hear()
        socket.tell({"id": 3, "channel": 1, "inputs": [STEP] * 100, "step": 100})
        lost.socket.shutdown(2)
    opened = other.open("lstm", name)
    assert not opened["created"]
    assert opened["step"] in (100, 200)
    again = other.ask({"id": 9, "channel": 1, "inputs": [STEP] * 100, "step": 0})
    assert again["outputs"] == first["outputs"]
    assert other.ask({"id": 9, "channel": 1, "inputs": [STEP] * 100, "step": 100})["step"] == 200


def test_the_handshake_carries_a_request_id_and_compression_is_not_negotiated(server: Server) -> None:
    headers = {"X-Request-Id": "mine-7"}
    with connect(server.stream_url, proxy=None, additional_headers=headers) as connection:
        answer = connection.response
        assert answer is not None
        assert answer.headers["x-request-id"] == "mine-7"
        assert "sec-websocket-extensions" not in answer.headers
