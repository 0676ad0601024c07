"""The OpenAPI document: what the routes, which read raw bodies, cannot tell FastAPI themselves.

`carousel openapi` prints it; a test compares docs/openapi.json with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service import errors
from service.api.schemas import COMPONENTS

if TYPE_CHECKING:
    from service.errors import CarouselError

_JSON, _BYTES, _TEXT = "application/json", "application/octet-stream", "text/plain"
_BODY = (errors.InvalidRequest, errors.UnsupportedEncoding, errors.PayloadTooLarge)
_MODEL = (errors.ModelNotFound, errors.VersionNotFound, errors.Overloaded)
_SESSION = (errors.SessionNotFound, errors.SessionExpired, errors.VersionNotFound)
_QUEUE = (
    *(errors.Overloaded, errors.ShuttingDown, errors.EngineFailed),
    *(errors.StoreUnavailable, errors.CommitUnknown),
)
_RUN = (errors.InvalidInput, errors.NonFiniteOutput, errors.DeadlineExceeded, *_QUEUE)

_PATIENCE = {
    "name": "X-Request-Timeout-Ms",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
    "description": "The caller's patience, from the last byte of the request on",
}
_ID = {"type": "string"}
_HEADERS: dict[str, Any] = {
    "RequestId": {"required": True, "schema": _ID, "description": "The caller's, or one of ours"},
    "RetryAfter": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds; with `overloaded`"},
}
_PARAMETERS: dict[str, Any] = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "schema": _ID,
        "description": "1 to 128 visible ASCII characters; the service makes one where there is none",
    }
}

_FILTERS: dict[str, Any] = {
    "model": {"schema": {"type": "string"}, "description": "Sessions of this model only"},
    "prefix": {"schema": {"type": "string"}, "description": "Sessions whose ids begin so only"},
}
_QUERIES: dict[str, dict[str, Any]] = {
    "sessions": _FILTERS
    | {
        "limit": {"schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
        "after": {"schema": {"type": "string"}, "description": "Sessions behind this id: `next` of the page before"},
    },
    "delete_sessions": _FILTERS
    | {"all": {"schema": {"type": "boolean"}, "description": "true: needed where there is no filter"}},
}

_Kind = str | None  # of a body: the name of its schema, a media type, or none

# route → (request body, status, answer, errors)
_ROUTES: dict[str, tuple[_Kind, int, _Kind, tuple[type[CarouselError], ...]]] = {
    "models": (None, 200, "Models", ()),
    "model": (None, 200, "Model", _MODEL),
    "predict": ("Predict", 200, "Predicted", (*_BODY, *_MODEL, *_RUN)),
    "open": ("Open", 201, "Session", (*_BODY, *_MODEL, *_RUN, errors.SessionExists, errors.NotStreamable)),
    "many_steps": ("ManySteps", 200, "ManyStepped", (*_BODY, *_MODEL, errors.InvalidInput, *_QUEUE)),
    "sessions": (None, 200, "Page", (errors.InvalidRequest, errors.Overloaded)),
    "delete_sessions": (None, 200, "Deleted", (errors.InvalidRequest, *_QUEUE)),
    "session": (None, 200, "Session", _SESSION[:2]),
    "delete": (None, 204, None, (*_SESSION, errors.ShuttingDown, errors.EngineFailed)),
    "steps": ("Steps", 200, "Stepped", (*_BODY, *_SESSION, errors.StepConflict, *_RUN)),
    "fork": ("Fork", 201, "Forked", (*_BODY, *_SESSION, errors.SessionExists, *_QUEUE)),
    "rewind": ("Rewind", 200, "Session", (*_BODY, *_SESSION, errors.StepConflict, *_QUEUE)),
    "forecast": ("Forecast", 200, "Stepped", (*_BODY, *_SESSION, *_RUN)),
    "migrate": ("Migrate", 200, "Session", (*_BODY, *_SESSION, errors.StateMismatch, errors.NotStreamable, *_RUN)),
    "read_state": (None, 200, _BYTES, (*_SESSION, *_QUEUE)),
    "write_state": (
        _BYTES,
        200,
        "Session",
        (*_BODY, errors.VersionNotFound, errors.StateMismatch, errors.SessionExists, *_QUEUE),
    ),
    "live": (None, 200, "Live", ()),
    "ready": (None, 200, "Ready", ()),
    "metrics": (None, 200, _TEXT, ()),
}


def described(route: str) -> dict[str, Any]:
    """What `add_api_route` takes to document a route: its body, its answers and every error it may give."""
    asked, status, answered, refusals = _ROUTES[route]
    responses: dict[int | str, dict[str, Any]] = {status: _answer(answered)}
    if route == "write_state":
        responses[201] = _answer(answered, "Created")
    if route == "ready":
        responses[503] = _answer("Ready", "Not ready, with the reason")
    by_status: dict[int, list[str]] = {}
    everywhere: tuple[type[CarouselError], ...] = (*refusals, errors.CarouselError)
    for error in dict.fromkeys(everywhere):
        by_status.setdefault(error.status, []).append(error.code)
    for code, names in by_status.items():
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        responses[code] = {"description": ", ".join(names), "content": content}
    for each, answer in responses.items():
        answer["headers"] = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
        if each == errors.Overloaded.status and errors.Overloaded in refusals:
            answer["headers"]["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    patience = [_PATIENCE] if route == "many_steps" or errors.DeadlineExceeded in refusals else []
    asked_in_query = [{"name": name, "in": "query", **told} for name, told in _QUERIES.get(route, {}).items()]
    parameters = [{"$ref": "#/components/parameters/RequestId"}, *patience, *asked_in_query]
    extra: dict[str, Any] = {"parameters": parameters}
    if asked is not None:
        extra["requestBody"] = {"required": True, "content": _content(asked)}
    return {"status_code": status, "responses": responses, "openapi_extra": extra, "operation_id": route}


def _content(kind: str) -> dict[str, Any]:
    if kind == _BYTES:
        return {kind: {"schema": {"type": "string", "format": "binary"}}}
    if kind == _TEXT:
        return {kind: {"schema": {"type": "string"}}}
    return {_JSON: {"schema": {"$ref": f"#/components/schemas/{kind}"}}}


def _answer(kind: _Kind, description: str = "Successful") -> dict[str, Any]:
    return {"description": description} | ({"content": _content(kind)} if kind is not None else {})


def install(app: FastAPI) -> None:
    """Let the application answer with the whole document."""

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            document["components"] = {"schemas": COMPONENTS, "headers": _HEADERS, "parameters": _PARAMETERS}
            for operations in document["paths"].values():
                for operation in operations.values():
                    _tidy(operation)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign]  # FastAPI's documented way


def _tidy(operation: dict[str, Any]) -> None:
    """Drop what FastAPI adds by itself: its own 422, which no route of ours gives."""
    unprocessable = operation["responses"].get("422", {})
    if "HTTPValidationError" in str(unprocessable):
        del operation["responses"]["422"]
