"""Heads read at a glance: whatever is read so, a parser of HTTP reads alike."""

from typing import Any

import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.http.request import MANY, PREDICT, STEPS, Head, Request, read


class Parsed:
    """What a parser of HTTP makes of bytes."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.headers, self.complete = b"", b"", [], False  # type: ignore[var-annotated]
        self._parser: Any = httptools.HttpRequestParser(self)
        self._parser.feed_data(data)
        self.method, self.version = self._parser.get_method(), self._parser.get_http_version()
        self.stays = self._parser.should_keep_alive() and not self._parser.should_upgrade()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


PATH = "/v1/sessions/x:1/steps"
GOOD_FIRST = [f"POST {PATH} HTTP/1.1", "POST /v1/models/m/predict HTTP/1.1", "POST /v1/models/m/steps HTTP/1.1"]
BAD_FIRST = [
    f"POST {PATH}?y HTTP/1.1",
    f"GET {PATH} HTTP/1.1",
    f"POST {PATH} HTTP/1.0",
    f"POST  {PATH} HTTP/1.1",
    f"POST {PATH}  HTTP/1.1",
    f"post {PATH} HTTP/1.1",
    f" POST {PATH} HTTP/1.1",
    f"POST {PATH} HTTP/1.1 ",
]
GOOD_NAMES = ["Host", "CONTENT-TYPE", "User-Agent", "x-request-id", "A_b"]
BAD_NAMES = ["Expect", "Upgrade", "Transfer-Encoding", "Content-Encoding", "x y", "", "é", "Content-Length ", "x\ty"]
LENGTHS = ["3", "0", "03", " 3", "3 ", "+3", "3_0", "-1", "", "99999999999"]


def mostly(good: list[str], bad: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(good * (9 * len(bad) // len(good)) + bad)


PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)
values = st.text(PRINTABLE, max_size=9) | st.text(PRINTABLE, max_size=3) | st.text(max_size=2)
line = st.tuples(mostly(GOOD_NAMES, BAD_NAMES), mostly([": "], [":", " : ", ":\t", ":  "]), values).map("".join)
length = mostly(LENGTHS[:2], LENGTHS[2:]).map("Content-Length: {}".format)
stays = mostly(["keep-alive", "Keep-Alive"], ["close", "upgrade", "x"]).map("Connection: {}".format)
lines = st.lists(line | length | stays, max_size=4).map(lambda lines: ["Host: x", *lines])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(mostly(GOOD_FIRST, BAD_FIRST), lines, mostly(["\r\n"], ["\n", "\r", "\r\n ", "\r\n\r\n"]))
def test_a_parser_of_http_reads_alike_what_is_read_here(first: str, lines: list[str], end: str) -> None:
    data = end.join([first, *lines, "", ""]).encode()
    found = read(data, 0)
    if found is None:
        return
    body = b"x" * (found.length % 1000)
    parsed = Parsed(data[: found.end] + body)
    assert (parsed.method, parsed.version, parsed.url, parsed.stays) == (b"POST", "1.1", found.path, True)
    assert sorted((name, value.strip()) for name, value in parsed.headers) == sorted(found.headers.items())
    assert (parsed.body, parsed.complete) == (body, len(body) == found.length)


@given(st.sampled_from(GOOD_FIRST), st.dictionaries(st.sampled_from(GOOD_NAMES[1:]), st.sampled_from(["", "a", "b:c"])))
def test_what_is_like_most_is_read_here(first: str, headers: dict[str, str]) -> None:
    lines = ["Host: x:1", *(f"{name}: {value}" for name, value in headers.items())]
    data = "\r\n".join([first, *lines, "Content-Length: 12", "Connection: Keep-Alive", "", ""]).encode()
    found = read(b"before" + data + b"{}", 6)
    assert found is not None
    assert (found.path, found.end, found.length) == (first.split()[1].encode(), 6 + len(data), 12)
    assert {name.lower(): value for name, value in headers.items()}.items() <= {
        name.decode(): value.decode() for name, value in found.headers.items()
    }.items()


def head(path: str, *lines: str) -> Head | None:
    return read("\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode(), 0)


@pytest.mark.parametrize("name", ["s", "A-z.0_9:@-", "..", "x" * 128])
def test_a_path_names_a_route_and_a_session_or_model(name: str) -> None:
    for route, path in (
        (STEPS, f"/v1/sessions/{name}/steps"),
        (MANY, f"/v1/models/{name}/steps"),
        (PREDICT, f"/v1/models/{name}/predict"),
    ):
        found = head(path)
        assert found is not None
        assert (found.route, found.name, found.length) == (route, name, 0)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/v1/sessions/s/predict", "/v1/models/m/fork", "/v1/sessions//steps", "/v1/sessions/s/t/steps"),
        *("/v1/sessions/s/steps/", "/v1/sessions/s/steps?a=b", "/v1/sessions/s?/steps", "/v1/sessions/%41/steps"),
        *("/v1/sessions/s/steps\n", "/v1/sessions/é/steps", "/v1/sessions/a b/steps", "/V1/sessions/s/steps"),
        *("x/v1/sessions/s/steps", "/v1/sessions/s/stepsx", "/v1/sessions/s/stepS", "*"),
    ],
)
def test_no_other_path_is_read_here(path: str) -> None:
    assert head(path) is None


@pytest.mark.parametrize("line", ["Host: y", "Cookie: " + "x" * 4096, "A: 1\r\nA: 2", "Connection: close", "Expect: x"])
def test_no_unusual_head_is_read_here(line: str) -> None:
    assert head(PATH, line) is None


@pytest.mark.parametrize("host", ["", "x", "x:80", "[::1]:8000", "127.0.0.1:8000", "a-b.c"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    for value, read_here in ((host, True), (host + "/", False), ("a b", False), (host + "@x", False)):
        data = f"POST {PATH} HTTP/1.1\r\nHost: {value}\r\n\r\n".encode()
        assert (read(data, 0) is not None) == read_here


def test_a_head_that_has_not_come_is_not_read() -> None:
    whole = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n".encode()
    assert read(whole, 0) is not None
    assert not any(read(whole[:cut], 0) for cut in range(len(whole)))


class Nobody:
    """A connection that is not asked."""


def test_a_body_is_put_together_or_thrown_away() -> None:
    found = head(PATH, "Content-Length: 6")
    assert found is not None
    for keep in (True, False):
        request = Request(Nobody(), found)  # type: ignore[arg-type]
        assert request.take(b"..ab", 2, keep=keep) == 4
        assert (request.missing, request.content) == (4, b"")
        assert request.take(b"cdefGET", 0, keep=keep) == 4
        assert (request.missing, request.content) == (0, b"abcdef" if keep else b"")
