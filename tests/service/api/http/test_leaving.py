"""Clients that close their sending half or leave, and a server that shuts down: what was begun is done once."""

import pytest

from service.api.http.request import PREDICT, STEPS
from tests.service.api.line import OVERLOADED, Line, request


class TestAClientThatClosesItsSendingHalf:
    @pytest.mark.parametrize("verb", ["POST", "GET"])
    async def test_is_answered(self, line: Line, verb: str) -> None:
        line.send(request(verb=verb))
        assert line.http.eof_received()
        line.lane.turn.set_result(None)
        first, _, content = await line.answer()
        assert (first, content) == ("HTTP/1.1 200 OK", b"abc" if verb == "POST" else b"by ASGI")
        assert line.wire.closed

    async def test_is_answered_all_that_it_has_asked(self, line: Line) -> None:
        line.send(request(body=b"1") + request(body=b"2") + request(verb="GET"))
        assert line.http.eof_received()
        line.lane.turn.set_result(None)
        assert b"".join(await line.answers()).count(b"HTTP/1.1 200 OK") == 3
        assert line.wire.closed

    @pytest.mark.parametrize("size", [1, 5000, 50_000])
    async def test_is_answered_behind_what_was_answered_before_it_was_read(self, line: Line, size: int) -> None:
        line.send(request("/early", body=b"x" * size) + request(verb="GET"))
        assert line.http.eof_received()
        assert b"".join(await line.answers()).count(b"HTTP/1.1 200 OK") == 2

    @pytest.mark.parametrize("cut", [request()[:-1], request()[:9], request(verb="GET")[:-1], b""])
    async def test_is_not_waited_for_if_it_asks_nothing_whole(self, line: Line, cut: bytes) -> None:
        line.send(cut)
        assert not line.http.eof_received()

    async def test_is_sent_the_beginning_of_the_answer_so_that_a_lost_one_is_noticed(self, line: Line) -> None:
        line.send(request())
        line.http.eof_received()
        assert line.wire.written == [b"HTT"]
        line.http._probe()
        line.http._probe()
        line.http._probe()
        assert b"".join(line.wire.written) == b"HTTP/1.1 "


class TestAClientThatLeaves:
    async def test_has_its_steps_done_and_counted(self, line: Line) -> None:
        line.send(request())
        line.http.connection_lost(None)
        line.lane.turn.set_result(None)
        assert await line.answers() == []
        assert line.lane.counted == {(STEPS, 200): 1}

    async def test_abandons_what_can_be_abandoned(self, line: Line) -> None:
        line.send(request("/v1/models/abandoned/predict"))
        line.http.connection_lost(None)
        assert line.lane.abandoned == ["abandoned"]
        assert line.lane.counted == {(PREDICT, 499): 1}

    async def test_has_left_what_it_sent_ahead_too(self, line: Line) -> None:
        line.send(request("/v1/models/abandoned/predict") + request() * 3)
        line.http.connection_lost(None)
        assert len(line.lane.asked) == 1
        assert line.lane.counted == {(PREDICT, 499): 1}

    async def test_with_a_part_of_a_body_has_called_nothing(self, line: Line) -> None:
        line.send(request()[:-1])
        line.http.connection_lost(None)
        assert not line.lane.asked
        assert line.lane.counted == {(STEPS, 400): 1}

    @pytest.mark.parametrize("asked", [request(OVERLOADED)[:-1], request()])
    async def test_after_its_answer_is_counted_once(self, line: Line, asked: bytes) -> None:
        line.lane.turn.set_result(None)
        line.send(asked)
        await line.answers()
        line.http.connection_lost(ConnectionResetError())
        assert sum(line.lane.counted.values()) == 1

    @pytest.mark.parametrize("asked", [request()[:-1], request("/v1/sessions/s/fork")[:-1], request(OVERLOADED)[:-1]])
    async def test_leaves_nothing_at_the_guard(self, line: Line, asked: bytes) -> None:
        line.send(asked)
        assert line.guard.statistics().connections == 1
        line.http.connection_lost(None)
        assert (line.guard.statistics().connections, line.guard.statistics().unfinished_bytes) == (0, 0)


class TestAServerThatShutsDown:
    @pytest.mark.parametrize(("path", "answers"), [("/v1/sessions/s/steps", 0), (OVERLOADED, 1)])
    async def test_waits_for_no_body(self, line: Line, path: str, answers: int) -> None:
        line.send(request(path)[:-1])
        assert len(await line.answers()) == answers
        line.http.shutdown()
        assert line.wire.closed
        line.http.connection_lost(None)
        assert len(await line.answers()) == answers
        assert sum(line.lane.counted.values()) == 1

    async def test_waits_for_no_body_of_the_application_either(self, line: Line) -> None:
        line.send(request("/v1/sessions/s/fork")[:-1])
        assert await line.answers() == []
        line.http.shutdown()
        assert line.wire.closed

    async def test_answers_what_it_has_begun(self, line: Line) -> None:
        line.send(request())
        line.http.shutdown()
        assert not line.wire.closed
        line.lane.turn.set_result(None)
        assert (await line.answer())[1]["connection"] == "close"
        assert line.wire.closed

    async def test_closes_idle_connections(self, line: Line) -> None:
        line.lane.turn.set_result(None)
        line.send(request())
        await line.answers()
        line.http.shutdown()
        assert line.wire.closed
