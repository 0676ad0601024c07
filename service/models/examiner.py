"""Examine model files in a child process, so that no file can stop, fill or crash the service.

The child reads a file, finds out how it is run, tests it and measures it, under bounds of CPU time, time and memory. It
hands over the figures, and in files without a name the very bytes that it examined, from which the service loads the
model, and the signature by which it is run.
"""

import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from service.errors import ModelUnusable
from service.models import files
from service.models.declared import parse
from service.models.fitness import Fitness
from service.models.model import OnnxModel, available
from service.models.prepare import elsewhere, load, prepared
from service.models.providers import CPU, Options, Provider, providers_of
from service.models.signature import restored
from service.models.speed import Policy, measured

# CPU time of an examination: 3 s, and 1 s more for each 5 MB. LSTMs of 0.4, 4 and 55 MB took 0.1, 0.3 and 1.1 s.
_SECONDS, _BYTES_A_SECOND = 3, 5_000_000
_IMPORT = 0.7  # more for the first file that has to be changed: it loads the package onnx
_TIMES_OTHERS = 20  # as much for providers that compile the graph
_TIMES_CPU = 10  # seconds of an examination, for each second of CPU time
_MEMORY, _TIMES_BYTES = 2**30, 6  # address space: 1 GiB, and 6 times the files; one of 286 MB took 3, and 5 if changed
_LONGEST_RUN = 10.0  # seconds, where values decide
_ASIDE_TIMES = 20  # as much by the clock beside calls: it gets what they leave
_REST_SECONDS = 60.0  # without a file, after which the child ends: its start takes 0.2 s, a small file 0.01
_MOST_REASON = 500  # characters
_LONGER = b"+"  # before the answer: it will take as long as by another provider
_MOST_MESSAGE = 2**15  # bytes; so small that it is received in one piece

_log = logging.getLogger("carousel.models")


class Examiner:
    """One child process at a time; it is started when it is needed, and replaced if it ends.

    `aside` runs only when no other process wants the core: others are served meanwhile.
    """

    def __init__(
        self,
        *,
        batch: int | None = None,
        chunk: int | None = None,
        aside: bool = False,
        providers: Sequence[Provider] = CPU,
        options: Options | None = None,
    ) -> None:
        self._how = {"batch": batch, "chunk": chunk, "providers": providers, "options": options}
        self._providers, self._options, self._aside = providers, options, aside
        self._child: tuple[subprocess.Popen[bytes], socket.socket] | None = None
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
            providers = providers_of(own, available(), self._options) if own else self._providers
            model = load(Path(f"/dev/fd/{file.fileno()}"), told["digest"], fed, providers)
        fitness = Fitness(**told["fitness"] | {"policy": Policy(**told["fitness"]["policy"])})
        if model.signature is not None:
            _log.info("%s is read as %s", path, model.signature)
        if fitness.in_thread:
            model.bound(_LONGEST_RUN)
        return model, fitness

    def close(self) -> None:
        """End the child. A call that waits for it ends with ModelUnusable."""
        while not self._asking.acquire(timeout=0.01):  # a call waits, or has yet to start its child
            if (running := self._child) is not None:
                running[0].kill()
        self._end()
        self._asking.release()

    def rest(self, seconds: float = _REST_SECONDS) -> None:
        """End a child that has had nothing to do for so long."""
        if self._child is not None and time.monotonic() - self._asked >= seconds and self._asking.acquire(False):
            self._end()
            self._asking.release()

    def _ask(self, question: dict[str, Any], *files: IO[bytes]) -> dict[str, Any]:
        seconds = question["seconds"]
        with self._asking:
            if self._child is not None and self._child[0].poll() is not None:
                self._end()  # while it had nothing to do
            _, connection = self._child = self._child or _start(aside=self._aside)
            patience = _TIMES_CPU * (_ASIDE_TIMES if self._aside else 1)
            connection.settimeout(patience * seconds)
            try:
                socket.send_fds(connection, [json.dumps(question).encode()], [one.fileno() for one in files])
                answer = connection.recv(_MOST_MESSAGE)
                if answer.startswith(_LONGER):
                    seconds *= _TIMES_OTHERS
                    connection.settimeout(patience * seconds)
                    answer = answer.removeprefix(_LONGER) or connection.recv(_MOST_MESSAGE)
                if answer:
                    return dict(json.loads(answer))
            except TimeoutError:
                self._end()
                raise _late(seconds) from None
            except ConnectionError:
                pass
            finally:
                self._asked = time.monotonic()
            status = self._end()
        if status == -signal.SIGPROF:
            raise _late(seconds)
        ended = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise ModelUnusable(f"the file ended the process that examined it ({ended})")

    def _end(self) -> int:
        """End the child → its exit status."""
        if self._child is None:
            return 0
        (child, connection), self._child = self._child, None
        child.kill()  # changes nothing if it ends by another signal already
        connection.close()
        return child.wait()


