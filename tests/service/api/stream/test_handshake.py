"""The handshake of a WebSocket, as bytes: what is accepted, and how the others are refused."""

import orjson
import pytest

from service.api.stream.handshake import Handshake, refused
from service.errors import CarouselError, InvalidRequest, NotFound

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3


def head(
    *more: bytes, first: bytes = b"GET /v1/stream HTTP/1.1", version: bytes = b"13", key: bytes | None = KEY
) -> Handshake:
    """A handshake as uvicorn hands it on."""
    lines = [first, b"upgrade: websocket", b"connection: Upgrade", b"sec-websocket-version: " + version]
    keys = [] if key is None else [b"sec-websocket-key: " + key]
    return Handshake(b"\r\n".join([*lines, *keys, *more]) + b"\r\n\r\n")


def test_the_answer_proves_that_the_key_was_read() -> None:
    answer = head().accepted(b"mine")
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert answer.endswith(b"\r\n\r\n")
    lines = answer.split(b"\r\n")
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines, "as in the RFC"
    assert b"x-request-id: mine" in lines
    assert b"sec-websocket-extensions" not in answer and b"sec-websocket-protocol" not in answer


@pytest.mark.parametrize(
    "handshake",
    [
        head(b"content-length: 0"),
        head(b"sec-websocket-extensions: permessage-deflate", b"sec-websocket-protocol: chat"),
        head(b"cookie: " + b"x" * 8000),
        head(first=b"GET /v1/stream?ticket=t HTTP/1.1"),
        head(first=b"GET /v1/%73tream HTTP/1.1"),
        head(key=b" " + KEY + b"  "),
    ],
)
def test_a_handshake_may_have_what_http_allows(handshake: Handshake) -> None:
    assert handshake.accepted(b"id").startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("handshake", "status"),
    [
        (head(first=b"POST /v1/stream HTTP/1.1"), InvalidRequest.status),
        (head(b"content-length: 5"), InvalidRequest.status),
        (head(b"content-length: 0, 0"), InvalidRequest.status),
        (head(b"transfer-encoding: chunked"), InvalidRequest.status),
        (head(b"a: " + b"x" * 9000), InvalidRequest.status),
        (head(first=b"GET /v1/stream?" + b"x" * 9000 + b" HTTP/1.1"), InvalidRequest.status),
        (head(first=b"GET / HTTP/1.1"), NotFound.status),
        (head(first=b"GET /v1/streams HTTP/1.1"), NotFound.status),
        (head(first=b"GET /v1/stream/ HTTP/1.1"), NotFound.status),
        (head(first=b"GET http://x/v1/stream HTTP/1.1"), NotFound.status),
        (head(version=b"8"), 426),
        (head(version=b""), 426),
        (head(version=b"13, 8"), 426),
        (head(b"sec-websocket-version: 13"), 426),
        (head(key=None), InvalidRequest.status),
        (head(b"sec-websocket-key: " + KEY), InvalidRequest.status),
        (head(key=b""), InvalidRequest.status),
        (head(key=b"abc"), InvalidRequest.status),
        (head(key=b"AAAAAAAAAAAAAAAAAAAA"), InvalidRequest.status),
        (head(key=KEY[:-1] + b"!"), InvalidRequest.status),
        (head(key=KEY + b"\xff"), InvalidRequest.status),
    ],
)
def test_any_other_handshake_is_refused(handshake: Handshake, status: int) -> None:
    with pytest.raises(CarouselError) as raised:
        handshake.accepted(b"id")
    assert raised.value.problem()["status"] == status


def test_a_refusal_is_a_problem_document() -> None:
    top, _, body = refused(NotFound("no WebSocket at /x"), b"mine").partition(b"\r\n\r\n")
    lines = top.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 404 Not Found"
    assert {b"content-type: application/problem+json", b"x-request-id: mine", b"connection: close"} < {*lines}
    assert b"content-length: %d" % len(body) in lines
    assert orjson.loads(body)["code"] == "not_found"


def test_the_refusal_of_a_version_names_the_one_that_is_spoken() -> None:
    with pytest.raises(InvalidRequest) as raised:
        head(version=b"8").accepted(b"id")
    lines = refused(raised.value, b"id").partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 426 Upgrade Required"
    assert b"sec-websocket-version: 13" in lines
