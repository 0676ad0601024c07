"""How a graph is fed: which inputs are sequences, states, lengths, constants, and where batch and time lie. Values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Dim = int | str | None  # a size; or free, with the name that the file gives it

MOST_WIDTH = 2**16  # features, or outputs
MOST_STATE = 2**20  # numbers in the states of one row: 4 MiB
KINDS = (
    "float32",
    "float16",
    "float64",
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


@dataclass(frozen=True)
class Tensor:
    """An input or an output as the file has it; `shape` is None if it is not told."""

    name: str
    kind: str  # NumPy's name of the type
    shape: tuple[Dim, ...] | None


@dataclass(frozen=True)
class Graph:
    """What a file says of itself."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Port:
    """An input or output of the graph: the axes of batch and time, if it has them, and the other sizes."""

    name: str
    kind: str
    shape: tuple[int, ...]
    batch: int | None = None
    time: int | None = None

    def __str__(self) -> str:
        axes = sorted((axis, name) for axis, name in ((self.batch, "batch"), (self.time, "time")) if axis is not None)
        sizes: list[object] = list(self.shape)
        for axis, name in axes:
            sizes.insert(axis, name)
        return f"{self.name} {self.kind} [{', '.join(map(str, sizes))}]"

    @property
    def width(self) -> int:
        """Numbers of one row at one step."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Carried:
    """A state: the input that takes it, the output that gives the next one, how they were paired, and the first one."""

    port: Port
    output: str
    told: str  # declared, contract, metadata, name, shape or rewritten
    initial: Any = 0.0  # a number, or nested lists in the shape of one row


@dataclass(frozen=True)
class Constant:
    """An input that does not change within a session, and its value unless the session is opened with another one."""

    port: Port
    value: Any


@dataclass(frozen=True)
class Signature:
    """How a graph is fed. Without `time` in its inputs, one call is one step."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]  # of a signature that was not measured yet: names and types alone
    states: tuple[Carried, ...] = ()
    constants: tuple[Constant, ...] = ()
    lengths: Port | None = None
    freed: bool = False  # sizes that the file declares as fixed have to be freed
    left_out: tuple[str, ...] = ()  # outputs without time, where others have it
    twins: bool = False  # a lone row runs beside a copy: the plain RNN node computes it in another order otherwise
    rows: int | None = None  # of every call: the file fixes it, and copies stand for those that are missing
    alone: bool = False  # quantised by what runs together: rows never share a call, nor steps where it has states

    def __str__(self) -> str:
        states = ", ".join(f"{one.port} → {one.output} ({one.told})" for one in self.states)
        return f"{', '.join(map(str, self.inputs))} to {', '.join(map(str, self.outputs))}; states: {states or 'none'}"

    @property
    def timed(self) -> bool:
        """Whether one call takes several steps."""
        return any(port.time is not None for port in self.inputs)

    @property
    def batched(self) -> bool:
        """Whether one call takes several rows."""
        ports = (*self.inputs, *(state.port for state in self.states))
        return all(port.batch is not None for port in ports)

    @property
    def last(self) -> bool:
        """Whether a call of several steps gives one answer, after the last."""
        return self.timed and all(port.time is None for port in self.outputs)

    def shown(self) -> dict[str, Any]:
        """The same for people and programs: without large values."""
        told = asdict(self)
        for one in (*told["states"], *told["constants"]):
            value = one.pop("initial", None) if "initial" in one else one.get("value")
            if isinstance(value, list):
                value = "as model.toml or the file has it"
            one["initial" if "output" in one else "value"] = value
        rows = f"{self.rows} rows" if self.rows else "rows" if self.batched and not self.alone else "one row"
        steps = "steps" if self.timed and not (self.alone and self.states) else "one step"
        told["calls"] = f"{rows} × {steps}"
        told["answers"] = "last step" if self.last else "each step"
        return told


def restored(told: Mapping[str, Any]) -> Signature:
    """A signature from what `asdict` made of it."""

    def port(one: Mapping[str, Any]) -> Port:
        return Port(**{**one, "shape": tuple(one["shape"])})

    return Signature(
        tuple(map(port, told["inputs"])),
        tuple(map(port, told["outputs"])),
        tuple(Carried(**{**one, "port": port(one["port"])}) for one in told["states"]),
        tuple(Constant(port(one["port"]), one["value"]) for one in told["constants"]),
        told["lengths"] and port(told["lengths"]),
        told["freed"],
        tuple(told["left_out"]),
        told["twins"],
        told["rows"],
        told["alone"],
    )