def _late(seconds: float) -> TimeoutError:
    return TimeoutError(f"the examination takes more than {seconds:.1f} s")


def _start(*, aside: bool) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *(["aside"] if aside else [])],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
        )
    return child, ours


def _nameless() -> IO[bytes]:
    """A file without a name: in memory where the system has such files."""
    return os.fdopen(os.memfd_create("model"), "w+b") if sys.platform == "linux" else TemporaryFile()


def _serve(connection: socket.socket) -> None:
    """Answer the questions of the service until it closes the connection or ends."""
    while True:
        message, given, _, _ = socket.recv_fds(connection, _MOST_MESSAGE, 2)
        if not message:
            return
        with os.fdopen(given[0], "r+b") as file, os.fdopen(given[1], "r+b") as signature:
            longer = partial(connection.sendall, _LONGER)
            connection.sendall(json.dumps(_answer(json.loads(message), file, signature, longer)).encode())


def _answer(asked: dict[str, Any], file: IO[bytes], signature: IO[bytes], longer: Callable[[], None]) -> dict[str, Any]:
    path = Path(asked["path"])
    first = 0 if "onnx" in sys.modules else _IMPORT
    signal.setitimer(signal.ITIMER_PROF, asked["seconds"] + first)  # CPU time; then SIGPROF ends the process
    _bound_memory(asked["memory"])
    try:
        content, digest = files.read(path)
        told, digest = files.declared(path, digest)
        declared = parse(told)
        providers = _providers(asked, declared.providers)
        if providers != CPU:
            longer()
            signal.setitimer(signal.ITIMER_PROF, _TIMES_OTHERS * asked["seconds"] + first)
            _bound_memory(None)
        policy = partial(measured, batch=asked["batch"], chunk=asked["chunk"])
        found = prepared(content, digest, declared, policy)
        fitness = found.fitness if providers == CPU else elsewhere(found, digest, policy, providers)
        file.write(found.content)
        if found.signature is not None:
            signature.write(json.dumps(asdict(found.signature)).encode())
        file.seek(0)
        signature.seek(0)
    except ModelUnusable as error:
        return {"reason": str(error)[:_MOST_REASON]}
    except MemoryError:
        return {"reason": f"the examination takes more than {asked['memory']} bytes of memory"}
    except Exception as error:  # anything that a file does to NumPy and ONNX Runtime
        return {"reason": f"{type(error).__name__}: {error}"[:_MOST_REASON]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    adapted = found.signature is not None
    return {"digest": digest, "fitness": asdict(fitness), "adapted": adapted, "providers": declared.providers}


def _providers(asked: dict[str, Any], own: Sequence[str]) -> tuple[Provider, ...]:
    """The providers of the file itself, or those of the service."""
    try:
        if own:
            return providers_of(own, available(), asked["options"])
    except ValueError as error:
        raise ModelUnusable(f"model.toml: {error}") from error
    return tuple(Provider(*one) for one in asked["providers"])


def _bound_memory(more: int | None) -> None:
    """Bound the address space to what is used now, and so many bytes more; None: a GPU's driver takes terabytes."""
    if more is None:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        return
    with suppress(FileNotFoundError):  # no /proc: no bound
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _give_way() -> None:
    """Run when no other process wants the core: a mere nice value lets a call wait for slices of 3 ms."""
    os.nice(19)
    if sys.platform == "linux":
        with suppress(PermissionError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    if sys.argv[1:]:
        _give_way()
    logging.disable()  # what is to be told is in the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group; the service decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory is short, end this process, not the service
    _serve(socket.socket(fileno=0))
