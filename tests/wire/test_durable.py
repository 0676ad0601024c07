"""A service with the embedded store, seen from outside: restarts, models that are gone, two services, a full disk."""

import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx

from tests import graphs
from tests.wire.expect import done, refused
from tests.wire.server import CAROUSEL, Server, environment
from tests.wire.ws import dial

Launch = Callable[..., Server]


def _asked(http: httpx.Client, server: Server) -> httpx.Client:
    """The client, which asks that server from now on."""
    http.base_url = httpx.URL(server.url)
    return http


def _models(folder: Path) -> Path:
    graphs.running_sum(folder / "models/sum/1/model.onnx")
    graphs.write(folder / "models/lstm/1/model.onnx")
    return folder


def _step(http: httpx.Client, id: str, step: int, *values: float) -> httpx.Response:
    return http.post(f"/v1/sessions/{id}/steps", json={"inputs": [[value] for value in values], "step": step})


def test_the_default_store_lies_beside_the_models(launch: Launch, pool: httpx.Client, tmp_path: Path) -> None:
    http = pool
    server = launch(_models(tmp_path) / "models", store="embedded").wait_until_ready()
    _asked(http, server)
    done(http.post("/v1/models/sum/sessions", json={"id": "a"}), 201)
    told = done(_step(http, "a", 0, 1, 2))
    assert server.stop() == 0
    assert (tmp_path / "sessions/records/data.mdb").is_file()
    _asked(http, launch(tmp_path / "models", store="embedded").wait_until_ready())
    assert done(_step(http, "a", 0, 1, 2)) == told
    assert done(_step(http, "a", 2, 3))["outputs"] == [[6.0]]


def test_sessions_wait_for_their_own_file(launch: Launch, pool: httpx.Client, tmp_path: Path) -> None:
    http = pool
    first = launch(_models(tmp_path) / "models", store="embedded").wait_until_ready()
    _asked(http, first)
    for id in ("a", "b"):
        done(http.post("/v1/models/sum/sessions", json={"id": id}), 201)
        done(_step(http, id, 0, 1, 2))
    state = http.get("/v1/sessions/a/state").content
    first.kill()
    file, kept = tmp_path / "models/sum/1/model.onnx", tmp_path / "kept.onnx"
    shutil.copy(file, kept)

    shutil.rmtree(file.parents[1])
    absent = launch(tmp_path / "models", store="embedded").wait_until_ready()
    _asked(http, absent)
    refused(_step(http, "a", 2, 3), "version_not_found")
    assert done(http.get("/v1/sessions/a"))["step"] == 2
    absent.kill()

    graphs.running_sum(file, whole=False)
    other = launch(tmp_path / "models", store="embedded").wait_until_ready()
    _asked(http, other)
    refused(_step(http, "a", 2, 3), "state_mismatch")
    refused(http.get("/v1/sessions/a/state"), "state_mismatch")
    refused(http.put("/v1/sessions/a/state", content=state), "state_mismatch")
    refused(http.post("/v1/models/sum/sessions", json={"id": "a"}), "session_exists")
    assert done(http.get("/v1/sessions/a"))["step"] == 2
    assert http.delete("/v1/sessions/b").status_code == 204
    refused(http.get("/v1/sessions/b"), "session_not_found")
    assert other.stop() == 0

    shutil.copy(kept, file)
    _asked(http, launch(tmp_path / "models", store="embedded").wait_until_ready())
    assert done(_step(http, "a", 2, 3))["outputs"] == [[6.0]]
    refused(http.get("/v1/sessions/b"), "session_not_found")


def test_a_second_service_is_refused_and_a_successor_waits(launch: Launch, pool: httpx.Client, tmp_path: Path) -> None:
    http = pool
    first = launch(_models(tmp_path) / "models", store="embedded").wait_until_ready()
    command = [CAROUSEL, "serve", "--port", "0", "--models", str(tmp_path / "models")]
    second = subprocess.run(
        command, env=environment(store="embedded"), capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == 1
    assert "another service uses" in second.stderr + second.stdout
    assert "Traceback" not in second.stderr + second.stdout
    _asked(http, first)
    done(http.post("/v1/models/sum/sessions", json={"id": "a"}), 201)
    first.terminate()
    successor = launch(tmp_path / "models", store="embedded").wait_until_ready()
    assert first.process.wait(timeout=20) == 0
    assert done(httpx.get(f"{successor.url}/v1/sessions/a"))["step"] == 0


def test_a_full_disk_is_told_and_heals(launch: Launch, pool: httpx.Client, tmp_path: Path) -> None:
    http = pool
    server = launch(_models(tmp_path) / "models", store="embedded", store_replay_seconds=3600).wait_until_ready()
    _asked(http, server)
    done(http.post("/v1/models/sum/sessions", json={"id": "a"}), 201)
    told = done(_step(http, "a", 0, 1))
    size = max(path.stat().st_size for path in (tmp_path / "sessions").glob("*.journal"))
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 20, hard))
    answer = _step(http, "a", 1, 2)
    problem = refused(answer, "store_unavailable")
    assert answer.status_code == 503
    assert "cannot be written" in problem["detail"]
    assert done(http.get("/v1/sessions/a"))["step"] == 1
    assert done(_step(http, "a", 0, 1)) == told
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert done(_step(http, "a", 1, 2))["outputs"] == [[3.0]]


def test_a_service_that_writes_behind_says_so_on_both_doors(launch: Launch, pool: httpx.Client, tmp_path: Path) -> None:
    settings = {"store": "embedded", "store_write": "behind", "store_behind_ms": 250}
    server = launch(_models(tmp_path) / "models", **settings).wait_until_ready()
    http = _asked(pool, server)
    assert done(http.post("/v1/models/sum/sessions", json={"id": "a"}), 201)["behind_ms"] == 250
    with dial(server.stream_url) as stream:
        assert stream.open("sum", "a")["behind_ms"] == 250
    assert done(_step(http, "a", 0, 1, 2))["step"] == 2
    assert server.stop() == 0
    _asked(pool, launch(tmp_path / "models", store="embedded").wait_until_ready())
    assert done(_step(pool, "a", 2, 3))["outputs"] == [[6.0]]
    assert "behind_ms" not in done(http.get("/v1/sessions/a"))
