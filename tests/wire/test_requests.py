"""What holds for every request: its id, its problem documents, unknown routes, wrong verbs."""

import re
import socket
from typing import Any

import httpx
import orjson
import pytest
from websockets.exceptions import InvalidStatus

from tests.wire.expect import done, problem, refused
from tests.wire.server import Server
from tests.wire.ws import dial


def raw(server: Server, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to bytes that may be no HTTP; the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.lower(), body


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/metrics", 200),
        ("GET", "/docs", 200),
        ("GET", "/v1/sessions/none", 404),
        ("GET", "/none", 404),
        ("PUT", "/v1/models", 405),
        ("POST", "/v1/models/lstm/predict", 400),
    ],
)
class TestTheRequestId:
    def test_is_the_caller_s(self, http: httpx.Client, verb: str, path: str, status: int) -> None:
        answer = http.request(verb, path, headers={"X-Request-Id": "mine-1"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "mine-1")

    @pytest.mark.parametrize("given", ["", "a b", "x" * 129, "ä"])
    def test_is_ours_where_the_caller_s_is_none(
        self, http: httpx.Client, verb: str, path: str, status: int, given: str
    ) -> None:
        answer = http.request(verb, path, headers={b"X-Request-Id": given.encode()})
        assert answer.headers["x-request-id"] not in ("", given)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1", "/v1/", "/v20", "/v1/models/", "/v1/models/lstm/", "/v1/models/lstm/predict/", "/v1//models"),
        *("/v1/models/a/b/c", "/v1/models/a%2Fb", "/v1/sessions/", "/V1/models", "/health", "/redoc"),
        *("/v1/stream", "/v1/models/%ff/x", "/openapi.yaml"),
    ],
)
@pytest.mark.parametrize("verb", ["GET", "POST", "DELETE"])
def test_an_unknown_route_is_not_found(http: httpx.Client, verb: str, path: str) -> None:
    refused(http.request(verb, path), "not_found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/models", {"GET"}),
        ("/v1/models/lstm", {"GET"}),
        ("/v1/models/lstm/predict", {"POST"}),
        ("/v1/models/lstm/sessions", {"POST"}),
        ("/v1/models/lstm/steps", {"POST"}),
        ("/v1/sessions/s", {"GET", "DELETE"}),
        ("/v1/sessions/s/steps", {"POST"}),
        ("/v1/sessions/s/fork", {"POST"}),
        ("/v1/sessions/s/state", {"GET", "PUT"}),
        ("/health/live", {"GET"}),
        ("/health/ready", {"GET"}),
        ("/metrics", {"GET"}),
    ],
)
def test_a_wrong_verb_is_told_the_right_ones(http: httpx.Client, path: str, allowed: set[str]) -> None:
    for verb in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
        answer = http.request(verb, path)
        refused(answer, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == (allowed | {"HEAD"} if "GET" in allowed else allowed)


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/v1/models", "/v1/models/lstm", "/metrics", "/docs"]
)
def test_head_is_get_without_its_body(http: httpx.Client, path: str) -> None:
    head, get = http.head(path), http.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/models/lstm/predict", 405), ("/v1/sessions/none", 404), ("/none", 404)]
)
def test_head_is_refused_where_get_is(http: httpx.Client, path: str, status: int) -> None:
    head = http.head(path)
    assert (head.status_code, head.content) == (status, b"")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "no type", None]
)
def test_the_content_type_is_not_looked_at(http: httpx.Client, kind: str | None) -> None:
    request = http.build_request("POST", "/v1/models/lstm/predict", content=b'{"sequences":[[[1,2,3]]]}')
    if kind is not None:
        request.headers["content-type"] = kind
    done(http.send(request))


@pytest.mark.parametrize("body", [b"\xff{}", b'{"id":"\xc3("}', "{}".encode("utf-16"), b"\xef\xbb\xbf{}", b"\x00"])
def test_a_body_that_is_not_utf8_is_an_invalid_request(http: httpx.Client, body: bytes) -> None:
    refused(http.post("/v1/models/lstm/sessions", content=body), "invalid_request")


@pytest.mark.parametrize("depth", [200, 300, 1_000, 1_100, 200_000])
def test_deep_nesting_is_refused_and_harms_nobody(http: httpx.Client, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    refused(http.post("/v1/models/lstm/predict", content=f'{{"sequences":[{deep},1e400]}}'), "invalid_request") if (
        depth > 250
    ) else None
    answer = http.post("/v1/models/lstm/steps", content=f'{{"items":[{{"session":{deep},"inputs":[[1,2,3]]}}]}}')
    told: dict[str, Any] = answer.json()
    problem(told["items"][0]["error"] if answer.status_code == 200 else told, "invalid_request")


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "1e3", "", "+5", "9" * 40, "١"])
def test_a_deadline_is_a_whole_number_of_milliseconds(http: httpx.Client, value: str) -> None:
    headers = {b"X-Request-Timeout-Ms": value.encode()}
    answer = http.post("/v1/models/lstm/predict", json={"sequences": [[[1, 2, 3]]]}, headers=headers)
    refused(answer, "invalid_request")


@pytest.mark.parametrize(
    "request_line",
    [b"BREW /v1/models HTTP/1.1", b"GET /v1/models HTTP/9.9", b"GET /\xff HTTP/1.1", b"GET  HTTP/1.1", b"\x16\x03\x01"],
)
def test_what_is_no_http_is_an_invalid_request_too(server: Server, request_line: bytes) -> None:
    head, body = raw(server, request_line + b"\r\nHost: x\r\n\r\n")
    assert head.startswith(b"http/1.1 400")
    assert b"content-type: application/problem+json" in head
    assert b"x-request-id: " in head
    problem(orjson.loads(body), "invalid_request")


