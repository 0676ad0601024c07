"""The fuzzer's world: valid requests for every route, and the one mutation that leads to each code of WIRE."""

from collections.abc import Callable
from random import Random
from typing import Any

import orjson

from tests.wire import mutate
from tests.wire.conftest import NOT_FINITE
from tests.wire.mutate import Request

STEP = [1, 2, 3]


def fresh(rng: Random) -> str:
    return f"f{rng.getrandbits(64):x}"


class World:
    """What exists on the server. Victims may be moved and deleted by mutants that are still valid; anchors are not."""

    def __init__(self) -> None:
        self.victims = [f"victim-{index}" for index in range(40)]
        self.anchors = [f"anchor-{index}" for index in range(20)]
        self.expired = [f"expired-{index}" for index in range(20)]
        self.blobs: list[bytes] = []  # states of `lstm` and of another model

    def valid(self, route: str, rng: Random) -> Request:
        """A request of this route that is as it should be."""
        id, model = rng.choice(self.victims), rng.choice(["lstm", "gru"])
        steps = [[rng.randrange(9), 0.5, -1]] * rng.randrange(1, 4)
        named: Any = [{"x0": 1, "x1": 2, "x2": 3}] * 2
        items = [{"session": one, "inputs": steps} for one in (id, fresh(rng))]
        requests: dict[str, tuple[str, str, Any]] = {
            "models": ("GET", "/v1/models", None),
            "model": ("GET", f"/v1/models/{model}", None),
            "predict": ("POST", f"/v1/models/{model}/predict", {"sequences": [steps, named]}),
            "open": ("POST", "/v1/models/lstm/sessions", {"id": fresh(rng), "ttl_seconds": 60, "history": steps}),
            "many": ("POST", "/v1/models/lstm/steps", {"items": items, "open": True}),
            "session": ("GET", f"/v1/sessions/{id}", None),
            "delete": ("DELETE", f"/v1/sessions/{id}", None),
            "steps": ("POST", f"/v1/sessions/{id}/steps", {"inputs": rng.choice([steps, named])}),
            "fork": ("POST", f"/v1/sessions/{id}/fork", {"id": fresh(rng)}),
            "read state": ("GET", f"/v1/sessions/{id}/state", None),
            "write state": ("PUT", f"/v1/sessions/{id}/state", self.blobs[0]),
            "live": ("GET", "/health/live", None),
            "ready": ("GET", "/health/ready", None),
            "metrics": ("GET", "/metrics", None),
            "docs": ("GET", "/docs", None),
            "openapi": ("GET", "/openapi.json", None),
        }
        return Request(route, *requests[route])

    def mutant(self, route: str, rng: Random) -> Request:
        """One or two mutations away from valid."""
        request = self.valid(route, rng)
        kinds = mutate.ANY if request.body is None else [*mutate.ANY, *mutate.BODY]
        for mutation in rng.sample(kinds, rng.randrange(1, 3)):
            mutation(request, rng)
        return request

    def aimed(self, code: str, rng: Random) -> Request:
        """One mutation that leads to this code, and at times one that should not matter."""
        request = AIMED[code](self, rng)
        if rng.random() < 0.4:
            mutate.noise(request, rng)
        return request

    def at(self, id: str, route: str, rng: Random) -> Request:
        """A valid request about this session."""
        request = self.valid(route, rng)
        request.path = "/".join([*request.path.split("/")[:3], id, *request.path.split("/")[4:]])
        return request


ROUTES = [
    "models",
    "model",
    "predict",
    "open",
    "many",
    "session",
    "delete",
    "steps",
    "fork",
    "read state",
    "write state",
]
ROUTES += ["live", "ready", "metrics", "docs", "openapi"]
_BODIES = ["predict", "open", "many", "steps", "fork", "write state"]
_JSON = ["predict", "open", "many", "steps", "fork"]
_MODELS = ["model", "predict", "open", "many"]
_SESSIONS = ["session", "delete", "steps", "fork", "read state"]


