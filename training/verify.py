"""Three claims about an exported file, each against the slower way of getting the same numbers.

The only place outside the service that runs a file. Raises `VerificationError` and says what differed where. A network
that reads sequences from both ends is not stepped; a file in int8 is not what torch computes, but must equal itself.
"""

import os
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime opens a telemetry database when it is imported
import onnxruntime as ort

from training.errors import VerificationError
from training.networks import Network

Array = NDArray[np.float32]
States = dict[str, Array]  # name → [batch, …]

TOLERANCE = 1e-5  # torch = ONNX Runtime: outputs in units of the target's deviation, states over max(1, |state|)
LENGTHS = (5, 1, 97, 16, 64, 2, 33, 8, 40)  # a ragged batch; 9 rows are no multiple of any vector width
MIN_BATCH = {"rnn": 2}  # ONNX Runtime computes a lone row of a plain RNN in another order than a row among others
PADDING = -1e6  # stands behind the end of a shorter row: whoever reads it is found out


class Exported:
    """A model file in ONNX Runtime, run the way a server runs it: a lone row is repeated up to `min_batch`."""

    def __init__(self, model: bytes, min_batch: int = 1) -> None:
        self._min_batch = min_batch
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # its warnings are for others; a failure raises
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        states = [one for one in self._session.get_inputs() if one.name.startswith("state.")]
        self.state_shapes = {one.name.removeprefix("state."): tuple(one.shape[1:]) for one in states}
        self.state_names = self.state_shapes.keys()

    def __call__(self, x: Array, lengths: NDArray[np.int32], state: Mapping[str, Array]) -> tuple[Array, States]:
        """Run x [B,T,F] from `state`; return output [B,T,K] and the next state."""
        rows, times = len(x), self._min_batch if len(x) == 1 else 1
        if times > 1:
            x, lengths = x.repeat(times, axis=0), lengths.repeat(times)
            state = {name: value.repeat(times, axis=0) for name, value in state.items()}
        feeds = {"input": x, "lengths": lengths} | {f"state.{name}": value for name, value in state.items()}
        results = {
            name: value[:rows] for name, value in zip(self._outputs, self._session.run(None, feeds), strict=True)
        }
        return results.pop("output"), {name.removeprefix("next_state."): value for name, value in results.items()}


def verify(model: bytes, network: Network, sample: Array) -> None:
    """Check a serialised model against the network it came from, on rows of sample [N, F]."""
    run = Exported(model, MIN_BATCH.get(network.cell, 1))
    if run.state_shapes != network.state_shapes:
        raise VerificationError(f"the file's states are {run.state_shapes}, the network's {network.state_shapes}")
    x, lengths = _ragged(sample)
    start = _some_state(run)
    _torch_equals_runtime(network, x, lengths, start, run(x, lengths, start))
    _equals_itself(run, x, lengths, start, network.streamable)


def verify_alone(model: bytes, sample: Array) -> None:
    """Check what a serialised model that can be streamed claims of itself, on rows of sample [N, F]."""
    run = Exported(model)
    _equals_itself(run, *_ragged(sample), _some_state(run), streamable=True)


def _equals_itself(run: Exported, x: Array, lengths: NDArray[np.int32], start: States, streamable: bool) -> None:
    outputs, last = run(x, lengths, start)
    for row, length in enumerate(lengths):
        alone = run(x[row : row + 1, :length], lengths[row : row + 1], _rows(start, row))
        _same_bits(f"batched ≠ alone, row {row}", (outputs[row : row + 1, :length], _rows(last, row)), alone)
    if streamable:
        row = int(np.argmax(lengths))
        whole = (outputs[row : row + 1], _rows(last, row))
        _same_bits("stepwise ≠ whole", _stepwise(run, x[row], _rows(start, row)), whole)


def _ragged(sample: Array) -> tuple[Array, NDArray[np.int32]]:
    lengths = np.array(LENGTHS, np.int32)
    sample = np.resize(sample, (max(LENGTHS) + len(LENGTHS), sample.shape[1]))  # a short one is repeated
    x = np.full((len(lengths), max(LENGTHS), sample.shape[1]), PADDING, np.float32)
    for row, length in enumerate(lengths):
        x[row, :length] = sample[row : row + length]
    return x, lengths


def _some_state(run: Exported) -> States:
    """A state for each of LENGTHS that no two parts share, so that a swap shows."""
    random = np.random.default_rng(0)
    return {
        name: random.uniform(-1, 1, (len(LENGTHS), *shape)).astype(np.float32)
        for name, shape in run.state_shapes.items()
    }


def _rows(state: States, row: int) -> States:
    return {name: value[row : row + 1] for name, value in state.items()}


def _stepwise(run: Exported, x: Array, state: States) -> tuple[Array, States]:
    """Run x [T, F] one step at a time, carrying the state."""
    outputs = []
    for step in x:
        output, state = run(step[None, None], np.array([1], np.int32), state)
        outputs.append(output)
    return np.concatenate(outputs, axis=1), state


def _torch_equals_runtime(
    network: Network, x: Array, lengths: NDArray[np.int32], start: States, exported: tuple[Array, States]
) -> None:
    with torch.no_grad():
        state = {name: torch.from_numpy(value) for name, value in start.items()}
        y, last = network(torch.from_numpy(x), torch.from_numpy(lengths).long(), state)
    inside = np.arange(x.shape[1]) < lengths[:, None]  # [B, T]; outputs beyond a row's length mean nothing
    errors = {"output": np.where(inside[..., None], (exported[0] - y.numpy()) / network.head.std.numpy(), 0)}
    errors |= {
        f"next_state.{name}": (exported[1][name] - value.numpy()) / np.maximum(1, np.abs(value.numpy()))
        for name, value in last.items()
    }
    for name, error in errors.items():
        if not np.all(np.abs(error) <= TOLERANCE):  # NaN fails too
            where = np.unravel_index(np.argmax(np.nan_to_num(np.abs(error), nan=np.inf)), error.shape)
            place = [int(i) for i in where]
            raise VerificationError(f"torch ≠ ONNX Runtime: {name}{place} by {error[where]:.3g}, allowed {TOLERANCE:g}")


def _same_bits(claim: str, left: tuple[Array, States], right: tuple[Array, States]) -> None:
    pairs = {"output": (left[0], right[0])}
    pairs |= {f"next_state.{name}": (left[1][name], right[1][name]) for name in left[1]}
    for name, (a, b) in pairs.items():
        differs = a.view(np.uint32) != b.view(np.uint32)
        if differs.any():
            where = tuple(int(i) for i in np.argwhere(differs)[0])
            raise VerificationError(f"{claim}: {name}{list(where)} is {a[where]!r} one way and {b[where]!r} the other")
