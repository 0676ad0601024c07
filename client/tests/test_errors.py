from __future__ import annotations

import pickle
from typing import Any

import httpx
import numpy as np
import pytest
from fake_service import FakeService, answer_with, problem

import carousel_client
from carousel_client import (
    CarouselError,
    ForeignAnswer,
    InvalidInput,
    Overloaded,
    PartlyFailed,
    StepConflict,
    Unavailable,
)
from carousel_client.answers import Answer
from carousel_client.errors import BY_CODE


def answer_error(response: httpx.Response) -> CarouselError:
    return Answer.of(response.status_code, response.headers, response.content).error()


WIRE_CODES = [
    "invalid_request",
    "not_found",
    "method_not_allowed",
    "unsupported_encoding",
    "model_not_found",
    "version_not_found",
    "session_not_found",
    "channel_not_found",
    "session_expired",
    "session_exists",
    "step_conflict",
    "invalid_input",
    "non_finite_output",
    "not_streamable",
    "state_mismatch",
    "payload_too_large",
    "overloaded",
    "too_many_channels",
    "deadline_exceeded",
    "shutting_down",
    "engine_failed",
    "internal",
]


@pytest.mark.parametrize("code", WIRE_CODES)
def test_every_code_of_wire_has_a_public_class_of_its_own(code: str) -> None:
    error = answer_error(problem(400, code))
    assert type(error) is BY_CODE[code] is not CarouselError
    assert getattr(carousel_client, type(error).__name__) is type(error)
    assert error.code == code


def test_an_error_carries_the_problem_and_the_request() -> None:
    error = answer_error(problem(422, "invalid_input", {"X-Request-Id": "r1"}, detail="sequences[2][17]: 5 features"))
    assert (error.status, error.detail, error.request_id) == (422, "sequences[2][17]: 5 features", "r1")
    assert error.problem["type"] == "urn:carousel:invalid_input"
    assert str(error) == "invalid_input: sequences[2][17]: 5 features (request r1)"


def test_an_unknown_code_is_still_a_carousel_error() -> None:
    error = answer_error(problem(418, "teapot"))
    assert (type(error), error.code, error.status) == (CarouselError, "teapot", 418)


@pytest.mark.parametrize("code", ["partly_failed", "timed_out", "connection_failed", "state_lost", "foreign_answer"])
def test_the_service_cannot_name_an_error_that_only_the_client_raises(code: str) -> None:
    assert type(answer_error(problem(503, code))) is CarouselError


def test_step_conflict_tells_where_the_session_stands() -> None:
    behind = answer_error(problem(409, "step_conflict", expected_step=7, applied=True))
    ahead = answer_error(problem(409, "step_conflict", expected_step=7))
    assert isinstance(behind, StepConflict)
    assert isinstance(ahead, StepConflict)
    assert (behind.expected_step, behind.applied) == (7, True)
    assert (ahead.expected_step, ahead.applied) == (7, False)


@pytest.mark.parametrize(
    ("headers", "extra", "seconds"),
    [
        ({"Retry-After": "2"}, {}, 2.0),
        ({"Retry-After": "2"}, {"retry_after_ms": 150}, 0.15),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, None),
        ({}, {}, None),
    ],
)
def test_overloaded_tells_how_long_to_wait(headers: dict[str, str], extra: Any, seconds: float | None) -> None:
    error = answer_error(problem(503, "overloaded", headers, **extra))
    assert isinstance(error, Overloaded)
    assert isinstance(error, Unavailable)
    assert error.retry_after == seconds


@pytest.mark.parametrize("content", ["<html>Bad gateway</html>", "", "[1]", '"text"', '{"detail": "Not Found"}'])
def test_an_answer_that_is_no_problem_is_foreign(content: str) -> None:
    error = answer_error(httpx.Response(500, text=content))
    assert isinstance(error, ForeignAnswer)
    assert error.status == 500
    assert content[:20] in error.detail


def test_errors_travel_between_processes() -> None:
    error = answer_error(problem(409, "step_conflict", {"X-Request-Id": "r1"}, expected_step=7, applied=True))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.expected_step) == (StepConflict, str(error), 7)
    partly = pickle.loads(pickle.dumps(PartlyFailed({"s": error}, [None, np.ones(2, np.float32)])))
    assert (partly.errors["s"].code, partly.outputs[1].tolist()) == ("step_conflict", [1, 1])
    assert "1 of 2 sessions failed, the first 's'" in str(partly)


@pytest.mark.parametrize("content", ["<html>Sign in</html>", "[]", "7", "null", "{}"])
async def test_a_success_that_carousel_cannot_have_given_is_foreign(
    client: Any, service: FakeService, content: str
) -> None:
    service.faults.append(answer_with(httpx.Response(200, text=content)))
    with pytest.raises(ForeignAnswer):
        await client.predict("sum", [[[1, 2]]])


async def test_the_services_own_words_reach_the_caller(client: Any) -> None:
    with pytest.raises(InvalidInput, match=r"3 features, the model has 2") as refused:
        await client.predict("sum", [[[1, 2, 3]]])
    assert refused.value.status == 422
    assert refused.value.request_id
