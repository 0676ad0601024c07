"""A million sessions in the embedded store, killed: how soon they are served again, from how much memory, how late."""

import random
import time
from http.client import HTTPConnection

import orjson

from bench.generator import NotRunError
from bench.models import SIZES
from bench.report import Bound, Line, spread
from bench.servers import Server
from bench.workshop import Workshop

_SESSIONS, _AT_ONCE = 1_000_000, 10_000
_STEPPED = 10_000  # sessions, each once
_PATIENCE = 180.0
_BUDGET = 200  # MiB of sessions in memory
_SAYS = "1 000 000 sessions of S in the embedded store, 10 000 stepped, kill -9, start"
_SAYS_ALL = "1 000 000 sessions of S, all of them in the journal yet, kill -9, start"


def million(shop: Workshop) -> list[Line]:
    """Once: one session is forked into a million, which takes less long than to open them."""
    settings = _settings(shop, "million")
    chosen = random.Random(0).sample(range(_SESSIONS), 2 * _STEPPED)
    with shop.carousel("S", **settings) as server:
        forking = _fill(server, shop)
        _until_spilled(server)
        _step(server, chosen[:_STEPPED], step=1)
        server.process.kill()
    begin = time.perf_counter()
    with shop.carousel("S", **settings) as server:
        ready = time.perf_counter() - begin
        begun = server.anonymous() / 2**20
        again = sorted(_step(server, chosen[:_STEPPED], step=2))
        cold = sorted(_step(server, chosen[_STEPPED:], step=1))
        then = server.anonymous() / 2**20
    late = cold[int(0.99 * len(cold))]
    return [
        Line(_SAYS, "a fork of one into 10 000", f"{spread(forking)} s", tuple(forking), Bound(1, at_most=True)),
        Line(_SAYS, "until it is ready", f"{ready:.1f} s", (ready,), Bound(10, at_most=True)),
        Line(_SAYS, "anonymous memory then, and after 20 000 steps", f"{begun:.0f} and {then:.0f} MiB"),
        Line(_SAYS, "a step of what the journal had: p99", f"{again[int(0.99 * len(again))]:.2f} ms"),
        Line(_SAYS, "the first step of a cold session: p50", f"{cold[len(cold) // 2]:.2f} ms"),
        Line(_SAYS, "its p99, ms", f"{late:.2f} ms", (late,), Bound(5, at_most=True)),
        *_all_behind(shop),
    ]


def _all_behind(shop: Workshop) -> list[Line]:
    """The journal has all, as if they had been forked within the seconds that it may be replayed."""
    settings = _settings(shop, "behind")
    with shop.carousel("S", **settings | {"store_replay_seconds": 3000, "resident_bytes": 2**36}) as server:
        _fill(server, shop)
        server.process.kill()
    begin = time.perf_counter()
    with shop.carousel("S", **settings) as server:
        ready, begun = time.perf_counter() - begin, server.anonymous() / 2**20
        _until_spilled(server)
        time.sleep(1.0)  # their memory is given back when all have left
        then = server.anonymous() / 2**20
    return [
        Line(_SAYS_ALL, "until it is ready", f"{ready:.1f} s", (ready,), Bound(10, at_most=True)),
        Line(_SAYS_ALL, "anonymous memory then, and when they have left it", f"{begun:.0f} and {then:.0f} MiB"),
    ]


def _settings(shop: Workshop, name: str) -> dict[str, object]:
    how = {"store": "embedded", "store_path": shop.folder / "stores" / name, "resident_bytes": _BUDGET * 2**20}
    return how | {"max_sessions": 2 * _SESSIONS, "max_session_bytes": 2**34}


def _fill(server: Server, shop: Workshop) -> list[float]:
    """Seconds of each fork."""
    calls, took = _Calls(server), []
    calls.post("/v1/models/S/sessions", {"id": "one"}, 201)
    calls.post("/v1/sessions/one/steps", {"inputs": _inputs()}, 200)
    for first in range(0, _SESSIONS, _AT_ONCE):
        shop.say(f"{first} of {_SESSIONS} sessions")
        ids = {"ids": [_id(number) for number in range(first, first + _AT_ONCE)]}
        took.append(calls.post("/v1/sessions/one/fork", ids, 201))
    return took


def _until_spilled(server: Server) -> None:
    """Return when most sessions have left memory: it is about what was stepped then, not about the forks."""
    deadline = time.monotonic() + _PATIENCE
    while server.metric("carousel_sessions", state="spilled") < 0.8 * _SESSIONS:
        if time.monotonic() > deadline:
            raise NotRunError(f"{_SESSIONS} sessions are not in the records after {_PATIENCE:g} s")
        time.sleep(0.5)


def _step(server: Server, numbers: list[int], *, step: int) -> list[float]:
    """Milliseconds of a step of each session, one after the other."""
    calls, asked = _Calls(server), {"inputs": _inputs(), "step": step}
    return [1000 * calls.post(f"/v1/sessions/{_id(number)}/steps", asked, 200) for number in numbers]


class _Calls:
    """Calls over one connection, by a client that takes little time itself."""

    def __init__(self, server: Server) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=60)

    def post(self, path: str, content: object, status: int) -> float:
        """Seconds until the answer."""
        body = orjson.dumps(content)
        begin = time.perf_counter()
        self._connection.request("POST", path, body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        told = answer.read()
        took = time.perf_counter() - begin
        if answer.status != status:
            raise NotRunError(f"{path}: {told[:200].decode()}")
        return took


def _id(number: int) -> str:
    return f"session-{number}"


def _inputs() -> list[list[float]]:
    return [[0.5] * SIZES["S"].inputs]
