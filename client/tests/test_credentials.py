"""Passwords reach the service, and nothing else: no repr, no error, no log."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from lying_server import KEEP, LyingServer, response
from stream_server import StreamServer, refusal

from carousel_client import AsyncClient, CarouselError, Client, InvalidRequest

SECRET = "s3cret p@ss"
ENCODED = base64.b64encode(f"me:{SECRET}".encode()).decode()


def with_password(url: str) -> str:
    return url.replace("http://", "http://me:s3cret%20p%40ss@") + "/path?key=s3cret#s3cret"


def shown(*things: Any) -> str:
    return " ".join(f"{thing!r} {thing}" for thing in things)


def error_of(call: Callable[..., Any], *args: Any) -> CarouselError:
    with pytest.raises(CarouselError) as error:
        call(*args)
    return error.value


def clean(text: str) -> bool:
    return "s3cret" not in text and ENCODED not in text


def test_credentials_are_sent_and_are_in_no_repr_no_error_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = LyingServer(lambda _: [response({"code": "not_found"}, 404), KEEP])
    try:
        with Client(with_password(server.url), timeout=20) as client:
            session = client.session("m", "s")
            errors = [error_of(call) for call in (client.models, session.open)]
            texts = ["".join(traceback.format_exception(error)) for error in errors]
            assert clean(shown(client, session, *errors, client._async._service, client._async._exchange))
            assert clean(" ".join(texts))
            assert clean(repr(pickle.dumps(errors)))
    finally:
        server.stop()
    assert f"authorization: basic {ENCODED}".lower() in server.heads[0].lower()
    assert server.heads[0].startswith("GET /path/v1/models HTTP/1.1")
    assert clean(caplog.text)


def test_the_stream_sends_and_hides_them_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = StreamServer()
    try:
        with Client(with_password(server.url), timeout=20) as client, client.stream() as stream:
            server.refusals.append(refusal(404, b'{"code": "not_found"}'))
            error = error_of(stream.open, "sum", "a")
            channel = stream.open("sum", "a")
            assert clean(shown(client, stream, channel, error))
    finally:
        server.stop()
    ours = [record for record in caplog.records if record.name != "websockets.server"]
    assert any("GET /path/v1/stream" in record.getMessage() for record in ours)
    assert clean(" ".join(record.getMessage() for record in ours))


def test_a_connection_that_fails_does_not_show_them() -> None:
    with Client(with_password("http://127.0.0.1:1"), timeout=0.2) as client, client.stream() as stream:
        errors = [error_of(call) for call in (client.models, lambda: stream.open("m"))]
    assert clean(" ".join("".join(traceback.format_exception(error)) for error in errors))


@pytest.mark.parametrize(
    "url",
    [
        "http://me:s3cret@",
        "ftp://me:s3cret@host",
        "me:s3cret@host",
        "http://me:s3cret@host:port",
        "http://me:s3cret@host:99999",
        "http://me:s3/cret@host",
        "http://me:s3cret@[::1",
        "http://me:s3cret@" + "a" * 300 + ".b",
        "",
        None,
    ],
)
def test_a_url_that_leads_nowhere_is_refused_without_being_shown(url: Any) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(CarouselError) as refused:
            kind(url, timeout=0.2) if url is None or "a" * 300 not in url else asyncio.run(_ask(url))
        text = "".join(traceback.format_exception(refused.value))
        assert "s3cret" not in text.replace(url or "None", "")
    assert clean(str(refused.value))


async def _ask(url: str) -> None:
    async with AsyncClient(url, timeout=0.2) as client:
        await client.models()


def test_a_refused_url_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest, match="url: not the address of a service"):
        Client("localhost:8000")
