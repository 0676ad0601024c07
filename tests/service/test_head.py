"""Heads read at a glance: whatever is read so, a parser of HTTP reads alike."""

from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import head


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


GOOD_FIRST = ["POST /v1/sessions/x:1/steps HTTP/1.1", "POST / HTTP/1.1"]
BAD_FIRST = ["POST /x?y HTTP/1.1", "POST /%41 HTTP/1.1", "GET /x HTTP/1.1", "POST /x HTTP/1.0", "POST  /x HTTP/1.1"]
BAD_FIRST += ["POST /x  HTTP/1.1", "post /x HTTP/1.1", "POST x HTTP/1.1", " POST /x HTTP/1.1", "POST /x HTTP/1.1 "]
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
lines = st.lists(line | length | stays, max_size=4)


@given(mostly(GOOD_FIRST, BAD_FIRST), lines, mostly(["\r\n"], ["\n", "\r", "\r\n ", "\r\n\r\n"]))
def test_a_parser_of_http_reads_alike_what_the_pattern_reads(first: str, lines: list[str], end: str) -> None:
    found = head.read(end.join([first, *lines, "", ""]).encode())
    if found is None:
        return
    body = b"x" * (found.length % 1000)
    parsed = Parsed(end.join([first, *lines, "", ""]).encode()[: found.size] + body)
    assert (parsed.method, parsed.version, parsed.url, parsed.stays) == (b"POST", "1.1", found.path, True)
    assert sorted((name, value.strip()) for name, value in parsed.headers) == sorted(found.headers.items())
    assert (parsed.body, parsed.complete) == (body, len(body) == found.length)


@given(st.sampled_from(GOOD_FIRST), st.dictionaries(st.sampled_from(GOOD_NAMES), st.sampled_from(["", "a", "a b:c"])))
def test_the_pattern_reads_what_is_like_most(first: str, headers: dict[str, str]) -> None:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    data = "\r\n".join([first, *lines, "Content-Length: 12", "Connection: Keep-Alive", "", ""]).encode()
    found = head.read(data + b"{}")
    assert found is not None
    assert (found.path, found.size, found.length) == (first.split()[1].encode(), len(data), 12)
    assert {name.lower(): value for name, value in headers.items()}.items() <= {
        name.decode(): value.decode() for name, value in found.headers.items()
    }.items()


def test_who_sends_no_length_sends_no_body() -> None:
    assert head.read(b"POST /x HTTP/1.1\r\n\r\n") == head.Head(b"/x", {}, 20, 0)


@pytest.mark.parametrize("piece", range(38))
def test_a_head_that_has_not_come_is_not_read(piece: int) -> None:
    assert head.read(b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\n"[:piece]) is None


def test_a_head_of_unusual_length_is_not_kept_in_mind() -> None:
    assert head.read(b"POST /x HTTP/1.1\r\nCookie: %b\r\n\r\n" % (b"x" * 4096)) is None


def test_heads_that_differ_in_the_path_alone_are_not_mixed_up() -> None:
    one, two = (head.read(b"POST /%b HTTP/1.1\r\nContent-Length: 3\r\n\r\n" % name) for name in (b"a", b"bc"))
    assert one == head.Head(b"/a", {b"content-length": b"3"}, 39, 3)
    assert two == head.Head(b"/bc", {b"content-length": b"3"}, 40, 3)
