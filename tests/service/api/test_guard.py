"""What the guard bounds: connections, their clocks, what is unfinished and what is not read."""

import asyncio
import resource

import pytest

from service.api.guard import Guard
from service.errors import Overloaded
from service.settings import Settings
from tests.service.api.line import Line, request

CHUNKED = request("/v1/sessions/s/fork", transfer_encoding="chunked").replace(b"content-length: 3\r\n", b"")[:-3]


class Client:
    """A connection that reads as little as it is told."""

    due = float("inf")

    def __init__(self, unread: int = 0) -> None:
        self._unread, self.aborted = unread, False

    def overdue(self, now: float) -> None:
        raise AssertionError("its time is not over")

    def unread(self) -> int:
        return self._unread

    def abort(self) -> None:
        self.aborted = True


async def test_there_are_fewer_connections_than_descriptors() -> None:
    guard = Guard(Settings())
    assert 0 < guard.most < resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def test_one_connection_too_many_is_told_and_closed() -> None:
    line = Line(max_connections=1)
    other = Line(max_connections=1)
    assert not line.guard.enter(other.http)
    line.http.connection_made(line.wire)
    first, headers, content = await line.answer()
    assert (first, "retry-after" in headers) == ("HTTP/1.1 503 Service Unavailable", True)
    assert b'"code":"overloaded"' in content
    assert line.wire.closed
    assert line.guard.statistics().refused == 2
    line.http.connection_lost(None)
    assert line.guard.enter(other.http), "there is room again"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nhost: x\r\n", b"HTTP/1.1 408 Request Timeout"),
        (request()[:-1], b"HTTP/1.1 408 Request Timeout"),
        (request("/v1/sessions/s/fork")[:-1], b"HTTP/1.1 408 Request Timeout"),
        (CHUNKED, b"HTTP/1.1 408 Request Timeout"),
        (CHUNKED + b"3\r\nabc\r\n0\r\na: 1\r\n", b"HTTP/1.1 408 Request Timeout"),
        (request("/v1/models/overloaded/predict")[:-1], b"HTTP/1.1 503 Service Unavailable"),
    ],
    ids=["nothing", "a head", "a body", "a body for the application", "chunks", "trailers", "a body that is refused"],
)
async def test_what_does_not_come_is_not_waited_for(sent: bytes, status: bytes) -> None:
    line = Line()
    line.send(sent)
    await line.answers()
    assert line.http.due < line.http.loop.time() + 11
    line.http.overdue(line.http.due)
    written = b"".join(await line.answers())
    assert written[: len(status)] == status
    assert written.count(b"HTTP/1.1") == bool(status), "one answer, if something was asked"
    assert line.wire.closed


@pytest.mark.parametrize("head", [request(body=b"x" * 900)[:-900], request("/x", body=b"x" * 900)[:-900]])
async def test_a_body_that_goes_on_is_waited_for(head: bytes) -> None:
    line = Line(body_bytes_per_second=10)
    line.send(head)
    for sent, closed in ((b"x" * 100, False), (b"x" * 100, False), (b"x" * 99, True)):
        line.send(sent)
        line.http.overdue(line.http.due)
        assert line.wire.closed == closed


async def test_a_client_is_not_due_while_we_work() -> None:
    line = Line()
    line.send(request())
    assert line.http.due == float("inf")
    line.lane.turn.set_result(None)
    await line.answers()
    assert line.http.due < line.http.loop.time() + 6, "it rests"
    line.http.overdue(line.http.due)
    assert line.wire.closed


@pytest.mark.parametrize("path", ["/v1/sessions/s/steps", "/v1/sessions/s/fork"])
async def test_unfinished_bodies_are_bounded_and_a_refused_one_is_not_kept(path: str) -> None:
    line = Line(max_unfinished_bytes=500)
    whole = request(path, b"x" * 900)
    line.send(whole[:-450])
    assert line.guard.statistics().unfinished_bytes == 450
    line.send(whole[-450:-1])
    first, _, content = await line.answer()
    assert first == "HTTP/1.1 503 Service Unavailable"
    assert b'"code":"overloaded"' in content
    line.send(whole[-1:]) if not line.wire.closed else None
    line.http.connection_lost(None)
    assert line.guard.statistics().unfinished_bytes == 0


@pytest.mark.parametrize("path", ["/v1/sessions/s/steps", "/v1/sessions/s/fork"])
async def test_a_whole_body_is_held_no_more(path: str) -> None:
    line = Line()
    whole = request(path, b"x" * 900)
    for piece in (whole[:-450], whole[-450:]):
        line.send(piece)
    assert line.guard.statistics().unfinished_bytes == 0


async def test_of_those_that_do_not_read_the_largest_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.guard._EVERY", 0.0)
    guard = Guard(Settings(max_unread_bytes=1000))
    clients = [Client(600), Client(500), Client(400), Client(0)]
    for client in clients:
        guard.enter(client)
    watch = asyncio.create_task(guard.watch())
    for _ in range(5):
        await asyncio.sleep(0)
    watch.cancel()
    assert [client.aborted for client in clients] == [True, False, False, False]
    assert (guard.statistics().cut >= 1, guard.statistics().unread_bytes) == (True, 900)


async def test_clocks_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.guard._EVERY", 0.0)
    line = Line(head_seconds=1e-9)
    watch = asyncio.create_task(line.guard.watch())
    for _ in range(5):
        await asyncio.sleep(0)
    watch.cancel()
    assert line.wire.closed


def test_what_is_held_is_counted_and_no_more_is_let_in() -> None:
    guard = Guard(Settings(max_unfinished_bytes=10))
    guard.hold(10)
    with pytest.raises(Overloaded):
        guard.hold(1)
    guard.release(10)
    guard.hold(1)
    assert guard.statistics().unfinished_bytes == 1
