"""A connection without a socket: who serves a request, and the order of answers."""

import asyncio

import pytest

from service.api.http.request import PREDICT, STEPS
from tests.service.api.line import MOST, OVERLOADED, Line, parts, request


async def test_an_answer_is_one_piece_with_the_headers_that_it_needs(line: Line) -> None:
    line.send(request("/v1/sessions/s:1/steps", x_request_id="mine"))
    assert await line.answers() == [], "the lane has not answered"
    line.lane.turn.set_result(None)
    [answer] = await line.answers()
    first, headers, content = parts(answer)
    assert (first, content) == ("HTTP/1.1 200 OK", b"abc")
    assert headers.items() >= {"date": "today", "content-length": "3", "x-request-id": "mine"}.items()
    assert line.lane.counted == {(STEPS, 200): 1}
    assert not line.wire.closed


async def test_a_request_may_come_in_pieces() -> None:
    whole = request(body=b"0123456789")
    for cut in range(1, len(whole)):
        line = Line()
        line.lane.turn.set_result(None)
        for piece in (whole[:cut], whole[cut:]):
            line.send(piece)
        head_came_whole = cut >= len(whole) - 10
        assert (await line.answer())[2] == (b"0123456789" if head_came_whole else b"by ASGI")


@pytest.mark.parametrize("cut", [0, 1, 5])
async def test_the_lane_may_answer_before_it_has_the_body(line: Line, cut: int) -> None:
    head, content = request(OVERLOADED, b"123456")[:-6], b"123456"
    line.send(head + content[:cut])
    first, headers, _ = await line.answer()
    assert first == "HTTP/1.1 503 Service Unavailable"
    assert (headers["content-type"], headers["retry-after"]) == ("application/problem+json", "2")
    line.send(content[cut:5])
    line.lane.turn.set_result(None)
    line.send(content[5:])
    line.send(request())
    assert parts((await line.answers())[1])[2] == b"abc", "the rest of the body is thrown away"
    assert line.lane.counted == {(PREDICT, 503): 1, (STEPS, 200): 1}


async def test_requests_sent_ahead_are_answered_in_their_order_by_whichever_way(line: Line) -> None:
    line.send(request(body=b"1") + request(body=b"2") + request(verb="GET") + request(body=b"4"))
    assert await line.answers() == []
    assert line.wire.held, "no more is read meanwhile"
    line.lane.turn.set_result(None)
    answers = b"".join(await line.answers()).split(b"HTTP/1.1 200 OK")
    assert [one.rpartition(b"\r\n\r\n")[2] for one in answers[1:]] == [b"1", b"2", b"by ASGI", b"by ASGI"]
    assert not line.wire.held
    line.send(request(body=b"5"))
    assert parts((await line.answers())[-1])[2] == b"5"


@pytest.mark.parametrize(
    "ahead", [request(verb="GET", body=b""), request(), request(connection="Upgrade", upgrade="h2c")]
)
async def test_of_many_requests_in_one_piece_a_turn_looks_at_few_and_all_are_answered(line: Line, ahead: bytes) -> None:
    line.lane.turn.set_result(None)
    line.send(request(verb="GET") + ahead * 2_000)
    assert len(line.http.pipeline) + len(line.lane.asked) < 100
    assert line.wire.held
    line.http.eof_received()
    while not line.wire.closed:  # noqa: ASYNC110  # a connection sets no event
        await asyncio.sleep(0)
    assert b"".join(line.wire.written).count(b"HTTP/1.1 200 OK") == 2_001


async def test_a_body_of_many_pieces_is_read_in_many_turns(line: Line) -> None:
    chunked = request(body=b"", transfer_encoding="chunked").replace(b"content-length: 0\r\n", b"")
    line.send(chunked + b"1\r\n \r\n" * 50_000 + b"0\r\n\r\n" + request(verb="GET"))
    assert line.wire.held
    while b"".join(line.wire.written).count(b"by ASGI") < 2:  # noqa: ASYNC110  # as above
        await asyncio.sleep(0)
    assert not line.wire.held


