"""Malformed requests of the Open Inference Protocol: 4xx with `{"error": …}` and nothing else, and the server lives."""

import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from tests.wire.server import Server

INFER = "/v2/models/sum/infer"
GOOD = {"name": "input", "shape": [1, 2, 1], "datatype": "FP32", "data": [1, 2]}
RAW = {"name": "input", "shape": [1, 2, 1], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
NUMBERS = np.array([1, 2], "<f4").tobytes()
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def send(server: Server) -> Iterator[Any]:
    """Post a body → the error that it is told; afterwards the server answers as before."""
    with httpx.Client(base_url=server.url, timeout=30) as http:

        def ask(content: bytes, status: int, length: object = None, path: str = INFER, **headers: str) -> str:
            given = headers if length is None else headers | {LENGTH: str(length)}
            answer = http.post(path, content=content, headers=given)
            assert answer.status_code == status, answer.text
            told = answer.json()
            assert told.keys() == {"error"}
            assert told["error"]
            return str(told["error"])

        yield ask
        assert http.post(INFER, json={"inputs": [GOOD]}).json()["outputs"][0]["data"] == [1, 3]


def text(*inputs: dict[str, Any], **others: Any) -> bytes:
    return json.dumps({"inputs": [*inputs], **others}, separators=(",", ":")).encode()


@pytest.mark.parametrize("length", [-1, "+5", "1e2", "", "x", 10**20, 10**18, "1 2", 10_000])
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_length_that_is_none(send: Any, length: object, packed: bool) -> None:
    content = text(RAW) + NUMBERS
    how = {"Content-Encoding": "gzip"} if packed else {}
    assert "Content-Length is" in send(gzip.compress(content) if packed else content, 400, length, **how)


@pytest.mark.parametrize("more", [-1, 1, 7, -8])
def test_a_header_length_that_cuts_elsewhere(send: Any, more: int) -> None:
    send(text(RAW) + NUMBERS, 400, len(text(RAW)) + more)


@pytest.mark.parametrize(
    ("one", "behind"),
    [
        (RAW, NUMBERS[:-1]),
        (RAW, NUMBERS + b"\0"),
        (RAW, b""),
        (GOOD, NUMBERS),
        (RAW | {"parameters": {"binary_data_size": 4}}, NUMBERS),
        (RAW | {"parameters": {"binary_data_size": -8}}, NUMBERS),
        (RAW | {"parameters": {"binary_data_size": 2**63}}, NUMBERS),
        (RAW | {"parameters": {"binary_data_size": 8.0}}, NUMBERS),
        (RAW | {"shape": [1, 2**63, 1]}, NUMBERS),
        (RAW | {"shape": [2**61, 0, 1], "parameters": {"binary_data_size": 0}}, b""),
        (RAW | {"data": [1, 2]}, NUMBERS),
    ],
)
def test_sizes_that_do_not_add_up(send: Any, one: dict[str, Any], behind: bytes) -> None:
    content = text(one)
    send(content + behind, 422 if 0 in one["shape"] else 400, len(content))


@pytest.mark.parametrize(
    "shape",
    [None, 1, "x", [], [2], [1, 2], [1, 2, 2], [1, 1, 2, 1], [-1, 2, 1], [True, 2, 1], [2**63, 1, 1], [1.0, 2, 1]],
)
def test_shapes_that_are_none(send: Any, shape: Any) -> None:
    send(text(GOOD | {"shape": shape}), 422 if shape in ([2], [1, 2], [1, 1, 2, 1]) else 400)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"data": []}, 400),
        ({"data": [1, 2, 3]}, 400),
        ({"data": [[1], [2, 3]]}, 400),
        ({"data": [1, "2"]}, 422),
        ({"data": [1, True]}, 422),
        ({"data": [1, None]}, 422),
        ({"data": [[1], 2]}, 422),
        ({"data": {"0": 1}}, 422),
        ({"data": "12"}, 422),
        ({"data": [1, 1e39]}, 422),
        ({"datatype": "FP64"}, 400),
        ({"datatype": ["FP32"]}, 400),
        ({"datatype": None}, 400),
        ({"name": "state.sum"}, 400),
        ({"name": ["input"]}, 400),
        ({"parameters": []}, 400),
        ({"parameters": {"shared_memory_region": "r"}, "data": None}, 400),
        ({"parameters": {"shared_memory_region": "r"}}, 400),
    ],
)
def test_tensors_that_are_none(send: Any, change: dict[str, Any], status: int) -> None:
    send(text(GOOD | change), status)


