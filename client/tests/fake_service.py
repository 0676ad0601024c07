"""WIRE §1 in memory, for one model: `sum`, whose state and outputs are sums so far, so any mix-up is a wrong number.

Faults are told to it beforehand, one a request: they are what a network does to good answers.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import aiohttp
import httpx
import numpy as np

from carousel_client.answers import Answer
from carousel_client.transport import Request

FEATURES = ["a", "b"]
Fault = Callable[[Callable[[], httpx.Response]], httpx.Response]


def lose_answer(serve: Callable[[], httpx.Response]) -> httpx.Response:
    """The request is served; its answer is cut off."""
    serve()
    raise aiohttp.ServerDisconnectedError


def lose_request(_: Callable[[], httpx.Response]) -> httpx.Response:
    """The connection was made, and broke before the service had the request: the client cannot tell."""
    raise aiohttp.ClientOSError("connection reset")


def refuse_connection(_: Callable[[], httpx.Response]) -> httpx.Response:
    raise RefusedError


class RefusedError(aiohttp.ClientConnectorError):
    def __init__(self) -> None:
        OSError.__init__(self, "connection refused")

    def __str__(self) -> str:
        return "connection refused"


def no_fault(serve: Callable[[], httpx.Response]) -> httpx.Response:
    return serve()


def answer_with(response: httpx.Response) -> Fault:
    """Another server answers so, each time anew; the request is not served."""
    return lambda _: httpx.Response(response.status_code, headers=response.headers, content=response.content)


def problem(status: int, code: str, headers: dict[str, str] | None = None, **extra: Any) -> httpx.Response:
    body = {"type": f"urn:carousel:{code}", "title": code, "status": status, "code": code, "detail": f"it is {code}"}
    return httpx.Response(status, json=body | extra, headers=headers)


class ProblemError(Exception):
    def __init__(self, status: int, code: str, **extra: Any) -> None:
        self.response = problem(status, code, **extra)


@dataclass
class Sums:
    id: str
    step: int = 0
    total: Any = field(default_factory=lambda: np.zeros(2, np.float32))
    kept: dict[int, tuple[Any, Any]] = field(default_factory=dict)  # step → inputs, answer
    behind_ms: int | None = None
    past: dict[int, Any] | None = None  # total by step, of every step; None: it takes no snapshots

    def described(self) -> dict[str, Any]:
        ttl = {"ttl_seconds": 60, "expires_at": "2030-01-01T00:00:00Z"}
        kept = {} if self.past is None else {"snapshots": sorted(self.past)}
        kept |= {} if self.behind_ms is None else {"behind_ms": self.behind_ms}
        return {"id": self.id, "model": "sum", "version": "1", "step": self.step, "replay": 4} | ttl | kept

    def forecast(self, inputs: Any = (), steps: int = 0) -> dict[str, Any]:
        copy, outputs = Sums("", 0, self.total), []
        for _ in range(steps + bool(inputs)):
            fed = inputs or [[float(str(value)) for value in copy.total]]
            outputs, inputs = outputs + copy.run(fed), ()
        return {"outputs": outputs, "step": self.step}

    def rewind(self, step: int) -> None:
        if step not in (self.past or {}):
            raise ProblemError(409, "step_conflict", expected_step=self.step, snapshots=sorted(self.past or {}))
        self.past = {at: total for at, total in (self.past or {}).items() if at <= step}
        self.step, self.total, self.kept = step, self.past[step], {}

    def run(self, inputs: list[Any]) -> list[Any]:
        outputs = []
        for x in inputs:
            row = [x[name] for name in FEATURES] if isinstance(x, dict) else x
            if len(row) != len(FEATURES):
                raise ProblemError(422, "invalid_input", detail=f"inputs[0]: {len(row)} features, the model has 2")
            self.total = self.total + np.asarray(row, np.float32)
            y = [float(str(value)) for value in self.total]  # shortest decimals of the float32
            outputs.append(dict(zip(["sum a", "sum b"], y, strict=True)) if isinstance(x, dict) else y)
        self.step += len(inputs)
        if self.past is not None and inputs:
            self.past[self.step] = self.total
        return outputs

    def advance(self, call: dict[str, Any]) -> dict[str, Any]:
        step, inputs = call.get("step", self.step), call["inputs"]
        kept_inputs, kept_answer = self.kept.get(step, (None, None))
        if step != self.step:
            if inputs == kept_inputs:
                return kept_answer  # type: ignore[no-any-return]
            raise ProblemError(409, "step_conflict", expected_step=self.step, applied=step < self.step)
        answer = {"outputs": self.run(inputs), "step": self.step}
        self.kept[step] = (inputs, answer)
        return answer


class FakeService:
    def __init__(self) -> None:
        self.sessions: dict[str, Sums] = {}
        self.requests: list[httpx.Request] = []
        self.faults: deque[Fault] = deque()

    async def send(self, request: Request, headers: Mapping[str, str], limit: int) -> Answer:
        """As HttpTransport."""
        url = f"http://carousel.test{request.path}"
        response = self.answer_once(httpx.Request(request.method, url, headers=headers, content=request.content))
        return Answer.of(response.status_code, response.headers, response.content)

    async def close(self) -> None:
        pass

    def answer_once(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        fault = self.faults.popleft() if self.faults else no_fault
        return fault(lambda: self.serve(request))

    def routes(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def serve(self, request: httpx.Request) -> httpx.Response:
        names = [unquote(name) for name in request.url.raw_path.decode().partition("?")[0].split("/")[1:]]
        try:
            response = self.answer(request, names)
        except ProblemError as error:
            response = error.response
        response.headers["X-Request-Id"] = request.headers["X-Request-Id"]
        return response

    def answer(self, request: httpx.Request, names: list[str]) -> httpx.Response:
        match [request.method, *names]:
            case ["GET", "health", "ready"]:
                return httpx.Response(200, json={})
            case ["GET", "v1", "models"]:
                version = {"version": "1", "state": "ready"}
                return httpx.Response(
                    200, json={"models": [{"name": "sum", "versions": [version], "default_version": "1"}]}
                )
            case [_, "v1", "models", name, *rest]:
                if name != "sum":
                    raise ProblemError(404, "model_not_found")
                return self.answer_model(request.method, rest, body(request), request.url.params.get("version"))
            case [method, "v1", "sessions"]:
                return self.answer_all(method, dict(request.url.params))
            case [method, "v1", "sessions", id, *rest]:
                if id not in self.sessions and (method, rest) != ("PUT", ["state"]):
                    raise ProblemError(404, "session_not_found")
                return self.answer_session(method, id, rest, request)
        raise ProblemError(404, "not_found")

    def answer_model(self, method: str, rest: list[str], call: Any, version: str | None) -> httpx.Response:
        match [method, *rest]:
            case ["GET"]:
                columns = [{"name": name} for name in FEATURES]
                described = {
                    "name": "sum",
                    "version": version or "1",
                    "cell": "rnn",
                    "features": columns,
                    "outputs": columns,
                }
                facts = {"state_bytes": 8, "metrics": {}, "streamable": True, "bit_equal": True}
                return httpx.Response(200, json=described | facts)
            case ["POST", "predict"]:
                outputs = [Sums("").run(sequence) for sequence in call["sequences"]]
                return httpx.Response(200, json={"model": "sum", "version": version or "1", "outputs": outputs})
            case ["POST", "sessions"]:
                past: dict[int, Any] | None = {} if "snapshots" in call else None
                return self.create(Sums(call["id"], past=past), call.get("history", []))
            case ["POST", "steps"]:
                return httpx.Response(
                    200, json={"items": [self.answer_item(item, call.get("open", False)) for item in call["items"]]}
                )
        raise ProblemError(404, "not_found")

    def create(self, session: Sums, history: list[Any]) -> httpx.Response:
        if session.id in self.sessions:
            raise ProblemError(409, "session_exists")
        session.run(history)
        self.sessions[session.id] = session
        return httpx.Response(201, json=session.described())

    def answer_item(self, item: dict[str, Any], open_unknown: bool) -> dict[str, Any]:
        created = item["session"] not in self.sessions
        try:
            if created and not open_unknown:
                raise ProblemError(404, "session_not_found")
            session = self.sessions.setdefault(item["session"], Sums(item["session"]))
            return {"session": session.id, "created": created} | session.advance(item)
        except ProblemError as error:
            return {"session": item["session"], "error": error.response.json()}

    def fork(self, source: Sums, asked: dict[str, Any]) -> httpx.Response:
        if "id" in asked:
            return self.create(Sums(asked["id"], source.step, source.total), [])
        if self.sessions.keys() & set(asked["ids"]):
            raise ProblemError(409, "session_exists")
        copies = [Sums(one, source.step, source.total) for one in asked["ids"]]
        self.sessions |= {copy.id: copy for copy in copies}
        return httpx.Response(201, json={"sessions": [copy.described() for copy in copies]})

    def answer_all(self, method: str, asked: dict[str, str]) -> httpx.Response:
        ids = [id for id in sorted(self.sessions) if id.startswith(asked.get("prefix", ""))]
        ids = ids if asked.get("model", "sum") == "sum" else []
        if method == "DELETE":
            for id in ids:
                del self.sessions[id]
            return httpx.Response(200, json={"deleted": len(ids)})
        limit, ids = int(asked["limit"]), [id for id in ids if id > asked.get("after", "")]
        listed = [self.sessions[id].described() | {"resident": True, "idle_seconds": 1.5} for id in ids[:limit]]
        return httpx.Response(200, json={"sessions": listed} | ({"next": ids[limit - 1]} if len(ids) > limit else {}))

    def answer_session(self, method: str, id: str, rest: list[str], request: httpx.Request) -> httpx.Response:
        match [method, *rest]:
            case ["GET"] | ["POST", "rewind"]:
                if rest:
                    self.sessions[id].rewind(body(request)["step"])
                return httpx.Response(200, json=self.sessions[id].described())
            case ["DELETE"]:
                del self.sessions[id]
                return httpx.Response(204)
            case ["POST", "steps" | "forecast" as call]:
                session = self.sessions[id]
                answer = session.advance(body(request)) if call == "steps" else session.forecast(**body(request))
                return httpx.Response(200, json=answer)
            case ["POST", "fork"]:
                return self.fork(self.sessions[id], body(request))
            case ["GET", "state"]:
                source = self.sessions[id]
                content = json.dumps([source.step, source.total.tolist()]).encode()
                return httpx.Response(200, content=content, headers={"Content-Type": "application/octet-stream"})
            case ["PUT", "state"]:
                created = id not in self.sessions
                step, total = json.loads(request.content)
                self.sessions[id] = Sums(id, step, np.asarray(total, np.float32))
                return httpx.Response(201 if created else 200, json=self.sessions[id].described())
        raise ProblemError(404, "not_found")


def body(request: httpx.Request) -> Any:
    return json.loads(request.content) if request.content else None
