"""A real `carousel serve` process for as long as a `with` block lasts."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carousel_client import CarouselError, Client

_START_SECONDS, _STOP_SECONDS = 60.0, 30.0


@contextmanager
def server(models: Path, log: Path) -> Iterator[str]:
    """Serve the models on a free port of this machine; yield the URL when it is ready, stop it afterwards.

    Raises:
        RuntimeError: it did not become ready, or did not stop cleanly; its log is at `log`.

    """
    port = _free_port()
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--models", str(models)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        yield url
        process.terminate()
        if process.wait(_STOP_SECONDS) != 0:
            raise RuntimeError(f"the server ended with {process.returncode}; see {log}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    with Client(url, retries=0) as client:
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with {process.returncode}; see {log}")
            try:
                if client.ready():
                    return
            except CarouselError:
                pass  # it does not listen yet
            time.sleep(0.1)
    raise RuntimeError(f"the server was not ready within {_START_SECONDS:g} s; see {log}")
