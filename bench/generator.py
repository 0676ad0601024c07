"""The load generator: compiled when it is needed, run on a core of its own, its result a frozen value."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench import inputs
from bench.models import SIZES

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = _CORES[0], _CORES[-1]
_SOURCES = Path(__file__).parent / "load"
_PARTS = {"load": ("load", "http", "stream", "net", "pool", "tally"), "echo": ("echo", "net")}


class NotRunError(Exception):
    """A row cannot be measured; the text says why."""


@dataclass(frozen=True)
class Load:
    """What is asked for: `connections` × `window` requests under way, each of `items` sessions × `length` steps."""

    door: Literal["http", "stream"] = "http"
    connections: int = 64
    sessions: int = 1  # of one connection
    items: int = 1  # sessions in a frame
    window: int = 1  # frames under way on a socket
    length: int = 1
    predict: bool = False
    raw: bool = False  # predicts by the Open Inference Protocol, as raw bytes
    rate: float = 0  # requests/s of an open loop; 0: closed
    count: int = 0  # requests of each of them; 0: until the time is over
    refusals: bool = False  # 503 is an answer
    warm: float = 0.3

    def arguments(self, model: str, seconds: float) -> dict[str, object]:
        """What the generator is told."""
        path = f"/v1/models/{model}/predict" if self.predict else "/v1/sessions/#/steps"
        told = {name: value for name, value in vars(self).items() if not isinstance(value, bool)}
        if self.raw:
            path = f"/v2/models/{model}/infer"
        told |= {
            "predict": int(self.predict),
            "raw": int(self.raw),
            "refusals": int(self.refusals),
            "seconds": seconds,
            "model": model,
        }
        return told | {"path": "/v1/stream" if self.door == "stream" else path}


@dataclass(frozen=True)
class Tally:
    """What was counted while it was measured; `all_…` from the first request to the last.

    Steps are those answered in that time; latencies, in ms, of all requests that were under way in it.
    """

    opening: float
    seconds: float
    steps: int
    all_answers: int
    all_steps: int
    sampled_steps: int
    busy: float  # the share of its core that the generator used
    answers: int
    answers_p50: float
    answers_p95: float
    answers_p99: float
    answers_max: float
    refusals: int
    refusals_p50: float
    refusals_p95: float
    refusals_p99: float
    refusals_max: float

    @property
    def rate(self) -> float:
        """Steps/s."""
        return self.steps / self.seconds


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started here runs on that core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Generator:
    """The compiled programs and the pools, in a folder. Each run opens sessions that are new."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        compiler = shutil.which("cc")
        if compiler is None:
            raise NotRunError("no C compiler: `cc` is not on the PATH")
        for program, parts in _PARTS.items():
            sources = [_SOURCES / f"{part}.c" for part in parts]
            subprocess.run(
                [compiler, "-std=gnu11", "-O2", "-Wall", "-Werror", "-o", self.program(program), *sources, "-lm"],
                check=True,
            )
        for size in SIZES.values():
            inputs.write(folder / f"pool-{size.inputs}", size.inputs)
        self._runs = 0

    def program(self, name: str) -> Path:
        """Where a compiled program is."""
        return self.folder / name

    def start(
        self,
        load: Load,
        model: str,
        port: int,
        seconds: float,
        *,
        samples: Path | None = None,
        bare: bool = False,
        core: int = CLIENT_CORE,
    ) -> "Running":
        """Begin a run on a core. `bare`: against an echo, where no session is opened and no answer looked at."""
        self._runs += 1
        told = load.arguments(model, seconds) | {"port": port, "bare": int(bare), "witness": self._runs}
        told |= {"pool": self.folder / f"pool-{SIZES[model].inputs}", "prefix": f"run{self._runs}-"}
        if samples is not None:
            told["samples"] = samples
        if load.door == "http" and not load.predict and not bare:
            told["open"] = f"/v1/models/{model}/sessions"
        command: list[str | Path] = [self.program("load"), *(f"{name}={value}" for name, value in told.items())]
        with pinned(core):
            return Running(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    def run(
        self, load: Load, model: str, port: int, seconds: float, *, samples: Path | None = None, bare: bool = False
    ) -> Tally:
        """Run to the end. See `start`."""
        return self.start(load, model, port, seconds, samples=samples, bare=bare).wait()


class Running:
    """A run under way."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def done(self, within: float) -> bool:
        """Whether it has ended, after waiting that many seconds for it."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait(self) -> Tally:
        """Its result. Raises NotRunError with what the generator says of the server."""
        told, complaint = self._process.communicate()
        if self._process.returncode:
            raise NotRunError(complaint.strip() or f"the generator ended with {self._process.returncode}")
        return Tally(**json.loads(told))
