"""20 000 requests and frames that are almost right: refused in the words of WIRE, and no other client notices.

`--mutants` asks for more.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests import graphs
from tests.wire.attack import ROUTES, World
from tests.wire.campaign import CHANNELS, FRAMES, LIMIT, campaign
from tests.wire.expect import STATUS, done
from tests.wire.server import Server
from tests.wire.tally import UNPROVOKED

SEED = 2026
LEAST = 5 / 6  # of the mutants of each route, and of each code, are answered so
ROOM = 8_000  # sessions besides those of the channels
FLAT = 16 * 2**20  # bytes the server may grow after its warm-up: sessions, kept answers, arenas of the allocator


class Canaries:
    """Sessions that the fuzzer does not know."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._ids = [secrets.token_urlsafe(12) for _ in range(12)]
        rng = np.random.default_rng(SEED)
        for index, id in enumerate(self._ids):
            model = ("lstm", "gru", "feedforward", "log")[index % 4]
            history = np.abs(rng.normal(1, 0.2, (1 + 7 * index, 3))).tolist()
            done(http.post(f"/v1/models/{model}/sessions", json={"id": id, "history": history}), 201)
        self._before = [self._look(id) for id in self._ids]

    def _look(self, id: str) -> tuple[Any, bytes]:
        session = done(self._http.get(f"/v1/sessions/{id}"))
        return session | {"expires_at": None}, self._http.get(f"/v1/sessions/{id}/state").content

    def assert_unharmed(self) -> None:
        assert [self._look(id) for id in self._ids] == self._before


@pytest.fixture
def fuzzed(launch: Callable[..., Server], tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "models"
    for cell in ("lstm", "gru", "feedforward", "bidirectional"):
        graphs.write(folder / f"{cell}/1/model.onnx", cell)
    graphs.write(folder / "log/1/model.onnx", "lstm", outputs=1, seed=20, head="log")
    server = launch(folder, max_body_bytes=LIMIT, max_sessions=CHANNELS + ROOM)
    yield server.wait_until_ready()
    assert server.stop() == 0, server.log
    errors = [line for line in server.log.splitlines() if '"level":"ERROR"' in line]
    assert not [line for line in errors if "Invalid UTF-8" not in line], (
        "that one is uvicorn's, of a frame that is none"
    )


@pytest.fixture
def http(fuzzed: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fuzzed.url, timeout=20) as client:
        yield client


def prepared(http: httpx.Client) -> World:
    """The sessions that the fuzzer does know."""
    world = World()
    for id in world.victims + world.anchors:
        done(http.post("/v1/models/lstm/sessions", json={"id": id}), 201)
    done(http.post("/v1/models/gru/sessions", json={"id": "other"}), 201)
    world.blobs = [http.get(f"/v1/sessions/{id}/state").content for id in (world.anchors[0], "other")]
    return world


@pytest.mark.timeout(1200)
def test_20_000_malformed_requests_and_frames_harm_nobody(
    fuzzed: Server, http: httpx.Client, pytestconfig: pytest.Config
) -> None:
    canaries, each = Canaries(http), pytestconfig.getoption("mutants")
    tally, before, after = asyncio.run(campaign(fuzzed, prepared(http), SEED, each))
    canaries.assert_unharmed()
    total = tally.routes.total()
    print(f"{total} requests and frames; resident {before >> 20} MiB, then {(after - before) / 2**20:+.1f}")  # noqa: T201
    print(tally.report())  # noqa: T201
    assert not {route: count for route in [*ROUTES, *FRAMES] if (count := tally.routes[route]) < LEAST * each}
    assert not {code: count for code in STATUS.keys() - UNPROVOKED if (count := tally.codes[code]) < LEAST * each}
    assert total >= 33 * each
    assert after - before < FLAT
