"""A real server process: `carousel serve` on a free port of this machine, watched from outside."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types
from prometheus_client.parser import text_string_to_metric_families

from tests.wire.poll import until

CAROUSEL = Path(sys.executable).with_name("carousel")


class Server:
    """`carousel serve` over a folder of models; keyword settings become CAROUSEL_* variables."""

    def __init__(self, models: Path, log: Path, **settings: object) -> None:
        self.port, self.models = free_port(), models
        self.url = f"http://127.0.0.1:{self.port}"
        self.stream_url = f"ws://127.0.0.1:{self.port}/v1/stream"
        self._log = log
        with log.open("wb") as to:
            self.process = subprocess.Popen(
                [CAROUSEL, "serve", "--port", str(self.port), "--models", models],
                env=environment(**settings),
                stdout=to,
                stderr=subprocess.STDOUT,
            )
        self._seen = psutil.Process(self.process.pid)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def errors(self) -> list[str]:
        """Its log lines of level ERROR, but for the version of `lstm` that cannot be read."""
        return [line for line in self.log.splitlines() if '"level":"ERROR"' in line and "lstm/11" not in line]

    def answers(self, path: str = "/health/live") -> httpx.Response | None:
        """What it answers now, or None while it does not."""
        try:
            return httpx.get(self.url + path, timeout=5)
        except httpx.TransportError:
            return None

    def wait_until_ready(self, seconds: float = 120) -> "Server":
        def ready() -> bool:
            assert self.process.poll() is None, f"the server has stopped:\n{self.log}"
            answer = self.answers("/health/ready")
            return answer is not None and answer.status_code == 200

        try:
            until(ready, seconds=seconds, what="readiness")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log}") from None
        return self

    def workers(self) -> list[psutil.Process]:
        """The processes that serve, of several workers, the oldest first."""
        return sorted(filter(lives, self._seen.children()), key=psutil.Process.create_time)

    def ways(self) -> list[httpx.Client]:
        """A client for each of several workers, whose connection is with that one until it rests for 5 s."""
        found: dict[int, httpx.Client] = {}

        def all_found() -> bool:
            client = httpx.Client(base_url=self.url, timeout=20)
            worker = self.worker_of(client.get("/health/live"))
            if worker is None or found.setdefault(worker, client) is not client:
                client.close()
            return all(worker.pid in found for worker in self.workers())

        until(all_found, seconds=30, what="a connection with each worker")
        return [found[worker.pid] for worker in self.workers()]

    def worker_of(self, answer: httpx.Response) -> int | None:
        """The process, of several workers, that has just answered; None: its connection is not there any more."""
        port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
        for worker in self.workers():
            if any(one.raddr and one.raddr.port == port for one in worker.net_connections()):
                return worker.pid
        return None

    def memory(self) -> int:
        """Resident bytes."""
        return int(self._seen.memory_info().rss)

    def open_files(self) -> int:
        return int(self._seen.num_fds())

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """(name, labels) → value."""
        text = httpx.get(self.url + "/metrics", timeout=5).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics().get((name, frozenset(labels.items())), 0.0)

    def terminate(self, by: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(by)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """A signal, and the exit code; killed, and a failure, if it does not go."""
        self.terminate(by)
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop:\n{self.log}") from None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def lives(process: psutil.Process) -> bool:
    """Whether a process has not ended. Its parent's list of children has it until the parent has seen its end."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def environment(**settings: object) -> dict[str, str]:
    """This process's environment without its CAROUSEL_* variables, and with these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CAROUSEL_")}
    kept["CAROUSEL_LAME_DUCK_SECONDS"] = "0"  # a test of it asks for more
    return kept | {f"CAROUSEL_{name.upper()}": str(value) for name, value in settings.items()}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
