"""One server for most tests of the wire, and the means to start others."""

import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests import graphs
from tests.wire.oracle import Oracle
from tests.wire.server import Server
from tests.wire.ws import Socket, dial

SHIPPED = Path(__file__).parents[2] / "models/metro-traffic"
NOT_FINITE = [-9, -9, -9]
METADATA = {
    "cell": "lstm",
    "features": [{"name": "flow", "unit": "m³/h"}, {"name": "hour"}, {"name": "day"}],
    "outputs": [{"name": "level", "unit": "m"}, {"name": "trend"}],
    "metrics": {"mse": 0.25},
    "memory_horizon": 48,
}


@pytest.fixture(scope="session", autouse=True)
def _hang_ups() -> Iterator[None]:
    """Let servers hear SIGHUP where nohup runs the tests: what is ignored is inherited, what is handled is not."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, and one of each kind; `lstm` in versions 1, 2 and 10, and an 11 that cannot be read."""
    folder = tmp_path_factory.mktemp("models")
    for seed, version in enumerate((1, 2, 10)):
        graphs.write(folder / f"lstm/{version}/model.onnx", "lstm", seed=seed)
    broken = folder / "lstm/11/model.onnx"
    broken.parent.mkdir()
    broken.write_bytes(b"this is no ONNX file")
    graphs.write(folder / "gru/1/model.onnx", "gru", outputs=1, seed=3)
    for cell in ("rnn", "feedforward", "bidirectional"):
        graphs.write(folder / f"{cell}/1/model.onnx", cell, seed=4)
    graphs.write(folder / "named/1/model.onnx", "lstm", seed=5, metadata=METADATA)
    graphs.running_sum(folder / "sum/1/model.onnx")
    # its output is NaN after NOT_FINITE
    graphs.write(folder / "log/1/model.onnx", "lstm", outputs=1, seed=20, head="log")
    shutil.copytree(SHIPPED, folder / "metro-traffic")
    return folder


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with every setting as it comes. No test may leave an error of ours in its log."""
    server = Server(models, tmp_path_factory.mktemp("server") / "log").wait_until_ready()
    yield server
    assert server.stop() == 0, server.log
    assert not server.errors(), "\n".join(server.errors())


@pytest.fixture
def launch(models: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server of one's own, with settings; it is killed afterwards if it still runs."""
    started: list[Server] = []

    def start(folder: Path = models, **settings: object) -> Server:
        server = Server(folder, tmp_path / f"log-{len(started)}", **settings)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="session")
def pool() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20) as client:
        yield client


@pytest.fixture
def http(server: Server, pool: httpx.Client) -> httpx.Client:
    """A client of the server."""
    pool.base_url = httpx.URL(server.url)
    return pool


@pytest.fixture
def stream(server: Server) -> Iterator[Socket]:
    """A socket of the server."""
    with dial(server.stream_url) as socket:
        yield socket


@pytest.fixture
def name() -> str:
    """A session id that is new."""
    return f"s-{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def oracle(models: Path) -> Oracle:
    """Of the default version of `lstm`."""
    return Oracle(models / "lstm/10/model.onnx")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
