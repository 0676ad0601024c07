"""The child process of the examiner: it reads, prepares, tests and measures model files, under bounds of its own."""

import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any

from service.errors import ModelUnusable
from service.models import files
from service.models.declared import parse
from service.models.examiner import IDLE, LONGER, MOST_MESSAGE, TIMES_OTHERS
from service.models.fitness import Fitness
from service.models.model import available
from service.models.prepare import Prepared, elsewhere, prepared, with_threads
from service.models.providers import CPU, Provider, Threads, providers_of
from service.models.speed import measured

_IMPORT = 0.7  # seconds more for the first file that is rewritten: that imports onnx
_MOST_REASON = 500  # characters
_NICE = 5  # by Linux' weights a quarter of a core that one other process wants


def _serve(connection: socket.socket) -> None:
    """Answer the questions of the service until it closes the connection or ends."""
    while True:
        message, given, _, _ = socket.recv_fds(connection, MOST_MESSAGE, 2)
        if not message:
            return
        with os.fdopen(given[0], "r+b") as file, os.fdopen(given[1], "r+b") as signature:
            longer = partial(connection.sendall, LONGER)
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
            signal.setitimer(signal.ITIMER_PROF, TIMES_OTHERS * asked["seconds"] + first)
            _bound_memory(None)
        policy = partial(measured, batch=asked["batch"], chunk=asked["chunk"])
        found = prepared(content, digest, declared, policy)
        fitness = _threaded(found, digest, asked) if providers == CPU else elsewhere(found, digest, policy, providers)
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


def _threaded(found: Prepared, digest: str, asked: dict[str, Any]) -> Fitness:
    """The fitness with more threads in a run; where they fail, the one without them counts."""
    threads = Threads(*asked["threads"])
    signal.setitimer(signal.ITIMER_PROF, asked["seconds"] * (1 + threads.most))
    _bound_memory(asked["memory"])
    try:
        return with_threads(found, digest, threads)
    except Exception:  # anything that a file does to NumPy and ONNX Runtime; MemoryError
        return found.fitness


def _providers(asked: dict[str, Any], own: Sequence[str]) -> tuple[Provider, ...]:
    """The providers of the file itself, or those of the service."""
    try:
        if own:
            return providers_of(own, available(), asked["options"])
    except ValueError as error:
        raise ModelUnusable(f"model.toml: {error}") from error
    return tuple(Provider(*one) for one in asked["providers"])


def _bound_memory(more: int | None) -> None:
    """Bound the address space to `more` bytes above what is used; None: no bound, as a GPU's driver takes terabytes."""
    if more is None:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        return
    with suppress(FileNotFoundError):  # no /proc: no bound
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _give_way(priority: str) -> None:
    """Leave the core to calls: with a nice value alone, they would wait 3 ms for it."""
    os.nice(19 if priority == IDLE else _NICE)
    if priority == IDLE and sys.platform == "linux":
        with suppress(PermissionError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    if sys.argv[1:]:
        _give_way(sys.argv[1])
    logging.disable()  # what is to be told is in the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group; the service decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory is short, end this process, not the service
    _serve(socket.socket(fileno=0))
