"""What the OpenAPI document promises, asked for by a fuzzer that knows nothing else of the service."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks

from tests.wire.server import Server
from tests.wire.test_openapi import DOCUMENT

KNOWN = {"model": "lstm", "id": "schemathesis"}
FEATURES = 3

schema = schemathesis.openapi.from_path(str(DOCUMENT))


@pytest.fixture(autouse=True)
def session(server: Server) -> None:
    httpx.post(f"{server.url}/v1/models/lstm/sessions", json={"id": KNOWN["id"]})


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_document_promises(case: schemathesis.Case[Any], server: Server) -> None:
    told_apart = len(str(case.path_parameters)) % 3  # mostly what exists is meant: else little more than 404 is seen
    if told_apart:
        case.path_parameters |= {name: KNOWN[name] for name in case.path_parameters}
        case.query.pop("version", None)
        case.body = fitted(case.body)
    if case.headers:
        case.headers.pop("X-Request-Timeout-Ms", None)  # no patience is a 504, which the fuzzer takes for a defect
    case.call_and_validate(
        base_url=server.url,
        checks=[
            checks.not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_headers_conformance,
            checks.response_schema_conformance,
        ],
    )


def fitted(value: Any) -> Any:
    """Lists of numbers with as many of them as the model takes, which the document cannot know."""
    if isinstance(value, dict):
        return {key: fitted(one) for key, one in value.items()}
    if not isinstance(value, list):
        return value
    numbers = value and all(type(one) in (int, float) for one in value)
    return (value * FEATURES)[:FEATURES] if numbers else [fitted(one) for one in value]
