"""Answers that no Carousel gives: each ends as a CarouselError within the timeout, and moves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import httpx
import numpy as np
import pytest
from fake_clock import Clock
from fake_service import FakeService, answer_with, problem
from hypothesis import given
from hypothesis import strategies as st
from lying_server import KEEP, LyingServer, Pieces, response

from carousel_client import (
    AnswerTooLarge,
    AsyncClient,
    CarouselError,
    Client,
    ConnectionFailed,
    ForeignAnswer,
    TimedOut,
    Unavailable,
)

X = np.ones((2, 1), np.float32)
OBJECT = {"id": "x", "model": "m", "version": "1", "step": 0}


def predict(client: Any) -> Any:
    return client.predict("m", [X, X])


def many(client: Any) -> Any:
    return client.steps("m", [("a", X, 0), ("b", X)])


def step(client: Any) -> Any:
    return client.session("m", "x").step(X)


def predicted(outputs: Any, **more: Any) -> Any:
    return {"model": "m", "version": "1", "outputs": outputs} | more


def item(session: str, **more: Any) -> Any:
    return {"session": session, "outputs": [[1], [2]], "step": 2} | more


GOOD = [[[1], [2]], [[3], [4]]]
LIES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "fewer sequences": (predict, predicted(GOOD[:1])),
    "more sequences": (predict, predicted(GOOD * 2)),
    "fewer steps": (predict, predicted([[[1]], [[1]]])),
    "no steps": (predict, predicted([[], []])),
    "no numbers": (predict, predicted([[[], []], [[], []]])),
    "ragged": (predict, predicted([[[1], [2, 3]], [[1], [1]]])),
    "other widths": (predict, predicted([[[1, 1], [2, 2]], [[1], [1]]])),
    "deeper": (predict, predicted([[[[1]], [[2]]]] * 2)),
    "null": (predict, predicted(None)),
    "a number": (predict, predicted(5)),
    "text": (predict, predicted([[["1"], ["2"]]] * 2)),
    "true": (predict, predicted([[[True], [False]]] * 2)),
    "by name": (predict, predicted([[{"y": 1}, {"y": 2}]] * 2)),
    "another model": (predict, predicted(GOOD, model="other")),
    "no model": (predict, {"outputs": GOOD}),
    "a list": (predict, []),
    "too large": (predict, b'{"model":"m","version":"1","outputs":[[[1e39],[1]],[[1],[1]]]}'),
    "1e400": (predict, b'{"model":"m","version":"1","outputs":[[[1e400],[1]],[[1],[1]]]}'),
    "a long integer": (predict, b'{"model":"m","version":"1","outputs":[[[' + b"9" * 5000 + b"],[1]],[[1],[1]]]}"),
    "NaN": (predict, b'{"model":"m","version":"1","outputs":[[[NaN],[1]],[[1],[1]]]}'),
    "not UTF-8": (predict, b'{"model":"m","version":"\xff\xfe","outputs":[]}'),
    "nested without end": (predict, b"[" * 200_000),
    "HTML": (predict, b"<html>Sign in</html>"),
    "empty": (predict, b""),
    "names that change": (lambda c: c.predict("m", [[{"a": 1}, {"a": 2}]]), predicted([[{"y": 1}, {"z": 2}]])),
    "items null": (many, {"items": None}),
    "one item": (many, {"items": [item("a")]}),
    "items of others": (many, {"items": [item("b"), item("a")]}),
    "items of text": (many, {"items": ["a", "b"]}),
    "an error that is none": (many, {"items": [item("a", error=5), item("b")]}),
    "an error without a code": (many, {"items": [item("a", error={"detail": "x"}), item("b")]}),
    "neither outputs nor error": (many, {"items": [{"session": "a", "error": None}, item("b")]}),
    "no step of an item": (many, {"items": [{"session": "a", "outputs": [[1], [2]]}, item("b")]}),
    "a wrong step of an item": (many, {"items": [item("a", step=3), item("b")]}),
    "a step before the first": (many, {"items": [item("a"), item("b", step=1)]}),
    "fewer outputs of a step": (step, {"outputs": [[1]], "step": 2}),
    "no step": (step, {"outputs": [[1], [2]]}),
    "a step of text": (step, {"outputs": [[1], [2]], "step": "2"}),
    "a wrong step": (step, {"outputs": [[1], [2]], "step": 77}),
    "a negative step": (step, {"outputs": [[1], [2]], "step": -2}),
    "another session": (lambda c: c.session("m", "x").open(), OBJECT | {"id": "y"}),
    "a session of another model": (lambda c: c.session("m", "x").open(), OBJECT | {"model": "n"}),
    "a new session in the middle": (lambda c: c.session("m", "x").open(), OBJECT | {"step": 4}),
    "a session resumed as another": (lambda c: c.session("m", "x").resume(), OBJECT | {"id": "y"}),
    "a restored session of text": (lambda c: c.restore("x", b"state"), b"ok"),
    "a state of HTML": (lambda c: c.session("m", "x").state(), b"<html>"),
    "a deletion with an answer": (lambda c: c.session("m", "x").delete(), b"<html>"),
    "models null": (lambda c: c.models(), {"models": None}),
    "models without versions": (lambda c: c.models(), {"models": [{"name": "m"}]}),
    "another model's description": (lambda c: c.model("m"), {"name": "n"}),
    "a description of nothing": (lambda c: c.model("m"), {"name": "m", "version": "1"}),
}


@pytest.mark.parametrize(("call", "body"), LIES.values(), ids=LIES.keys())
async def test_what_does_not_fit_the_call_is_a_foreign_answer_and_is_not_asked_for_again(
    client: Any, service: FakeService, call: Callable[[Any], Any], body: Any
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    if call is step:
        service.faults.append(answer_with(httpx.Response(201, json=OBJECT)))
    service.faults.append(answer_with(httpx.Response(200, content=content)))
    with pytest.raises(ForeignAnswer) as foreign:
        await call(client)
    assert foreign.value.status == 200
    assert not service.faults


async def test_a_step_that_was_answered_wrongly_does_not_count(client: Any, service: FakeService) -> None:
    s = client.session("sum", "s")
    await s.open()
    service.faults.append(answer_with(httpx.Response(200, json={"outputs": [[1, 1]], "step": 5})))
    with pytest.raises(ForeignAnswer):
        await s.step([1, 1])
    assert s.next_step == 0
    assert await s.step([1, 1]) == [1, 1]


@pytest.mark.parametrize(
    "body",
    [
        b'{"code": 5, "detail": {}, "status": "x"}',
        b'{"code": "overloaded", "retry_after_ms": "soon"}',
        b'{"code": "overloaded", "retry_after_ms": ' + b"9" * 400 + b"}",
        b'{"code": "step_conflict", "expected_step": -1}',
        b'{"code": "step_conflict", "expected_step": true}',
        b'["code"]',
        b"\xff",
    ],
)
async def test_a_problem_document_of_wrong_types_is_foreign(client: Any, service: FakeService, body: bytes) -> None:
    service.faults.append(answer_with(httpx.Response(422, content=body)))
    with pytest.raises(ForeignAnswer) as foreign:
        await client.models()
    assert foreign.value.status == 422


async def test_a_text_of_the_service_is_shown_without_control_characters_and_not_whole(
    client: Any, service: FakeService
) -> None:
    service.faults.append(answer_with(problem(422, "bell\x07", detail="\x1b[31m" + "x" * 10**6)))
    with pytest.raises(CarouselError) as error:
        await client.models()
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 3000


@pytest.mark.parametrize("wait", ["1000000000", "9" * 5000, "-5", "nan", "1e400", "²"])
async def test_no_retry_after_outlasts_the_timeout(client: Any, service: FakeService, clock: Clock, wait: str) -> None:
    headers = {"Retry-After": wait.encode()}
    body = b'{"code": "overloaded"}'
    service.faults.extend([lambda _: httpx.Response(503, headers=headers, content=body)] * 100)
    with pytest.raises(Unavailable):
        await client.predict("sum", [[[1, 2]]], timeout=10)
    assert clock.now <= 10


def bytes_of_json() -> st.SearchStrategy[bytes]:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    keys = st.sampled_from(["outputs", "step", "items", "session", "error", "code", "models", "id", "version"])
    trees = st.recursive(
        scalars, lambda one: st.lists(one, max_size=3) | st.dictionaries(keys, one, max_size=3), max_leaves=8
    )
    return trees.map(lambda tree: json.dumps(tree).encode())


CALLS: list[Callable[[Any], Any]] = [
    predict,
    many,
    step,
    lambda client: client.models(),
    lambda client: client.model("m"),
    lambda client: client.restore("x", b"state"),
    lambda client: client.session("m").open(),
    lambda client: client.session("m", "x").resume(),
    lambda client: client.session("m", "x").fork(),
    lambda client: client.session("m", "x").delete(),
    lambda client: client.session("m", "x").state(),
]


@given(
    st.sampled_from(CALLS),
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["Retry-After", "X-Request-Id", "Content-Type"]), st.binary(max_size=9)),
    st.binary(max_size=200) | bytes_of_json(),
)
async def test_any_answer_at_all_ends_the_call_within_its_timeout_and_raises_nothing_foreign(
    call: Callable[[Any], Any], status: int, headers: dict[str, bytes], content: bytes
) -> None:
    service, clock = FakeService(), Clock()
    service.answer_once = lambda _: httpx.Response(status, headers=headers, content=content)  # type: ignore[method-assign]
    async with AsyncClient("http://carousel.test", transport=service, clock=clock, sleep=clock.sleep) as client:
        try:
            await call(client)
        except CarouselError as error:
            assert str(error).isprintable()
    assert clock.now <= 60


# On a real socket: what the HTTP library makes of it.


@contextmanager
def lying(answers: Callable[[str], Pieces]) -> Iterator[LyingServer]:
    server = LyingServer(answers)
    try:
        yield server
    finally:
        server.stop()


def error_of(call: Callable[[], Any]) -> CarouselError:
    with pytest.raises(CarouselError) as error:
        call()
    return error.value


def drip(data: bytes) -> Pieces:
    for byte in data:
        yield bytes([byte])
        yield 0.01


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
BROKEN: dict[str, Callable[[], Pieces]] = {
    "cut off": lambda: [HEAD, b"{"],
    "closed": lambda: [],
    "zeros": lambda: [b"\0" * 100],
    "HTTP/0.9": lambda: [b"<html>hello</html>\r\n\r\n"],
    "a bad chunk": lambda: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    "a length that is no number": lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"],
    "two lengths": lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"],
    "a negative length": lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"],
    "a status of letters": lambda: [b"HTTP/1.1 abc OK\r\n\r\n"],
    "a huge status": lambda: [b"HTTP/1.1 99999999999999999999 OK\r\n\r\n"],
    "control characters in a header": lambda: [b"HTTP/1.1 200 OK\r\nX-Request-Id: a\x00\x1bb\r\n\r\n{}"],
    "a header without a name": lambda: [b"HTTP/1.1 200 OK\r\n: x\r\n\r\n{}"],
    "a header of 1 MB": lambda: [b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10**6],
    "headers without end": lambda: [b"HTTP/1.1 200 OK\r\n", *repeat(b"X: " + b"a" * 1000 + b"\r\n", 10_000)],
    "junk after the answer": lambda: [response({"models": 5}) + b"HTTP/1.1 200 OK\r\n", KEEP],
    "gzip that is none": lambda: [response(b"junk", 200, "Content-Encoding: gzip")],
    "an unknown encoding": lambda: [response(b"junk", 200, "Content-Encoding: zstd, br")],
    "an odd charset": lambda: [response(b"junk", 500, "Content-Type: text/html; charset=hex")],
    "a redirect": lambda: [response(b"", 302, "Location: http://127.0.0.1:1/")],
    "a redirect to nowhere": lambda: [response(b"", 307, "Location: http://[::1")],
    "an upgrade": lambda: [b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n{}"],
    "only continues": lambda: [b"HTTP/1.1 100 Continue\r\n\r\n" * 100],
    "cookies": lambda: [response(b"{}", 200, *(f"Set-Cookie: a{i}={'b' * 900}" for i in range(50)))],
}
SLOW: dict[str, Callable[[], Pieces]] = {
    "a slow head": lambda: drip(HEAD * 1000),
    "a slow header": lambda: drip(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10**6),
    "a slow body": lambda: [HEAD, *drip(b" " * 10**4)],
    "slow chunks": lambda: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *drip(b"1\r\na\r\n" * 10**4)],
    "continues without end": lambda: drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 10**4),
    "silence": lambda: [60.0],
}


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("pieces", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_http_is_an_error_of_the_client(kind: Any, pieces: Callable[[], Pieces]) -> None:
    with lying(lambda _: pieces()) as server:
        assert await outcome(kind, server.url, timeout=20.0, retries=1) is not TimedOut


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW.keys())
async def test_an_answer_that_drips_ends_at_the_timeout(kind: Any, pieces: Callable[[], Pieces]) -> None:
    with lying(lambda _: pieces()) as server:
        assert await outcome(kind, server.url, timeout=0.3, retries=None) is TimedOut


async def outcome(kind: Any, url: str, **settings: Any) -> type[CarouselError]:
    """The kind of error that asking for the models ends with."""
    with pytest.raises(CarouselError) as error:
        if kind is Client:
            with Client(url, **settings) as client:
                client.models()
        else:
            async with AsyncClient(url, **settings) as client:
                await client.models()
    return error.type


def test_an_answer_is_bounded_in_size_whatever_length_it_tells() -> None:
    endless = [b"HTTP/1.1 200 OK\r\n\r\n", *repeat(b" " * 10**5, 1000)]
    with lying(lambda _: endless) as server, Client(server.url, max_answer_bytes=10**6) as client:
        assert isinstance(error_of(client.models), AnswerTooLarge)
    assert len(server.heads) == 1


@given(st.binary(max_size=300))
def test_any_bytes_on_the_socket_are_an_error_of_the_client(data: bytes) -> None:
    with lying(lambda _: [data]) as server, Client(server.url, timeout=20, retries=0) as client:
        error_of(client.models)


def test_a_request_body_that_is_not_read_ends_at_the_timeout() -> None:
    with lying(lambda _: [60.0]) as server, Client(server.url, timeout=0.3) as client, pytest.raises(TimedOut):
        client.restore("x", bytes(2**26))


def test_nothing_goes_over_a_connection_that_was_given_up() -> None:
    late = [[HEAD, 60.0], [response({"models": []}), KEEP]]
    with lying(lambda _: late.pop(0)) as server, Client(server.url, timeout=20) as client:
        with pytest.raises(TimedOut):
            client.models(timeout=0.2)
        assert client.models() == []
        assert server.connections == 2


def test_a_service_that_is_away_for_a_moment_is_noticed_by_latency_only() -> None:
    down = [[response({"code": "shutting_down"}, 503)], [], [response({"models": []}), KEEP]]
    with lying(lambda _: down.pop(0)) as server, Client(server.url) as client:
        assert client.models() == []


def test_an_address_without_a_service_is_told_when_the_timeout_passes() -> None:
    with Client("http://127.0.0.1:1", timeout=0.3) as client, pytest.raises(ConnectionFailed, match="Connect"):
        client.models()
