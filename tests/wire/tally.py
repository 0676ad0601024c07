"""What the fuzzer sent and what was answered; an answer that WIRE does not allow fails here."""

from collections import Counter

import orjson

from tests.wire.expect import STATUS, problem
from tests.wire.line import Answer
from tests.wire.mutate import Request

UNPROVOKED = {
    "shutting_down": "the server is not draining; tests/wire/test_shutdown.py",
    "engine_failed": "no request kills an engine, as the fuzzer shows; tests/service/",
    "internal": "a defect of ours; the fuzzer shows that it meets none",
    "too_slow": "every request is sent at once; tests/service/api/test_guard.py",
    "store_unavailable": "the store is memory; tests/service/engine/",
    "commit_unknown": "so it is; tests/service/engine/",
}


class Tally:
    """What was sent and what was answered."""

    def __init__(self) -> None:
        self.routes: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def note(self, route: str, code: str) -> None:
        self.routes[route] += 1
        self.codes[code] += 1

    def answer(self, request: Request, answer: Answer) -> None:
        """One HTTP answer; anything that WIRE does not allow fails here."""
        told = request.encode()[:300], answer
        assert answer.headers.get("x-request-id") or _handshake(request), told
        if answer.status < 300:
            self.note(request.route, "ok")
            if request.route == "many" and answer.body:
                errors = [item["error"] for item in orjson.loads(answer.body)["items"] if "error" in item]
                self.codes.update(str(problem(error, error["code"])["code"]) for error in errors)
        elif request.verb == "HEAD":
            assert answer.status in {STATUS[code] for code in STATUS if code not in UNPROVOKED}, told
            self.note(request.route, f"HEAD {answer.status}")
        elif answer.status in (400, 405, 426) and _handshake(request):
            self.note(request.route, "no handshake")
        else:
            assert answer.headers["content-type"] == "application/problem+json", told
            problem_told = orjson.loads(answer.body)
            assert problem_told["code"] not in UNPROVOKED, told
            assert problem(problem_told, problem_told["code"])["status"] == answer.status, told
            self.note(request.route, problem_told["code"])

    def frame(self, route: str, payload: bytes) -> None:
        """One text answer of a stream."""
        told = orjson.loads(payload)
        if "error" not in told:
            assert told.keys() & {"opened", "closed", "outputs"}
            self.note(route, "ok")
            return
        code = told["error"]["code"]
        assert code not in UNPROVOKED, told
        problem(told["error"], code)
        self.note(route, code)

    def report(self) -> str:
        """How many by route and by code."""
        counted = [*sorted(self.routes.items()), *sorted(self.codes.items())]
        return "\n".join(f"{count:6} {name}" for name, count in counted)


def _handshake(request: Request) -> bool:
    """Below ASGI: the WebSocket library refuses in words of its own."""
    return any(line.startswith("Upgrade: websocket") for line in request.headers)
