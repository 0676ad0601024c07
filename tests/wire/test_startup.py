"""How the server comes up, or refuses to."""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import graphs
from tests.service.models import hostile
from tests.wire.expect import done, refused
from tests.wire.poll import until
from tests.wire.server import CAROUSEL, Server, environment, free_port


def run(*arguments: object, **settings: object) -> tuple[int, str]:
    """Exit code and output of a `carousel serve` that does not come up."""
    command = [str(CAROUSEL), "serve", *map(str, arguments)]
    ended = subprocess.run(
        command, check=False, env=environment(**settings), capture_output=True, text=True, timeout=20
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_an_unknown_setting_refuses_to_start_and_is_named(models: Path) -> None:
    code, told = run("--models", models, max_sesions=5)
    assert code != 0
    assert "CAROUSEL_MAX_SESIONS" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "settings", [{"max_sessions": 0}, {"max_sessions": "many"}, {"default_ttl_seconds": -1}, {"log_level": "loud"}]
)
def test_a_setting_out_of_range_refuses_to_start_and_is_named(models: Path, settings: dict[str, object]) -> None:
    code, told = run("--models", models, **settings)
    assert code != 0
    assert next(iter(settings)) in told.lower()
    assert "Traceback" not in told


def test_a_default_ttl_over_the_maximum_refuses_to_start(models: Path) -> None:
    code, told = run("--models", models, default_ttl_seconds=100, max_ttl_seconds=10)
    assert code != 0
    assert "ttl" in told


def test_a_port_that_is_taken_refuses_to_start(models: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for settings in ({"port": port}, {"grpc_port": port, "port": 0}):
            code, told = run("--models", models, **settings)
            assert (code, "Traceback" in told) == (1, False)
            assert f"127.0.0.1:{port} cannot be listened on: [Errno 98] Address already in use" in told


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"host": "nowhere.invalid"}, "nowhere.invalid:8000 cannot be listened on"),
        ({"store": "embedded", "store_path": "/dev/null/x"}, "CAROUSEL_STORE_PATH"),
        ({"store": "embedded", "store_path": "/dev/null", "workers": 2}, "CAROUSEL_STORE_PATH"),
        ({"store": "redis", "store_url": "http://:hunter2@x"}, "CAROUSEL_STORE_URL"),
    ],
)
def test_what_cannot_be_used_is_told_by_one_line(models: Path, settings: dict[str, object], named: str) -> None:
    code, told = run("--models", models, **settings)
    assert (code, named in told, "Traceback" in told) == (1, True, False), told
    assert "hunter2" not in told


def test_it_is_live_but_not_ready_until_every_model_is_examined(launch: Callable[..., Server], tmp_path: Path) -> None:
    folder = tmp_path / "models"
    graphs.write(folder / "a/1/model.onnx", "lstm")
    for index in range(6):
        graphs.write(folder / f"slow-{index}/1/model.onnx", "lstm", hidden=256)
    server = launch(folder)
    until(lambda: server.answers() is not None, what="the first answer")
    with httpx.Client(base_url=server.url) as http:
        not_yet = http.get("/health/ready")
        assert (not_yet.status_code, not_yet.json()) == (503, {"ready": False, "reason": "models are loading"})
        states = {one["name"]: one["versions"][0]["state"] for one in done(http.get("/v1/models"))["models"]}
        assert states["slow-5"] == "loading"
        for path in ("/v1/models/slow-5?version=1", "/v1/models/slow-5"):
            answer = http.get(path)
            assert "loading" in refused(answer, "overloaded")["detail"]
            assert int(answer.headers["Retry-After"]) >= 1
        server.wait_until_ready()
        assert http.get("/health/ready").json() == {"ready": True}
        assert http.get("/v1/models/slow-5").status_code == 200
        assert server.metric("carousel_engine_alive", model="slow-5", version="1") == 1
    assert server.stop() == 0


