"""The Model protocol, the array types, and OnnxModel on ONNX Runtime: the only import of onnxruntime in the service.

Knows one file and how to run it; not sessions, queues or names of versions.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import ModelUnusable

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # has an effect only before the import
import onnxruntime as ort

Array = NDArray[np.float32]
Index = NDArray[np.int64]
Lengths = NDArray[np.int32]
State = dict[str, Array]  # by name, each [batch, …]

MOST_WIDTH = 2**16  # features, or outputs
MOST_STATE = 2**20  # numbers in the states of one row: 4 MiB
_EXACT = 2**24  # float32 has all whole numbers up to here; a code is one
_MOST_METADATA = 2**20  # characters
_STATE, _NEXT = "state.", "next_state."


@dataclass(frozen=True)
class Column:
    """A feature or an output: its name and, where the file tells them, its unit and how its values are made."""

    name: str
    unit: str | None = None
    making: Mapping[str, Any] = field(default_factory=dict)  # rules for gaps, lags, calendar, codes; passed on as read
    labels: Mapping[str, float] = field(default_factory=dict)  # of a category with words → the code of each


@dataclass(frozen=True)
class Description:
    """What the metadata of a file say; every key is optional there."""

    features: tuple[Column, ...]
    outputs: tuple[Column, ...]
    digest: str  # SHA-256 of the file and its external data: a state belongs to exactly one file
    cell: str | None = None
    memory_horizon: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Model(Protocol):
    """A recurrent network. The batch is the first dimension of every array."""

    @property
    def features(self) -> int:
        """F, numbers in a time step."""

    @property
    def outputs(self) -> int:
        """K, numbers in the output of a time step."""

    @property
    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each state of one row, by name; empty for a feedforward network."""

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """Advance B ≥ 1 rows: inputs [B, T, F], 1 ≤ lengths [B] ≤ T, state [B, …] → outputs [B, T, K], next state.

        Outputs behind a row's length are undefined.
        """


class NoModel:
    """Stands for a model that is not there. It is never run."""

    features = outputs = 0
    state_shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """See Model.run."""
        raise NotImplementedError


