"""Snapshots and rewinds, over both doors and after a restart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.wire.expect import bits, done, problem, refused
from tests.wire.oracle import Oracle
from tests.wire.server import Server
from tests.wire.ws import Socket


def opened(http: httpx.Client, id: str, every: int = 2, keep: int = 3, **more: Any) -> Any:
    asked = {"id": id, "snapshots": {"every": every, "keep": keep}}
    return done(http.post("/v1/models/lstm/sessions", json=asked | more), 201)


def step(http: httpx.Client, id: str, inputs: Any, at: int) -> Any:
    return done(http.post(f"/v1/sessions/{id}/steps", json={"inputs": inputs.tolist(), "step": at}))


def test_a_session_goes_on_from_a_kept_snapshot_bit_for_bit(
    http: httpx.Client, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    inputs = oracle.inputs(rng, 8)
    assert opened(http, name, history=inputs[:3].tolist())["snapshots"] == [3]
    for at in range(3, 8):
        step(http, name, inputs[at : at + 1], at)
    assert done(http.get(f"/v1/sessions/{name}"))["snapshots"] == [4, 6, 8]
    told = done(http.post(f"/v1/sessions/{name}/rewind", json={"step": 4}))
    assert (told["id"], told["step"], told["snapshots"]) == (name, 4, [4])
    assert bits(step(http, name, inputs[4:8], 4)["outputs"]) == bits(oracle.whole(inputs)[4:8])
    for missing in (6, 2**63, 2**64 - 1):
        conflict = refused(http.post(f"/v1/sessions/{name}/rewind", json={"step": missing}), "step_conflict")
        assert (conflict["snapshots"], conflict["expected_step"]) == ([4, 8], 8)


def test_the_stream_rewinds_between_steps(
    stream: Socket, http: httpx.Client, name: str, oracle: Oracle, rng: np.random.Generator
) -> None:
    inputs = oracle.inputs(rng, 5)
    channel = stream.open("lstm", name, snapshots={"every": 2, "keep": 1})["channel"]
    frames: list[dict[str, Any]] = [
        {"id": 1, "channel": channel, "inputs": inputs[:2].tolist(), "step": 0},
        {"id": 2, "channel": channel, "inputs": inputs[2:3].tolist(), "step": 2},
        {"id": 3, "channel": channel, "rewind": {"step": 2}},
        {"id": 4, "channel": channel, "inputs": inputs[2:5].tolist(), "step": 2},
        {"id": 5, "channel": channel, "rewind": {"step": 3}},
        {"id": 6, "channel": channel, "rewind": {"step": 2**63}},
    ]
    for frame in frames:
        stream.tell(frame)
    told = {one["id"]: one for one in (stream.hear() for _ in frames)}
    rewound = told[3].pop("rewound")
    assert told[3] == {"id": 3, "channel": channel}
    assert rewound | {"expires_at": ""} == {
        **{"id": name, "model": "lstm", "version": "10", "step": 2, "ttl_seconds": 3600, "expires_at": ""},
        **{"replay": 4, "snapshots": [2]},
    }
    assert bits(told[4]["outputs"]) == bits(oracle.whole(inputs)[2:5])
    for id in (5, 6):
        assert told[id].keys() == {"id", "channel", "error"}
        assert problem(told[id]["error"], "step_conflict")["snapshots"] == [5]
    assert done(http.get(f"/v1/sessions/{name}"))["step"] == 5


@pytest.mark.parametrize(
    "asked",
    [
        *({}, {"every": 1}, {"keep": 1}, {"every": 0, "keep": 1}, {"every": 1, "keep": 0}, {"every": 1, "keep": 257}),
        *({"every": 1.5, "keep": 1}, {"every": 1, "keep": 1, "more": 1}, {"every": 2**60, "keep": 1}, [], None, 7),
    ],
)
def test_a_rule_that_is_none_is_refused(http: httpx.Client, stream: Socket, name: str, asked: Any) -> None:
    refused(http.post("/v1/models/lstm/sessions", json={"id": name, "snapshots": asked}), "invalid_request")
    told = stream.ask({"id": 1, "open": {"model": "lstm", "session": name, "snapshots": asked}})
    problem(told["error"], "invalid_request")
    refused(http.get(f"/v1/sessions/{name}"), "session_not_found")


@pytest.mark.parametrize("asked", [{}, {"step": -1}, {"step": "2"}, {"step": 1.0}, {"step": 2, "more": 1}])
def test_a_rewind_that_names_no_step_is_refused(http: httpx.Client, name: str, asked: Any) -> None:
    opened(http, name)
    refused(http.post(f"/v1/sessions/{name}/rewind", json=asked), "invalid_request")


def test_snapshots_survive_a_restart(
    launch: Callable[..., Server], pool: httpx.Client, models: Path, tmp_path: Path, oracle: Oracle
) -> None:
    inputs = oracle.inputs(np.random.default_rng(5), 9)
    settings = {"store": "embedded", "store_path": tmp_path / "store"}
    server = launch(models, **settings).wait_until_ready()
    pool.base_url = httpx.URL(server.url)
    opened(pool, "s")
    for at in range(7):
        step(pool, "s", inputs[at : at + 1], at)
    done(pool.post("/v1/sessions/s/rewind", json={"step": 4}))
    step(pool, "s", inputs[4:7], 4)
    server.kill()
    pool.base_url = httpx.URL(launch(models, **settings).wait_until_ready().url)
    assert done(pool.get("/v1/sessions/s"))["snapshots"] == [2, 4, 7]
    done(pool.post("/v1/sessions/s/rewind", json={"step": 2}))
    assert bits(step(pool, "s", inputs[2:9], 2)["outputs"]) == bits(oracle.whole(inputs)[2:9])