@pytest.mark.parametrize(
    "unlike",
    [
        request(verb="GET"),
        request(verb="PUT"),
        request("/v1/sessions/s/steps?x=1"),
        request("/v1/sessions/%73/steps"),
        request("/v1/sessions/s/steps/"),
        request("/v1/sessions/s/fork"),
        request("//v1/sessions/s/steps"),
        request("http://here/v1/sessions/s/steps"),
        request(content_encoding="gzip"),
        request(connection="close"),
        request(a="1").replace(b"a: 1", b"a: 1\r\na: 2"),
        request(a="1").replace(b"a: 1", b"a:\t1"),
        request(body=b"x" * (MOST + 1)),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request()
        .replace(b"content-length: 3", b"transfer-encoding: chunked")
        .replace(b"abc", b"3\r\nabc\r\n0\r\n\r\n"),
    ],
)
async def test_what_is_not_like_most_is_served_by_the_application(line: Line, unlike: bytes) -> None:
    line.send(unlike)
    assert b"".join(await line.answers()).endswith(b"by ASGI")
    assert not line.lane.asked


@pytest.mark.parametrize("body", [b"abc", b""])
@pytest.mark.parametrize("offer", ["h2c", "foo", "websocket, h2c"])
async def test_an_offer_to_upgrade_is_ignored(line: Line, offer: str, body: bytes) -> None:
    offering = request(body=body, connection="Upgrade, HTTP2-Settings", upgrade=offer)
    for data in (offering + request(verb="GET"), offering):
        line.send(data)
    answers = b"".join(await line.answers())
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"by ASGI") == 3
    assert not line.wire.closed


@pytest.mark.parametrize(
    "last",
    [
        request(connection="close, Upgrade", upgrade="h2c"),
        request(connection="Upgrade", upgrade="h2c").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_an_offer_to_upgrade_in_a_last_request_is_ignored_too(line: Line, last: bytes) -> None:
    line.send(last)
    assert (await line.answer())[2] == b"by ASGI"
    assert line.wire.closed


async def test_a_client_that_waits_to_be_told_to_go_on_is_told(line: Line) -> None:
    whole = request(expect="100-continue")
    line.send(whole[:-3])
    assert (await line.answers()) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    line.send(whole[-3:])
    assert (await line.answers())[-1] == b"by ASGI"


async def test_a_client_that_does_not_read_gets_no_more_answers(line: Line) -> None:
    line.lane.turn.set_result(None)
    line.send(request())
    assert len(await line.answers()) == 1
    line.http.pause_writing()
    for _ in range(4):
        if not line.wire.held:
            line.send(request())
        assert len(await line.answers()) == 1
    assert line.wire.held, "nor is more read"
    line.http.resume_writing()
    assert len(await line.answers()) > 1
    assert not line.wire.held


@pytest.mark.parametrize(("header", "closes"), [("close", True), ("keep-alive", False)])
async def test_a_connection_is_closed_if_the_client_says_so(line: Line, header: str, closes: bool) -> None:
    line.lane.turn.set_result(None)
    line.send(request(connection=header))
    assert ("connection" in (await line.answer())[1]) == line.wire.closed == closes


async def test_a_connection_that_becomes_a_stream_takes_along_what_follows(line: Line) -> None:
    taken: list[bytes] = []

    class Elsewhere(asyncio.Protocol):
        def __init__(self, **how: object) -> None:
            self.data_received = taken.append  # type: ignore[method-assign]

    line.http.ws_protocol_class = Elsewhere
    handshake = request("/v1/stream", b"", verb="GET", connection="upgrade", upgrade="websocket")
    line.send(handshake + b"first frame")
    head, follows = taken
    assert head.startswith(b"GET /v1/stream HTTP/1.1\r\n")
    assert follows == b"first frame"
    assert line.guard.statistics().connections == 0, "it is the stream's from now on"
