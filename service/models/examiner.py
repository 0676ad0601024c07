"""Examine model files in a child process, so that no file can stop, fill or crash the service.

The child reads a file, finds out how it is run, tests it and measures it, under bounds of CPU time, time and memory. It
hands over the figures, and in files without a name the very bytes that it examined, from which the service loads the
model, and the signature by which it is run.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

from service.errors import ModelUnusable
from service.models import files
from service.models.fitness import Fitness
from service.models.model import OnnxModel, available
from service.models.prepare import load
from service.models.providers import CPU, ONE_THREAD, Options, Provider, Threads, on_cpu, providers_of
from service.models.signature import restored
from service.models.speed import Policy

# CPU time of an examination: 3 s, and 1 s more for each 5 MB. LSTMs of 0.4, 4 and 55 MB took 0.1, 0.3 and 1.1 s.
_SECONDS, _BYTES_A_SECOND = 3, 5_000_000
TIMES_OTHERS = 20  # as much for providers that compile the graph
_TIMES_CPU = 10  # seconds of an examination, for each second of CPU time
_MEMORY, _TIMES_BYTES = 2**30, 6  # address space: 1 GiB, and 6 times the files; one of 286 MB took 3, and 5 if changed
_LONGEST_RUN = 10.0  # seconds, where values decide
IDLE, LOW = "idle", "low"  # priorities of a child beside calls: it gets what they leave, or a part of a core
_ASIDE_TIMES = 20  # as much by the clock with a low one
_REST_SECONDS = 60.0  # without a file, after which the child ends: its start takes 0.2 s, a small file 0.01
LONGER = b"+"  # before the answer: it will take as long as by another provider
MOST_MESSAGE = 2**15  # bytes; so small that it is received in one piece

_log = logging.getLogger("carousel.models")


class _ClockError(TimeoutError):
    """The time by the clock is over; that of the CPU is not."""


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    connection: socket.socket
    idle: bool  # it runs only when no other process wants a core


class Examiner:
    """One child process at a time; it is started when it is needed, and replaced if it ends.

    `aside` leaves the cores to the calls that are served meanwhile: its child runs when no other process wants one.
    Where that takes too long, another child does it again, and competes a little.
    """

    def __init__(
        self,
        *,
        batch: int | None = None,
        chunk: int | None = None,
        aside: bool = False,
        providers: Sequence[Provider] = CPU,
        options: Options | None = None,
        threads: Threads = ONE_THREAD,
    ) -> None:
        self._how = {"batch": batch, "chunk": chunk, "providers": providers, "options": options, "threads": threads}
        self._providers, self._options, self._aside = providers, options, aside
        self._child: _Child | None = None
        self._asking = threading.Lock()
        self._asked = 0.0  # when it was asked last

    def load(self, path: Path, share: float = 1.0) -> tuple[OnnxModel, Fitness]:
        """Examine a file in the child, then load what was examined. Blocks.

        Raises:
            ModelUnusable: with the reason.
            TimeoutError: the examination took more than `share` of the time that a file may take.

        """
        size = files.size(path)
        bounds = {
            "seconds": share * (_SECONDS + size / _BYTES_A_SECOND),
            "memory": _MEMORY + _TIMES_BYTES * size,
        }
        with _nameless() as file, _nameless() as signature:
            told = self._ask({"path": str(path), **bounds, **self._how}, file, signature)
            if "reason" in told:
                raise ModelUnusable(told["reason"])
            fed = restored(json.load(signature)) if told["adapted"] else None
            own = told["providers"]
            fitness = Fitness(**told["fitness"] | {"policy": Policy(**told["fitness"]["policy"])})
            providers = providers_of(own, available(), self._options) if own else self._providers
            if fitness.threads > 1:
                providers = on_cpu(fitness.threads)
            model = load(Path(f"/dev/fd/{file.fileno()}"), told["digest"], fed, providers)
        if model.signature is not None:
            _log.info("%s is read as %s", path, model.signature)
        if fitness.in_thread:
            model.bound(_LONGEST_RUN)
        return model, fitness

    def close(self) -> None:
        """End the child. A call that waits for it ends with ModelUnusable."""
        while not self._asking.acquire(timeout=0.01):  # a call waits, or has yet to start its child
            if (running := self._child) is not None:
                running.process.kill()
        self._end()
        self._asking.release()

    def rest(self, seconds: float = _REST_SECONDS) -> None:
        """End a child that has had nothing to do for so long."""
        if self._child is not None and time.monotonic() - self._asked >= seconds and self._asking.acquire(False):
            self._end()
            self._asking.release()

    def _ask(self, question: dict[str, Any], *files: IO[bytes]) -> dict[str, Any]:
        with self._asking:
            if self._child is not None and self._child.process.poll() is not None:
                self._end()  # while it had nothing to do
            child = self._child = self._child or _start(IDLE if self._aside else None)
            if child.idle:
                try:
                    return self._hear(child, question, files, 1)
                except _ClockError:
                    _log.info("no core is free to examine %s: it competes for one", question["path"])
                for one in files:
                    one.truncate(0)
                    one.seek(0)
                child = self._child = _start(LOW)
            return self._hear(child, question, files, _TIMES_CPU * (_ASIDE_TIMES if self._aside else 1))

    def _hear(
        self, child: _Child, question: dict[str, Any], files: Sequence[IO[bytes]], times: float
    ) -> dict[str, Any]:
        """Ask a child, which has so many times its CPU time by the clock."""
        seconds, connection = question["seconds"], child.connection
        connection.settimeout(times * seconds)
        try:
            socket.send_fds(connection, [json.dumps(question).encode()], [one.fileno() for one in files])
            answer = connection.recv(MOST_MESSAGE)
            if answer.startswith(LONGER):
                seconds *= TIMES_OTHERS
                connection.settimeout(times * seconds)
                answer = answer.removeprefix(LONGER) or connection.recv(MOST_MESSAGE)
            if answer:
                return dict(json.loads(answer))
        except TimeoutError:
            self._end()
            raise _ClockError(_late(seconds)) from None
        except ConnectionError:
            pass
        finally:
            self._asked = time.monotonic()
        status = self._end()
        if status == -signal.SIGPROF:
            raise TimeoutError(_late(seconds))
        ended = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise ModelUnusable(f"the file ended the process that examined it ({ended})")

    def _end(self) -> int:
        """End the child → its exit status."""
        if self._child is None:
            return 0
        child, self._child = self._child, None
        child.process.kill()  # changes nothing if it ends by another signal already
        child.connection.close()
        return child.process.wait()


def _late(seconds: float) -> str:
    return f"the examination takes more than {seconds:.1f} s"


def _start(priority: str | None) -> _Child:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.models.examination", *filter(None, [priority])],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
        )
    return _Child(child, ours, idle=priority == IDLE)


def _nameless() -> IO[bytes]:
    """A file without a name: in memory where the system has such files."""
    return os.fdopen(os.memfd_create("model"), "w+b") if sys.platform == "linux" else TemporaryFile()