class OnnxModel:
    """One ONNX file that follows the model contract (docs/model-contract.md), on one CPU thread.

    `OnnxModel(*files.read(path))` reads a file. A file that was read before may be given as a path: ONNX Runtime holds
    the GIL while it parses bytes (0.4 ms a MB), but not while it reads a file.

    Raises:
        ModelUnusable: ONNX Runtime does not load it, or it does not follow the contract.

    """

    def __init__(self, source: bytes | Path, digest: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.load_model_format", "ONNX")  # not ORT's own format
        options.log_severity_level = 4  # fatal only: errors are raised
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # errors of ONNX Runtime have no common base
            raise ModelUnusable(f"ONNX Runtime does not load the file: {error}") from error
        inputs = {node.name: node for node in self._session.get_inputs()}
        outputs = {node.name: node for node in self._session.get_outputs()}
        self._takes_lengths = "lengths" in inputs
        self.state_shapes: Mapping[str, tuple[int, ...]] = _state_shapes(inputs, outputs)
        self.features = _width(inputs, "input")
        self.outputs = _width(outputs, "output")
        self._names = ["output", *(_NEXT + name for name in self.state_shapes)]
        self._keys = {_STATE + name: name for name in self.state_shapes}
        metadata = self._session.get_modelmeta().custom_metadata_map.get("carousel", "{}")
        self.description = _describe(metadata, self.features, self.outputs, digest)

    def __repr__(self) -> str:
        return f"<OnnxModel {self.features} → {self.outputs}, state {dict(self.state_shapes)}>"

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """See Model.run."""
        feeds: dict[str, Any] = {key: state[name] for key, name in self._keys.items()}
        feeds["input"] = inputs
        if self._takes_lengths:
            feeds["lengths"] = lengths
        output, *next_state = self._session.run(self._names, feeds)
        return output, dict(zip(self.state_shapes, next_state, strict=True))


def _width(nodes: Mapping[str, Any], name: str) -> int:
    node = nodes.get(name)
    if node is None:
        raise ModelUnusable(f"the file has no {name!r}; it has {', '.join(nodes)}")
    if node.type != "tensor(float)" or len(node.shape) != 3 or not isinstance(node.shape[2], int):
        raise ModelUnusable(f"{name!r} is {node.type} {node.shape}, not float32 [batch, time, width]")
    if not 1 <= node.shape[2] <= MOST_WIDTH:
        raise ModelUnusable(f"{name!r} has width {node.shape[2]}, not 1 to {MOST_WIDTH}")
    return int(node.shape[2])


def _state_shapes(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Pair `state.NAME` with `next_state.NAME`: by name, never by order."""
    unknown = [name for name in inputs if name not in ("input", "lengths") and not name.startswith(_STATE)]
    if unknown:
        raise ModelUnusable(f"inputs that the contract does not know: {', '.join(unknown)}")
    shapes: dict[str, tuple[int, ...]] = {}
    for name, node in inputs.items():
        if not name.startswith(_STATE):
            continue
        after = outputs.get(_NEXT + name.removeprefix(_STATE))
        if after is None or node.type != "tensor(float)" or after.type != node.type:
            raise ModelUnusable(f"{name!r} has no float32 partner {_NEXT}{name.removeprefix(_STATE)}")
        if not all(isinstance(size, int) and size >= 1 for size in node.shape[1:]):
            raise ModelUnusable(f"{name!r} is {node.shape}; only its first dimension, the batch, may be free")
        shapes[name.removeprefix(_STATE)] = tuple(node.shape[1:])
    if (numbers := sum(math.prod(shape) for shape in shapes.values())) > MOST_STATE:
        raise ModelUnusable(f"the states of one row have {numbers} numbers, more than {MOST_STATE}")
    return shapes


def _describe(metadata: str, features: int, outputs: int, digest: str) -> Description:
    try:
        if len(metadata) > _MOST_METADATA:
            raise ValueError(f"{len(metadata)} characters, more than {_MOST_METADATA}")
        told = json.loads(metadata, parse_constant=lambda _: None)  # NaN and infinities, which JSON does not have
        _expect(told, cell=(str,), memory_horizon=(int,), metrics=(dict,), features=(list,), outputs=(list,))
        _expect(told, categories=(dict,))
        orjson.dumps(told)  # what cannot be shown is refused here: integers of over 64 bits, lone surrogates, …
        codes = told.get("categories") or {}
        return Description(
            features=_columns(told.get("features"), features, "x", codes),
            outputs=_columns(told.get("outputs"), outputs, "y", {}),
            digest=digest,
            cell=told.get("cell"),
            memory_horizon=told.get("memory_horizon"),
            metrics=told.get("metrics") or {},
        )
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ModelUnusable(f"the metadata 'carousel' cannot be read: {error}") from error


def _expect(told: Any, **kinds: tuple[type, ...]) -> None:
    """Raise unless `told` is an object and each of these keys, if given, has one of its types."""
    if not isinstance(told, dict):
        raise TypeError(f"{told!r} is not an object")
    for key, allowed in kinds.items():
        if told.get(key) is not None and type(told[key]) not in allowed:
            raise TypeError(f"{key} is {told[key]!r}")


def _columns(
    told: list[dict[str, Any]] | None, width: int, prefix: str, codes: Mapping[str, Mapping[str, Any]]
) -> tuple[Column, ...]:
    if not told:
        return tuple(Column(f"{prefix}{index}") for index in range(width))
    columns = tuple(_column(one, codes) for one in told)
    if len(columns) != width or len({column.name for column in columns}) != width:
        raise ValueError(f"{len(columns)} names, or one of them twice, for {width} columns")
    return columns


def _column(told: dict[str, Any], codes: Mapping[str, Mapping[str, Any]]) -> Column:
    _expect(told, name=(str,), unit=(str,))
    making = {key: value for key, value in told.items() if key not in ("name", "unit")}
    making |= codes.get(told["name"], {})
    return Column(told["name"], told.get("unit"), making, _labels(told["name"], making))


def _labels(name: str, making: Mapping[str, Any]) -> dict[str, float]:
    """Return the code of each label; none where the feature has no labels."""
    words, codes = (making.get(key) or [] for key in ("labels", "codes"))
    if not words:
        return {}
    labels = dict(zip(words, codes, strict=True))
    if len(labels) < len(words) or not all(
        type(word) is str and type(code) in (int, float) and abs(code) <= _EXACT for word, code in labels.items()
    ):
        raise ValueError(f"{name} has labels that are not different words, or codes that are not such numbers")
    return labels