@pytest.mark.parametrize("lengths", [[0], [3], [-1], [1, 1], [1.0], [2**63], [2**31]])
def test_lengths_that_are_none(send: Any, lengths: list[Any]) -> None:
    given = {"name": "lengths", "shape": [len(lengths)], "datatype": "INT32", "data": lengths}
    send(text(GOOD, given), 422)


@pytest.mark.parametrize(
    "others",
    [
        {"id": 7},
        {"parameters": 1},
        {"parameters": {"sequence_id": -1}},
        {"parameters": {"sequence_id": 2**64}},
        {"parameters": {"sequence_id": 1.5}},
        {"parameters": {"sequence_id": True}},
        {"parameters": {"sequence_id": 1, "sequence_start": 1}},
        {"parameters": {"sequence_end": True}},
        {"parameters": {"binary_data_output": "true"}},
        {"parameters": {"timeout": -1}},
        {"parameters": {"timeout": "5"}},
        {"outputs": {}},
        {"outputs": [{"name": "state"}]},
        {"outputs": [{"name": "output"}, {"name": "output"}]},
        {"outputs": [{"name": "output", "parameters": {"classification": 2}}]},
        {"outputs": ["output"]},
    ],
)
def test_requests_that_are_none(send: Any, others: dict[str, Any]) -> None:
    send(text(GOOD, **others), 400)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b'{"inputs":[]}',
        b'{"inputs":[null]}',
        b'{"inputs":NaN}',
        b"\xff\xfe",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"inputs":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        text(GOOD, GOOD),
        text(*[GOOD | {"name": str(index)} for index in range(1025)]),
        text({"name": "lengths", "shape": [1], "datatype": "INT32", "data": [1]}),
    ],
)
def test_bodies_that_are_no_requests(send: Any, content: bytes) -> None:
    send(content, 400)


def test_data_nested_as_deep_as_json_may_be(send: Any) -> None:
    content = text(GOOD).replace(b'"data":[1,2]', b'"data":' + b"[" * 900 + b"1" + b"]" * 900)
    send(content, 400)
    send(content.replace(b"[" * 900, b"[" * 9_000).replace(b"]" * 900, b"]" * 9_000), 400)


def test_bodies_that_are_packed_badly_or_too_well(send: Any) -> None:
    good = gzip.compress(text(GOOD))
    send(good[:-9], 400, **{"Content-Encoding": "gzip"})
    send(b"no gzip", 400, **{"Content-Encoding": "gzip"})
    send(good, 415, **{"Content-Encoding": "br"})
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = b"".join(bomb.compress(b" " * 2**20) for _ in range(65)) + bomb.flush()
    send(content, 413, **{"Content-Encoding": "gzip"})


def test_every_other_error_is_an_object_with_error_alone(server: Server) -> None:
    with httpx.Client(base_url=server.url) as http:
        answers = {
            404: http.get("/v2/nothing"),
            405: http.get(INFER),
            413: http.post(INFER, content=b" " * (64 * 2**20 + 1)),
            403: http.post(INFER, headers={"Origin": "https://elsewhere.example"}),
        }
        answers |= {400: http.post(INFER, json={"inputs": [GOOD]}, headers={"X-Request-Timeout-Ms": "soon"})}
    for status, answer in answers.items():
        assert (answer.status_code, [*answer.json()]) == (status, ["error"])
    assert answers[405].headers["Allow"] == "POST"
    assert all("x-request-id" in answer.headers for answer in answers.values())


def test_what_is_no_http_is_told_so_too(server: Server) -> None:
    head = b"POST /v2/models/sum/infer HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
        told = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert b" 400 " in told.split(b"\r\n")[0]
    assert orjson.loads(told.split(b"\r\n\r\n")[1]).keys() == {"error"}
