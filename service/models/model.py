"""The Model protocol, the array types, and OnnxModel on ONNX Runtime: the only import of onnxruntime in the service.

Knows one file and how to run it; not sessions, queues or names of versions.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput, ModelUnusable
from service.models import contract
from service.models.description import described
from service.models.providers import CPU, THREADS, Provider
from service.models.signature import Graph, Port, Signature, Tensor

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # has an effect only before the import
import onnxruntime as ort

if "CUDAExecutionProvider" in ort.get_available_providers():
    ort.preload_dlls()  # from the packages of the extra `service-gpu`

Array = NDArray[np.float32]
Index = NDArray[np.int64]
Lengths = NDArray[np.int32]
State = dict[str, Array]  # by name, each [batch, …]
Given = Mapping[str, NDArray[np.float64] | None]  # by a client, by name; None: no finite numbers of one shape


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
    """Stands for a model that is not there, or not any more. It is never run."""

    def __init__(self, was: Model | None = None) -> None:
        self.features, self.outputs = (was.features, was.outputs) if was else (0, 0)
        self.state_shapes: Mapping[str, tuple[int, ...]] = was.state_shapes if was else MappingProxyType({})

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """Raise ModelUnusable."""
        raise ModelUnusable("there is no model")


def available() -> list[str]:
    """The execution providers of this build of ONNX Runtime."""
    return list(ort.get_available_providers())


def known() -> list[str]:
    """The execution providers of all builds."""
    return list(ort.get_all_providers())


def opened(source: bytes | Path, providers: Sequence[Provider] = CPU) -> ort.InferenceSession:
    """A session of ONNX Runtime; on the CPU by one thread, or by as many as the provider's option says.

    Raises:
        ModelUnusable: ONNX Runtime does not load the file.

    """
    options = ort.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = int(providers[0].options.get(THREADS, 1))
    told = [(one.name, {name: value for name, value in one.options.items() if name != THREADS}) for one in providers]
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not ORT's own format
    options.log_severity_level = 4  # fatal only: errors are raised
    try:
        return ort.InferenceSession(source, options, providers=told)
    except Exception as error:  # errors of ONNX Runtime have no common base
        raise ModelUnusable(f"ONNX Runtime does not load the file: {error}") from error


_KINDS = {"float": "float32", "double": "float64"}


def graph_of(session: ort.InferenceSession) -> Graph:
    """What a file says of itself."""

    def tensors(nodes: Sequence[Any]) -> dict[str, Tensor]:
        kinds = [node.type.removeprefix("tensor(").removesuffix(")") for node in nodes]
        return {
            node.name: Tensor(node.name, _KINDS.get(kind, kind), None if node.shape is None else tuple(node.shape))
            for node, kind in zip(nodes, kinds, strict=True)
        }

    return Graph(
        tensors(session.get_inputs()),
        tensors(session.get_outputs()),
        session.get_modelmeta().custom_metadata_map,
    )


class OnnxModel:
    """One ONNX file that follows the model contract (docs/model-contract.md), on one CPU thread or by other providers.

    `OnnxModel(*files.read(path))` reads a file. A file that was read before may be given as a path: ONNX Runtime holds
    the GIL while it parses bytes (0.4 ms a MB), but not while it reads a file.

    Raises:
        ModelUnusable: ONNX Runtime does not load it, or it does not follow the contract.

    """

    signature: Signature | None = None  # of a file that does not follow the contract
    tensors: Signature  # inputs and outputs as the file has them; states are not in that of the contract
    provider = "cpu"  # the one in use, by its short name

    def __init__(self, source: bytes | Path, digest: str, providers: Sequence[Provider] = CPU) -> None:
        self._open(source, providers)
        inputs = {node.name: node for node in self._session.get_inputs()}
        outputs = {node.name: node for node in self._session.get_outputs()}
        self._takes_lengths = "lengths" in inputs
        self.state_shapes: Mapping[str, tuple[int, ...]] = contract.state_shapes(inputs, outputs)
        self.features, self.outputs = contract.width(inputs, "input"), contract.width(outputs, "output")
        port = Port("input", "float32", (self.features,), batch=0, time=1)
        after = replace(port, name="output", shape=(self.outputs,))
        self.tensors = Signature((port,), (after,), lengths=Port("lengths", "int32", (), 0))
        self._names = ["output", *(contract.NEXT + name for name in self.state_shapes)]
        self._keys = {contract.STATE + name: name for name in self.state_shapes}
        metadata = self._session.get_modelmeta().custom_metadata_map
        names = [f"x{index}" for index in range(self.features)], [f"y{index}" for index in range(self.outputs)]
        self.description = described(metadata, names, digest)

    def __repr__(self) -> str:
        return f"<OnnxModel {self.features} → {self.outputs}, state {dict(self.state_shapes)}>"

    def _open(self, source: bytes | Path, providers: Sequence[Provider]) -> None:
        self._session = opened(source, providers)
        self._ask = self._session.run
        self.provider = Provider(self._session.get_providers()[0], {}).short
        if self.provider not in (one.short for one in providers):  # the runtime falls back by itself
            raise ModelUnusable(f"provider {providers[0].short} does not start; let cpu follow it, to do without")
        if self.provider == "cpu":  # without `run`'s look at the names of the feeds: 4 % of a step that comes alone
            session = self._session._sess
            self._ask = lambda names, feeds: session.run(names, feeds, None)

    def bound(self, seconds: float) -> None:
        """End runs that take longer, with TimeoutError: for a file in which a value may decide how long a run takes."""
        self._ask = partial(_bounded, self._session, seconds)

    def draw(self, values: Array) -> Array:
        """The nearest values that the inputs can hold, for tests."""
        return values

    def opening(self, constants: Given, initial: Given) -> State | None:
        """The state [1, …] of a session that is opened with such constants and initial states; None: the zero state.

        Raises:
            InvalidInput: the model has no such constant or state, it has another shape, or is None.

        """
        if constants:
            raise InvalidInput(f"constants.{next(iter(constants))}: the model has none")
        state = self.begun({}, 1)
        for name, value in initial.items():
            if name not in state:
                raise InvalidInput(f"initial.{name}: the model has {', '.join(state) or 'none'}")
            array = finite(value, f"initial.{name}")
            if array.shape not in ((), state[name].shape[1:]):
                raise InvalidInput(f"initial.{name}: shape {list(array.shape)}, not {list(state[name].shape[1:])}")
            state[name][:] = array
        return state if initial else None

    def begun(self, constants: Mapping[str, Any], rows: int) -> State:
        """The state [B, …] of rows that begin with constants [B or 1, …] of their own, by names that it has.

        Raises:
            InvalidInput: an input cannot hold such a value.

        """
        return {name: np.zeros((rows, *shape), np.float32) for name, shape in self.state_shapes.items()}

    def keeps(self, constants: Mapping[str, Any], state: State) -> None:
        """Raise InvalidInput unless a session with this state [1, …] was opened with these constants [1, …]."""

    def constants(self, state: State) -> dict[Port, Any]:
        """The constants [1, …] of a session with this state [1, …]; none: it has not begun, or the model has none."""
        return {}

    def run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        """See Model.run."""
        if self.provider == "cpu" or (lengths == inputs.shape[1]).all():
            return self._run(inputs, lengths, state)
        # Providers may overlook lengths (OpenVINO's LSTM and GRU go on to the end): rows of one length run together.
        outputs = np.zeros((*inputs.shape[:2], self.outputs), np.float32)
        after = {name: np.empty_like(array) for name, array in state.items()}
        for length in np.unique(lengths).tolist():
            rows = lengths == length
            mine = {name: array[rows] for name, array in state.items()}
            outputs[rows, :length], ended = self._run(inputs[rows, :length], lengths[rows], mine)
            for name, array in ended.items():
                after[name][rows] = array
        return outputs, after

    def _run(self, inputs: Array, lengths: Lengths, state: State) -> tuple[Array, State]:
        feeds: dict[str, Any] = {key: state[name] for key, name in self._keys.items()}
        feeds["input"] = inputs
        if self._takes_lengths:
            feeds["lengths"] = lengths
        output, *next_state = self._ask(self._names, feeds)
        return output, dict(zip(self.state_shapes, next_state, strict=True))


def _bounded(session: ort.InferenceSession, seconds: float, names: list[str], feeds: dict[str, Any]) -> list[Any]:
    options = ort.RunOptions()
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.start()
    try:
        return list(session.run(names, feeds, options))
    except Exception as error:  # errors of ONNX Runtime have no common base
        if options.terminate:
            raise TimeoutError(f"a run takes more than {seconds:g} s") from error
        raise
    finally:
        timer.cancel()


def finite(value: NDArray[np.float64] | None, place: str) -> NDArray[np.float64]:
    """What a client gave in this place. Raises InvalidInput if it is none."""
    if value is None:
        raise InvalidInput(f"{place}: not finite numbers (float32) of one shape")
    return value