def _with(routes: list[str], change: Callable[[Request, Random], None]) -> Callable[[World, Random], Request]:
    def aimed(world: World, rng: Random) -> Request:
        request = world.valid(rng.choice(routes), rng)
        change(request, rng)
        return request

    return aimed


def _set(**fields: Any) -> Callable[[Request, Random], None]:
    def change(request: Request, rng: Random) -> None:
        for name, value in fields.items():
            setattr(request, name, value)

    return change


def _cut(request: Request, rng: Random) -> None:
    content = request.content()
    request.body = content[: rng.randrange(len(content))]


def _longer(request: Request, rng: Random) -> None:
    request.path += rng.choice(["/x", "/", "//", "%2Fx"])


def _other_name(request: Request, rng: Random) -> None:
    _, v1, models, name, *rest = request.path.split("/")
    request.path = "/".join(["", v1, models, name + rng.choice("x0_-"), *rest])


def _bad_value(request: Request, rng: Random) -> None:
    bad: list[Any] = [[], [[1, 2]], [STEP, [1, 2, None]], [[1, 2, "3"]], [STEP, {"x0": 1}], [[1, 2, True]], 7]
    bad.append(orjson.Fragment(b"[[1,2,1e400]]"))
    request.body = {"sequences": [rng.choice(bad)]} if request.route == "predict" else {"inputs": rng.choice(bad)}


def _taken(world: World, rng: Random) -> Request:
    request = world.at(rng.choice(world.anchors), "fork", rng) if rng.random() < 0.5 else world.valid("open", rng)
    request.body["id"] = rng.choice(world.anchors)
    return request


def _ahead(world: World, rng: Random) -> Request:
    request = world.at(rng.choice(world.anchors), "steps", rng)
    request.body["step"] = rng.choice([10**9, 2**40, 7 + 10**6])
    return request


def _not_finite(world: World, rng: Random) -> Request:
    request = world.valid("predict", rng)
    request.path, request.body = "/v1/models/log/predict", {"sequences": [[[1, 1, 1]], [NOT_FINITE]]}
    return request


def _damaged(world: World, rng: Random) -> Request:
    request = world.at(rng.choice(world.anchors), "write state", rng)
    request.body = mutate.bytes_of(request.body, rng) + b"x" if rng.random() < 0.8 else world.blobs[1]
    return request


def _idle(world: World, rng: Random) -> Request:
    return world.at(rng.choice(world.expired), rng.choice(_SESSIONS), rng)


def _late(world: World, rng: Random) -> Request:
    request = world.at(rng.choice(world.anchors), "steps", rng) if rng.random() < 0.5 else world.valid("predict", rng)
    mutate.late(request, rng)
    return request


AIMED: dict[str, Callable[[World, Random], Request]] = {
    "invalid_request": _with(_JSON, _cut),
    "not_found": _with([*_MODELS, *_SESSIONS, "live", "metrics"], _longer),
    "method_not_allowed": _with(ROUTES[:14], _set(verb="PATCH")),
    "unsupported_encoding": _with(_BODIES, mutate.encoding),
    "model_not_found": _with(_MODELS, _other_name),
    "version_not_found": _with(_MODELS, _set(query="?version=9")),
    "session_not_found": _with(_SESSIONS, _other_name),
    "session_exists": _taken,
    "step_conflict": _ahead,
    "invalid_input": _with(["predict", "steps"], _bad_value),
    "non_finite_output": _not_finite,
    "not_streamable": _with(["open"], _set(path="/v1/models/bidirectional/sessions")),
    "state_mismatch": _damaged,
    "payload_too_large": _with(_BODIES, mutate.large),
    "head_too_large": _with(ROUTES[:14], mutate.long_head),
    "forbidden": _with(_BODIES, mutate.foreign),
    "deadline_exceeded": _late,
    "session_expired": _idle,
    "overloaded": _with(["open"], _set(body={})),
}
