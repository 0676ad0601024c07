"""Hot routes below ASGI, without a socket: when they are served, by whom, and what becomes of callers who leave."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.service.line import MOST, Line, parts, request

STEPS, PREDICT = "/v1/sessions/{id}/steps", "/v1/models/{model}/predict"


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    line = Line()
    yield line
    line.http.resume_writing()  # uvicorn's tasks would wait for it, cancelled or not


async def test_an_answer_is_one_piece_with_the_headers_that_it_needs(line: Line) -> None:
    line.http.data_received(request("/v1/sessions/s:1/steps", x_request_id="mine"))
    assert await line.answers() == [], "nobody has answered"
    line.turn.set_result(None)
    [answer] = await line.answers()
    first, headers, content = parts(answer)
    assert (first, content) == ("HTTP/1.1 200 OK", b"abc")
    assert headers == {"date": "today", "content-length": "3", "what": "s:1", "x-request-id": "mine"}
    assert line.counted == {("POST", STEPS, 200): 1}
    assert not line.wire.closed


async def test_a_request_may_come_in_pieces_by_whichever_way_it_is_served_then() -> None:
    whole = request(body=b"0123456789")
    for cut in range(1, len(whole)):
        line = Line()
        line.turn.set_result(None)
        for piece in (whole[:cut], whole[cut:]):
            line.http.data_received(piece)
        head_came_whole = cut >= len(whole) - 10
        content = parts(b"".join(await line.answers()))[2]
        assert content == (b"0123456789" if head_came_whole else b"by ASGI")


async def test_a_body_is_read_with_its_last_byte(line: Line) -> None:
    whole = request(x_request_timeout_ms="1000")
    for piece in (whole[:-2], whole[-2:-1]):
        line.http.data_received(piece)
        await line.answers()
        assert not line.asked
    now = time.monotonic()
    line.http.data_received(whole[-1:])
    await line.answers()
    [(id, asked)] = line.asked
    assert id == "s" and asked.deadline >= now + 1


@pytest.mark.parametrize("cut", [0, 1, 5])
async def test_a_route_may_answer_before_it_has_read_the_body(line: Line, cut: int) -> None:
    refused, body = request("/v1/models/overloaded/predict", b""), b"123456"
    refused = refused.replace(b"content-length: 0", b"content-length: 6")
    line.http.data_received(refused + body[:cut])
    [answer] = await line.answers()
    assert parts(answer)[0] == "HTTP/1.1 503 Service Unavailable"
    line.http.data_received(body[cut:5])
    line.turn.set_result(None)
    line.http.data_received(body[5:])
    line.http.data_received(request())
    assert parts((await line.answers())[1])[2] == b"abc", "the rest of the body is thrown away"
    assert line.counted == {("POST", PREDICT, 503): 1, ("POST", STEPS, 200): 1}


@pytest.mark.parametrize(("path", "answers"), [("/v1/sessions/s/steps", 0), ("/v1/models/overloaded/predict", 1)])
async def test_a_server_that_shuts_down_waits_for_no_body(line: Line, path: str, answers: int) -> None:
    line.http.data_received(request(path)[:-1])
    assert len(await line.answers()) == answers
    line.http.shutdown()
    assert line.wire.closed
    line.http.connection_lost(None)
    assert len(await line.answers()) == answers
    assert sum(line.counted.values()) == 1


async def test_nor_for_one_that_would_go_by_asgi(line: Line) -> None:
    line.http.data_received(request("/v1/sessions/s/fork")[:-1])
    assert await line.answers() == []
    line.http.shutdown()
    assert line.wire.closed


async def test_a_caller_who_leaves_with_his_answer_is_counted_once(line: Line) -> None:
    line.http.data_received(request("/v1/models/overloaded/predict")[:-1])
    assert len(await line.answers()) == 1
    line.http.connection_lost(None)
    assert len(await line.answers()) == 1
    assert line.counted == {("POST", PREDICT, 503): 1}


async def test_requests_sent_ahead_are_answered_in_their_order_by_whichever_way(line: Line) -> None:
    line.http.data_received(request(body=b"1") + request(body=b"2") + request(verb="GET"))
    assert await line.answers() == []
    assert line.wire.held, "no more is read meanwhile"
    line.turn.set_result(None)
    first, *others = [one for one in (await line.answers()) if one.startswith(b"HTTP")]
    assert parts(first)[2] == b"1"
    assert len(others) == 2
    assert not line.wire.held
    line.http.data_received(request(body=b"4"))
    assert parts((await line.answers())[-1])[2] == b"4"


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
async def test_what_is_not_like_most_is_served_by_asgi(line: Line, unlike: bytes) -> None:
    line.http.data_received(unlike)
    assert b"".join(await line.answers()).endswith(b"by ASGI")
    assert not line.asked


async def test_who_waits_to_be_told_to_go_on_is_told(line: Line) -> None:
    whole = request(expect="100-continue")
    line.http.data_received(whole[:-3])
    assert (await line.answers()) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    line.http.data_received(whole[-3:])
    assert (await line.answers())[-1] == b"by ASGI"


async def test_a_client_who_does_not_read_gets_no_answer_more(line: Line) -> None:
    line.turn.set_result(None)
    line.http.data_received(request())
    assert len(await line.answers()) == 1
    line.http.pause_writing()
    for _ in range(4):
        if not line.wire.held:
            line.http.data_received(request())
        assert len(await line.answers()) == 1
    assert line.wire.held, "nor is more read"
    line.http.resume_writing()
    assert len(await line.answers()) > 1
    assert not line.wire.held


@pytest.mark.parametrize(("header", "closes"), [("close", True), ("keep-alive", False)])
async def test_a_connection_is_closed_if_the_caller_says_so(line: Line, header: str, closes: bool) -> None:
    line.turn.set_result(None)
    line.http.data_received(request(connection=header))
    answer = b"".join(await line.answers())
    assert ("connection" in parts(answer)[1]) == line.wire.closed == closes


async def test_a_server_that_shuts_down_answers_what_it_has_begun(line: Line) -> None:
    line.http.data_received(request())
    line.http.shutdown()
    assert not line.wire.closed
    line.turn.set_result(None)
    [answer] = await line.answers()
    assert parts(answer)[1]["connection"] == "close"
    assert line.wire.closed


async def test_a_server_that_shuts_down_closes_idle_connections(line: Line) -> None:
    line.turn.set_result(None)
    line.http.data_received(request())
    await line.answers()
    line.http.shutdown()
    assert line.wire.closed


async def test_a_connection_that_rests_for_long_is_closed(line: Line) -> None:
    line.turn.set_result(None)
    line.http.data_received(request())
    await line.answers()
    line.http.timeout_keep_alive_handler()
    assert not line.wire.closed, "not for long yet"
    line.http.timeout_keep_alive = 0
    line.http.timeout_keep_alive_handler()
    assert line.wire.closed


async def test_a_connection_that_becomes_a_stream_is_watched_by_it_alone(line: Line) -> None:
    taken: list[bytes] = []

    class Elsewhere(asyncio.Protocol):
        def __init__(self, **how: object) -> None:
            self.data_received = taken.append  # type: ignore[method-assign]

    line.turn.set_result(None)
    line.http.data_received(request())
    await line.answers()
    watch = line.http.timeout_keep_alive_task
    assert watch is not None and not watch.cancelled()
    line.http.ws_protocol_class = Elsewhere
    line.http.data_received(request("/v1/stream", b"", verb="GET", connection="upgrade", upgrade="websocket"))
    assert taken != []
    assert watch.cancelled()


@pytest.mark.parametrize(
    "more", [request(), request()[:-1], request()[:9], request() + request("/v1/sessions/t/steps")]
)
async def test_a_connection_does_not_rest_while_something_is_asked(line: Line, more: bytes) -> None:
    line.http.data_received(request("/v1/models/overloaded/predict"))
    await line.answers()
    line.http.data_received(more)
    assert len(await line.answers()) == 1
    line.http.timeout_keep_alive = 0
    line.http.timeout_keep_alive_handler()
    assert not line.wire.closed


async def test_a_route_whose_caller_left_runs_to_its_end(line: Line) -> None:
    line.http.data_received(request())
    line.http.connection_lost(None)
    line.turn.set_result(None)
    assert await line.answers() == []
    assert line.counted == {("POST", STEPS, 200): 1}


async def test_what_an_engine_replies_is_written_in_the_name_of_the_request(line: Line) -> None:
    line.http.data_received(request("/v1/models/replied/predict", x_request_id="mine"))
    await line.answers()
    line.reply.set_result(b"1")
    line.reply.tell()
    [answer] = line.wire.written
    assert parts(answer)[1:] == ({"date": "today", "content-length": "1", "in": "mine", "x-request-id": "mine"}, b"1")


async def test_whatever_befalls_an_answer_it_does_not_reach_the_others(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.http.data_received(request("/v1/models/replied/predict"))
    await line.answers()
    line.wire.closed = True  # and written to all the same, it raises
    line.reply.set_result(b"1")
    line.reply.tell()
    done: list[str] = []
    line.http.hot.cohort.add(lambda: done.append("too"))
    assert await line.answers() == []
    assert done == ["too"]
    [traced] = caplog.records
    assert traced.exc_info is not None and traced.exc_info[0] is AssertionError


async def test_a_route_that_is_abandoned_with_its_caller_is_counted_so(line: Line) -> None:
    line.http.data_received(request("/v1/models/replied/predict"))
    line.http.connection_lost(None)
    assert await line.answers() == []
    assert line.counted == {("POST", PREDICT, 499): 1}


async def test_a_caller_who_left_with_requests_sent_ahead_has_left_them_all(line: Line) -> None:
    line.http.data_received(request("/v1/models/replied/predict") + request() * 3)
    line.http.connection_lost(None)
    assert await line.answers() == []
    assert not line.asked
    assert line.counted == {("POST", PREDICT, 499): 1}


async def test_a_body_that_is_cut_off_is_no_call(line: Line) -> None:
    line.http.data_received(request()[:-1])
    line.http.connection_lost(None)
    assert await line.answers() == []
    assert not line.asked
    assert line.counted == {("POST", STEPS, 400): 1}


async def test_a_loss_after_the_answer_is_none_of_its_business(line: Line) -> None:
    line.turn.set_result(None)
    line.http.data_received(request())
    await line.answers()
    line.http.connection_lost(ConnectionResetError())
    assert line.counted == {("POST", STEPS, 200): 1}


async def test_a_refusal_is_a_problem_document(line: Line) -> None:
    line.http.data_received(request("/v1/models/overloaded/predict"))
    [answer] = await line.answers()
    first, headers, content = parts(answer)
    assert first == "HTTP/1.1 503 Service Unavailable"
    assert (headers["content-type"], headers["retry-after"]) == ("application/problem+json", "2")
    assert b'"code":"overloaded"' in content
    assert line.counted == {("POST", PREDICT, 503): 1}


async def test_a_deadline_that_is_none_is_an_invalid_request(line: Line) -> None:
    line.http.data_received(request(x_request_timeout_ms="soon"))
    [answer] = await line.answers()
    assert parts(answer)[0] == "HTTP/1.1 400 Bad Request"
    assert not line.asked


async def test_a_defect_of_ours_is_logged_and_not_told(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    line.http.data_received(request("/v1/models/broken/predict"))
    [answer] = await line.answers()
    first, _, content = parts(answer)
    assert first == "HTTP/1.1 500 Internal Server Error"
    assert b"broken" not in content and b"ZeroDivision" not in content
    traced, noted = caplog.records
    assert traced.exc_info is not None and traced.exc_info[0] is ZeroDivisionError
    assert (noted.levelname, noted.getMessage()) == ("ERROR", "POST /v1/models/broken/predict 500")
