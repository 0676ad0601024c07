"""The servers that are measured, each a process on the servers' core, and what can be seen of it from outside."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types
from prometheus_client.parser import text_string_to_metric_families

from bench.generator import SERVER_CORE, NotRunError, pinned

_PATIENCE = 60.0
_CAROUSEL = Path(sys.executable).with_name("carousel")


class Server:
    """A process that listens on `port`."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process, self.port = process, port
        self.url = f"http://127.0.0.1:{port}"
        self._seen = psutil.Process(process.pid)

    def workers(self) -> list[psutil.Process]:
        """The processes that serve, of several workers."""
        found: list[psutil.Process] = self._seen.children()
        return found

    def memory(self) -> int:
        """Resident bytes, its child processes' too."""
        return sum(int(one.memory_info().rss) for one in (self._seen, *self._seen.children(recursive=True)))

    def anonymous(self) -> int:
        """Resident bytes that no file is behind, without its child processes."""
        seen = self._seen.memory_info()
        return int(seen.rss - seen.shared)

    def cpu(self) -> float:
        """CPU seconds so far, of all its threads."""
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    def open_files(self) -> int:
        """Open file descriptors."""
        return int(self._seen.num_fds())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric of Carousel over the labels that are not told."""
        text = httpx.get(f"{self.url}/metrics", timeout=30).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def carousel(models: Path, log: Path, **settings: object) -> AbstractContextManager[Server]:
    """`carousel serve`; keyword settings become CAROUSEL_* variables."""
    return other_carousel(_CAROUSEL, models, log, **settings)


def other_carousel(program: Path, models: Path, log: Path, **settings: object) -> AbstractContextManager[Server]:
    """The service of another installation."""
    return _started([program, "serve", "--models", models, "--port"], log, "/health/ready", **settings)


def watched_carousel(models: Path, log: Path) -> AbstractContextManager[Server]:
    """The service, which writes to its log on SIGUSR1 how many tasks it has."""
    return _started(
        [sys.executable, "-m", "bench.watched", "serve", "--models", models, "--port"], log, "/health/ready"
    )


def sixty_lines(model: Path, log: Path) -> AbstractContextManager[Server]:
    """The peer that serves one file."""
    return _started([sys.executable, "-m", "bench.sixty_lines", model], log)


def door_floor(door: str, model: Path, log: Path) -> AbstractContextManager[Server]:
    """The least code that answers steps right: `json` or `frames`."""
    return _started([sys.executable, "-m", "bench.door_floor", door, model], log)


def uvicorn_echo(answer: Path, log: Path) -> AbstractContextManager[Server]:
    """The floor of the edge."""
    return _started([sys.executable, "-m", "bench.echo", answer], log)


def own_echo(answer: Path, log: Path) -> AbstractContextManager[Server]:
    """The floor below our own connection of a stream."""
    return _started([sys.executable, "-m", "bench.own_echo", answer], log)


def c_echo(program: Path, answer: Path, log: Path) -> AbstractContextManager[Server]:
    """The ceiling of the generator."""
    return _started([program, answer], log)


@contextmanager
def _started(command: list[str | Path], log: Path, ready: str | None = None, **settings: object) -> Iterator[Server]:
    port = _free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CAROUSEL_")}
    environment = (
        kept
        | {"ORT_DISABLE_TELEMETRY": "1"}
        | {f"CAROUSEL_{name.upper()}": str(value) for name, value in settings.items()}
    )
    with log.open("wb") as to, pinned(SERVER_CORE):
        process = subprocess.Popen([*command, str(port)], env=environment, stdout=to, stderr=subprocess.STDOUT)
    try:
        _wait(process, port, ready, log)
        yield Server(process, port)
    finally:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int, ready: str | None, log: Path) -> None:
    """Return when it listens and, if `ready` is a path, answers it with 200."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotRunError(f"{process.args!r} ended with {process.returncode}: {log.read_text()[-300:]}")
        try:
            if ready is None:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            if httpx.get(f"http://127.0.0.1:{port}{ready}").status_code == 200:
                return
        except (OSError, httpx.TransportError):
            pass
        time.sleep(0.05)
    raise NotRunError(f"{process.args!r} is not ready within {_PATIENCE:g} s")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