@pytest.mark.parametrize("content", [None, b"", b"this is no ONNX file"])
def test_it_is_live_but_not_ready_when_no_model_is(
    launch: Callable[..., Server], tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "models/m/1").mkdir(parents=True)
    if content is not None:
        (tmp_path / "models/m/1/model.onnx").write_bytes(content)
    server = launch(tmp_path / "models")

    def told() -> object:
        answer = server.answers("/health/ready")
        return answer is not None and answer.json()["reason"]

    until(lambda: told() == "no model is ready", seconds=20)
    live = server.answers()
    assert live is not None
    assert live.status_code == 200
    assert server.stop() == 0


def test_folders_that_are_not_name_and_number_are_not_served_and_named(
    launch: Callable[..., Server], tmp_path: Path
) -> None:
    for folder in ("good/1", "bad name/1", ".git/1", "good/latest"):
        graphs.write(tmp_path / f"models/{folder}/model.onnx", "lstm")
    (tmp_path / "models/good/2").mkdir()
    (tmp_path / "models/flat.onnx").touch()
    server = launch(tmp_path / "models").wait_until_ready()
    answer = server.answers("/v1/models")
    assert answer is not None
    (model,) = answer.json()["models"]
    assert (model["name"], model["default_version"]) == ("good", "1")
    one, latest = model["versions"]
    assert one == {"version": "1", "state": "ready"}
    assert (latest["version"], latest["state"]) == ("latest", "unavailable")
    assert "decimal number" in latest["reason"]
    assert server.stop() == 0
    for name in ("bad name", ".git", "good/latest", "good/2", "flat.onnx"):
        assert any(name in line and "is not served" in line for line in server.log.splitlines())


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_models_folder_that_is_none_refuses_to_start(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    for code, told in (run("--models", tmp_path / folder), run(models=tmp_path / folder)):
        assert code != 0
        assert "is not a folder" in " ".join(told.replace("│", " ").split())
        assert "Traceback" not in told


def test_a_good_model_is_served_while_one_that_never_ends_is_examined(
    launch: Callable[..., Server], tmp_path: Path
) -> None:
    hostile.looping(tmp_path / "models/hangs/1/model.onnx")
    hostile.aborting(tmp_path / "models/aborts/1/model.onnx")
    graphs.write(tmp_path / "models/good/1/model.onnx", "lstm")
    server = launch(tmp_path / "models")

    def states() -> dict[str, str]:
        answer = server.answers("/v1/models")
        return {one["name"]: one["versions"][0]["state"] for one in answer.json()["models"]} if answer else {}

    expected = {"aborts": "unavailable", "good": "ready", "hangs": "loading"}
    until(lambda: states() == expected, seconds=60, what="the good model")
    assert server.stop() == 0, "the examination kept it from ending"


def test_every_log_line_is_json_with_a_request_id(launch: Callable[..., Server], models: Path) -> None:
    server = launch(models, log_level="debug").wait_until_ready()
    httpx.get(f"{server.url}/v1/models", headers={"X-Request-Id": "mine-3"})
    assert server.stop() == 0
    lines = [line for line in server.log.splitlines() if line.startswith("{")]
    assert any('"request_id":"mine-3"' in line and "GET /v1/models 200" in line for line in lines)
    assert len(server.log.splitlines()) <= len(lines) + 1, "one line for people, at the start"


def test_a_provider_that_is_not_there_refuses_the_start_unless_cpu_follows(
    launch: Callable[..., Server], tmp_path: Path
) -> None:
    graphs.write(tmp_path / "models/m/1/model.onnx", "lstm")
    alone = launch(tmp_path / "models", providers="openvino")
    assert alone.process.wait(timeout=30) == 1
    assert "openvino is not there; this ONNX Runtime has" in alone.log
    server = launch(tmp_path / "models", providers="openvino, cpu").wait_until_ready()
    assert httpx.get(f"{server.url}/v1/models/m").json()["provider"] == "cpu"
    assert server.stop() == 0


def test_a_start_without_the_packages_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "grpc.py").write_text("raise ImportError('none here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "models").mkdir()
    server = Server(tmp_path / "models", tmp_path / "log", grpc_port=free_port())
    assert server.process.wait(timeout=30) == 1
    assert "pip install 'carousel-serving[grpc]'" in server.log
