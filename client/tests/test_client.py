from __future__ import annotations

import math
from typing import Any

import httpx
import numpy as np
import pytest
from fake_service import FakeService, answer_with, refuse_connection
from lying_server import KEEP, LyingServer, response

from carousel_client import (
    AsyncClient,
    Client,
    InvalidInput,
    InvalidRequest,
    ModelNotFound,
    SessionNotFound,
    StepConflict,
)
from carousel_client.blocking import run
from carousel_client.transport import Service


async def test_models_and_descriptions_are_given_as_wire_has_them(client: Any) -> None:
    (model,) = await client.models()
    assert (model["name"], model["default_version"]) == ("sum", "1")
    described = await client.model("sum")
    assert [feature["name"] for feature in described["features"]] == ["a", "b"]
    with pytest.raises(ModelNotFound):
        await client.model("unknown")


async def test_ready_is_a_plain_answer_asked_once(client: Any, service: FakeService) -> None:
    assert await client.ready()
    service.faults.extend([answer_with(httpx.Response(503)), refuse_connection])
    assert not await client.ready()
    assert not await client.ready()
    assert service.routes() == ["GET /health/ready"] * 3


def test_a_closed_client_says_so() -> None:
    with Client("http://127.0.0.1:9", timeout=5) as client:
        pass
    for call in (client.models, client.stream):
        with pytest.raises(InvalidRequest, match="the client is closed"):
            call()


async def test_predict_keeps_order_lengths_and_style_of_each_sequence(client: Any) -> None:
    array, lists, dicts = np.ones((3, 2), np.float32), [[1.0, 2.0]], [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 0.0}]
    summed, listed, named = await client.predict("sum", [array, lists, dicts])
    np.testing.assert_array_equal(summed, np.cumsum(array, axis=0))
    assert summed.dtype == np.float32
    assert listed == [[1.0, 2.0]]
    assert named == [{"sum a": 1.0, "sum b": 2.0}, {"sum a": 2.0, "sum b": 2.0}]


async def test_predict_takes_a_whole_batch_as_one_array(client: Any) -> None:
    outputs = await client.predict("sum", np.ones((4, 3, 2)))
    assert [output.shape for output in outputs] == [(3, 2)] * 4


@pytest.mark.parametrize("sequences", [[[1, 2], [3, 4]], np.ones((2, 2)), [{"a": 1, "b": 2}], {"a": 1}])
async def test_predict_never_guesses_whether_a_step_was_meant_as_a_sequence(
    client: Any, service: FakeService, sequences: Any
) -> None:
    with pytest.raises(InvalidInput):
        await client.predict("sum", sequences)
    assert service.requests == []


async def test_the_version_is_asked_for_only_when_named(client: Any, service: FakeService) -> None:
    await client.predict("sum", [[[1, 2]]])
    await client.predict("sum", [[[1, 2]]], version="2")
    await client.model("sum", "3")
    assert [request.url.query for request in service.requests] == [b"", b"version=2", b"version=3"]


async def test_many_sessions_step_in_one_call_and_a_bad_item_does_not_harm_the_others(client: Any) -> None:
    items = [("s", [[1, 2]], 0), ("t", np.ones(2)), ("s", {"a": 1, "b": 1}, 1), ("t", [[1]]), ("s", [[0, 0]], 7)]
    s0, t0, s1, bad, conflict = await client.steps("sum", items, open=True)
    assert (s0.session, s0.outputs, s0.step, s0.created, s0.error) == ("s", [[1, 2]], 1, True, None)
    assert (t0.outputs.tolist(), t0.created) == ([1, 1], True)
    assert (s1.outputs, s1.step, s1.created) == ({"sum a": 2, "sum b": 3}, 2, False)
    assert isinstance(bad.error, InvalidInput)
    assert bad.outputs is None
    assert isinstance(conflict.error, StepConflict)
    assert conflict.error.expected_step == 2


async def test_many_sessions_are_opened_only_when_asked(client: Any) -> None:
    (answer,) = await client.steps("sum", [("s", [[1, 2]])])
    assert isinstance(answer.error, SessionNotFound)


async def test_names_are_percent_encoded(client: Any, service: FakeService) -> None:
    with pytest.raises(ModelNotFound):
        await client.model("a/b?c#d%2F é")
    assert service.requests[0].url.raw_path == b"/v1/models/a%2Fb%3Fc%23d%252F%20%C3%A9"


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_a_name_that_would_lead_to_another_route_is_never_sent(
    client: Any, service: FakeService, name: str
) -> None:
    with pytest.raises(InvalidRequest):
        await client.model(name)
    with pytest.raises(InvalidRequest):
        await client.session("sum", name).delete()
    assert service.requests == []


def test_the_proxies_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = LyingServer(lambda _: [response({"models": []}), KEEP])
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "direct.test")
    try:
        with Client("http://carousel.test", timeout=20) as client:
            assert client.models() == []
        assert proxy.heads[0].startswith("GET http://carousel.test/v1/models HTTP/1.1")
        assert Service.at("http://direct.test").proxy() is None
    finally:
        proxy.stop()


def test_a_blocking_call_in_a_callback_of_the_client_is_refused_and_does_not_hang(service: FakeService) -> None:
    async def blocking_call() -> None:
        with pytest.raises(InvalidRequest, match="callback"):
            client.models()

    with Client("http://carousel.test", transport=service) as client:
        run(blocking_call())


@pytest.mark.parametrize("seconds", [math.nan, -1.0, -math.inf, "60"])
async def test_a_timeout_that_is_no_time_is_refused_where_it_is_given(client: Any, seconds: Any) -> None:
    wrong = r"^invalid_request: timeout: .* is no number of seconds"
    for kind in (Client, AsyncClient):
        with pytest.raises(InvalidRequest, match=wrong):
            kind("http://127.0.0.1:9", timeout=seconds)
    session = client.session("sum")
    for call in (client.models, client.ready, session.open, session.delete):
        with pytest.raises(InvalidRequest, match=wrong):
            await call(timeout=seconds)
    with pytest.raises(InvalidRequest, match=wrong):
        await session.step([[1, 2]], timeout=seconds)


@pytest.mark.parametrize(
    "wrong", [{"retries": -1}, {"retries": "3"}, {"retries": 1.5}, {"max_answer_bytes": 0}, {"max_answer_bytes": None}]
)
def test_a_count_that_is_none_is_refused_where_it_is_given(wrong: Any) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(InvalidRequest, match="no whole number"):
            kind("http://127.0.0.1:9", **wrong)


async def test_a_timeout_without_end_is_none(client: Any) -> None:
    assert await client.models(timeout=math.inf)
