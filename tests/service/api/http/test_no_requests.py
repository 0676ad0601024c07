"""What cannot be read as a request: it is refused by a problem document, after the answers that are owed."""

import pytest

from tests.service.api.line import Line, request


class TestWhatIsNoRequest:
    async def test_is_refused_after_what_is_owed(self, line: Line) -> None:
        for owed in (request(), request(verb="GET"), request() + request(verb="GET") + request(body=b"")):
            line = Line()
            line.send(owed + b"\0\0\0\r\n\r\n")
            line.lane.turn.set_result(None)
            answers = b"".join(await line.answers())
            assert answers.count(b"HTTP/1.1 200 OK") == owed.count(b"HTTP/1.1")
            assert answers.count(b"HTTP/1.1 400") == 1
            assert answers.rindex(b"HTTP/1.1 200") < answers.index(b"HTTP/1.1 400")
            assert line.wire.closed

    @pytest.mark.parametrize(
        "begun", [request(body=b"xyz", transfer_encoding="chunked").replace(b"content-length: 3\r\n", b"")]
    )
    async def test_is_refused_at_once_if_it_is_the_body_that_cannot_be_read(self, line: Line, begun: bytes) -> None:
        line.send(begun)
        first, headers, _ = await line.answer()
        assert (first, headers["connection"]) == ("HTTP/1.1 400 Bad Request", "close")
        assert line.wire.closed

    @pytest.mark.parametrize(
        "head",
        [
            request(verb="GET").replace(b"host: x\r\n", b""),
            request().replace(b"host: x\r\n", b""),
            request().replace(b"host: x", b"host: x\r\nHost: x"),
            request().replace(b"host: x", b"host: a b"),
            request(transfer_encoding="chunked"),
            request(transfer_encoding="identity").replace(b"content-length: 3\r\n", b""),
            request().replace(b"HTTP/1.1", b"HTTP/2.0"),
            b"GET /health/live\r\n",
            b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\0\xa5",
        ],
    )
    async def test_is_a_problem_document_with_an_id(self, line: Line, head: bytes) -> None:
        line.send(head)
        first, headers, content = await line.answer()
        assert first == "HTTP/1.1 400 Bad Request"
        assert (headers["content-type"], bool(headers["x-request-id"])) == ("application/problem+json", True)
        assert b'"code":"invalid_request"' in content
        assert line.wire.closed

    @pytest.mark.parametrize(
        "pieces",
        [
            [b"".join(b"x-%d: 1\r\n" % index for index in range(101))],
            [b"x: " + b"1" * 2**16 + b"\r\n"],
            [b"x: %b\r\n" % (b"1" * 9_000)] * 8,
            [b"x: "] + [b"1" * 2**13] * 10,
            [b"1" * 2**13] * 10,
        ],
        ids=["lines", "a line", "bytes", "a line in pieces", "a name in pieces"],
    )
    async def test_is_too_large_a_head(self, line: Line, pieces: list[bytes]) -> None:
        line.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
        for piece in pieces:
            line.send(piece)
        line.send(b"\r\n\r\n")
        assert (await line.answer())[0] == "HTTP/1.1 431 Request Header Fields Too Large"
        assert line.wire.closed

    async def test_is_too_large_a_trailer(self, line: Line) -> None:
        chunked = (
            request(transfer_encoding="chunked").replace(b"content-length: 3\r\n", b"")[:-3] + b"3\r\nabc\r\n0\r\n"
        )
        line.send(chunked + b"a: 1\r\n" * 3 + b"\r\n")
        assert b"".join(await line.answers()).endswith(b"by ASGI")
        line.send(chunked + b"a: 1\r\n" * 120)
        assert b"HTTP/1.1 431 " in b"".join(await line.answers())