@pytest.mark.parametrize("body", [b"", b"no JSON", b'{"inputs":[[1,2,3]]}'])
def test_what_is_no_http_is_told_so_behind_an_error_too(server: Server, body: bytes) -> None:
    first = b"POST /v1/sessions/none/steps HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    _, answers = raw(server, first + body + b"}no HTTP")
    assert b'"status":400,"detail":"no HTTP: ' in answers.rpartition(b"HTTP/1.1 ")[2]


@pytest.mark.parametrize("target", [b"http://localhost", b"HTTP://localhost:80?x=/y", b"http://x/"])
def test_a_target_without_a_path_is_that_of_the_root(server: Server, target: bytes) -> None:
    head, body = raw(server, b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
    assert head.startswith(b"http/1.1 404")
    assert problem(orjson.loads(body), "not_found")["detail"] == "GET /"


@pytest.mark.parametrize(
    "line", [b"Host: x", b"Host: x\r\nX-Request-Timeout-Ms: 60000", b"Host: x\r\nOrigin: http://x"]
)
def test_blanks_behind_the_value_of_a_header_are_no_part_of_it(server: Server, line: bytes) -> None:
    body = b'{"sequences":[[[1,2,3]]]}'
    lines = b"%b \t\r\nConnection: close\r\nContent-Length: %d" % (line, len(body))
    head, _ = raw(server, b"POST /v1/models/lstm/predict HTTP/1.1\r\n%b\r\n\r\n%b" % (lines, body))
    assert head.startswith(b"http/1.1 200")


def test_requests_sent_ahead_are_answered_in_their_order(server: Server, http: httpx.Client, name: str) -> None:
    http.post("/v1/models/lstm/sessions", json={"id": name})
    body = b'{"inputs":[[1,2,3]]}'
    call = f"POST /v1/sessions/{name}/steps HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
    _, answers = raw(server, (call + b"\r\n" + body) * 5 + call + b"Connection: close\r\n\r\n" + body)
    assert re.findall(rb'"step":([0-9]+)', answers) == [b"1", b"2", b"3", b"4", b"5", b"6"]


@pytest.mark.parametrize("path", [b"/v1/models/lstm/predict", b"/v2/models/lstm/infer", b"/v1/models/lstm/sessions"])
@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"X-Request-Timeout-Ms: 5000\r\nX-Request-Timeout-Ms: 1", b"x-request-timeout-ms"),
        (b"X-Request-Id: a\r\nx-request-id: a", b"x-request-id"),
        (
            b"Inference-Header-Content-Length: 1\r\nInference-Header-Content-Length: 2",
            b"inference-header-content-length",
        ),
        (b"Origin: http://a\r\nOrigin: http://x", b"origin"),
        (b"Content-Length: 2\r\nContent-Length: 3", b"content-length"),
        (b"Host: x\r\nContent-Length: 2", b"host"),
    ],
)
def test_a_header_of_which_one_value_is_read_is_there_once(
    server: Server, path: bytes, line: bytes, named: bytes
) -> None:
    length = b"" if b"Content-Length: " in line.replace(b"Header-Content", b"") else b"Content-Length: 2\r\n"
    head, body = raw(server, b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n%b\r\n{}" % (path, line, length))
    assert head.startswith(b"http/1.1 400")
    assert named in body.lower()


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
@pytest.mark.parametrize("query", ["prefix=a&prefix=a", "prefix=&prefi%78=a", "model=lstm&prefix=a&model=sum"])
def test_a_key_of_a_filter_is_there_once(http: httpx.Client, verb: str, query: str) -> None:
    assert "twice" in refused(http.request(verb, f"/v1/sessions?{query}"), "invalid_request")["detail"]


@pytest.mark.parametrize("query", ["prefix=%ff", "prefix=\u0661", "prefix=a%", "prefix=%00&after=%ff"])
def test_a_query_may_be_of_any_characters(http: httpx.Client, query: str) -> None:
    assert done(http.get(f"/v1/sessions?{query}"))["sessions"] == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"X-Request-Id: a\r\nX-Request-Id: b\r\n", b"400"),
        (b"Origin: http://x\r\nOrigin: http://x\r\n", b"400"),
        (b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"400"),
        (b"Sec-WebSocket-Version: 13\r\n", b"426"),
    ],
)
def test_in_a_handshake_too(server: Server, line: bytes, status: bytes) -> None:
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    head, body = raw(server, b"GET /v1/stream HTTP/1.1\r\n" + UPGRADE + key + line + b"\r\n")
    assert head.startswith(b"http/1.1 " + status)
    assert orjson.loads(body)["code"] == "invalid_request"


UPGRADE = b"Host: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"


@pytest.mark.parametrize("verb", [b"GET", b"PUT"])
@pytest.mark.parametrize("rest", [b"Content-Length: 5\r\n\r\nhello", b"A: " + b"x" * 9000 + b"\r\n\r\n"])
def test_a_handshake_that_cannot_be_read_is_an_invalid_request(server: Server, verb: bytes, rest: bytes) -> None:
    head, body = raw(server, verb + b" /v1/stream HTTP/1.1\r\n" + UPGRADE + rest)
    assert head.startswith(b"http/1.1 400")
    assert b"x-request-id: " in head
    problem(orjson.loads(body), "invalid_request")


def test_a_websocket_to_an_unknown_route_is_not_found(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refusal, dial(server.stream_url + "s"):
        pass
    answer = refusal.value.response
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.headers["x-request-id"]
    problem(orjson.loads(answer.body or b""), "not_found")
