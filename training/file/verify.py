"""Verify a model file: torch = ONNX Runtime, batched = alone, stepwise = whole. The last two hold bit for bit.

The only module of training that runs a file. A bidirectional network is not stepped. An int8 file is not compared with
torch.
"""

import os
from collections.abc import Mapping

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime opens a telemetry database on import
import onnxruntime as ort

from training.arrays import Floats, Lengths, States
from training.errors import VerificationError
from training.net.networks import Network

TOLERANCE = 1e-5  # torch = ONNX Runtime: outputs in standard deviations, states relative to max(1, |state|)
ROUNDINGS = 2 / TOLERANCE  # an output may differ by two roundings of its last bit
LENGTHS = (5, 1, 97, 16, 64, 2, 33, 8, 40)  # ragged; 9 rows are no multiple of a vector width
MIN_BATCH = {"rnn": 2}  # ONNX Runtime sums a lone row of a plain RNN in another order
PADDING = -1e6  # behind the end of shorter rows: reading it changes results visibly


class Exported:
    """A model file in ONNX Runtime, run as a server does: a lone row is repeated up to `min_batch`."""

    def __init__(self, model: bytes, min_batch: int = 1) -> None:
        self._min_batch = min_batch
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        states = [one for one in self._session.get_inputs() if one.name.startswith("state.")]
        self.state_shapes = {one.name.removeprefix("state."): tuple(one.shape[1:]) for one in states}

    def __call__(self, x: Floats, lengths: Lengths, state: Mapping[str, Floats] | None = None) -> tuple[Floats, States]:
        """Run x [B,T,F] from `state`, by default zero; return output [B,T,K] and the next state."""
        if state is None:
            state = {name: np.zeros((len(x), *shape), np.float32) for name, shape in self.state_shapes.items()}
        rows, times = len(x), self._min_batch if len(x) == 1 else 1
        feeds = {"input": x, "lengths": lengths} | {f"state.{name}": value for name, value in state.items()}
        if times > 1:
            feeds = {name: value.repeat(times, axis=0) for name, value in feeds.items()}
        results = zip(self._outputs, self._session.run(None, feeds), strict=True)
        found = {name.removeprefix("next_state."): value[:rows] for name, value in results}
        return found.pop("output"), found


def verify(model: bytes, network: Network, sample: Floats) -> None:
    """Check a serialised model against its network, on rows of sample [N, F].

    Raises:
        VerificationError: they differ; the message says where.

    """
    run = Exported(model, MIN_BATCH.get(network.cell, 1))
    if run.state_shapes != network.state_shapes:
        raise VerificationError(f"the file's states are {run.state_shapes}, the network's {network.state_shapes}")
    x, lengths = _ragged(sample)
    start = _random_state(run)
    _torch_equals_runtime(network, x, lengths, start, run(x, lengths, start))
    _equals_itself(run, x, lengths, start, network.streamable)


def verify_alone(model: bytes, sample: Floats) -> None:
    """Check batched = alone and stepwise = whole of a streamable model, on rows of sample [N, F]."""
    run = Exported(model)
    _equals_itself(run, *_ragged(sample), _random_state(run), streamable=True)


def _equals_itself(run: Exported, x: Floats, lengths: Lengths, start: States, streamable: bool) -> None:
    outputs, last = run(x, lengths, start)
    for row, length in enumerate(lengths):
        alone = run(x[row : row + 1, :length], lengths[row : row + 1], _rows(start, row))
        _same_bits(f"batched ≠ alone, row {row}", (outputs[row : row + 1, :length], _rows(last, row)), alone)
    if streamable:
        row = int(np.argmax(lengths))
        whole = (outputs[row : row + 1], _rows(last, row))
        _same_bits("stepwise ≠ whole", _stepwise(run, x[row], _rows(start, row)), whole)


def _ragged(sample: Floats) -> tuple[Floats, Lengths]:
    """Return a padded batch of LENGTHS, with rows of sample, which is repeated if it is too short."""
    lengths = np.array(LENGTHS, np.int32)
    sample = np.resize(sample, (max(LENGTHS) + len(LENGTHS), sample.shape[1]))
    x = np.full((len(lengths), max(LENGTHS), sample.shape[1]), PADDING, np.float32)
    for row, length in enumerate(lengths):
        x[row, :length] = sample[row : row + length]
    return x, lengths


def _random_state(run: Exported) -> States:
    """Return a random state for each of LENGTHS, so that swapped states differ."""
    random, shapes = np.random.default_rng(0), run.state_shapes.items()
    return {name: random.uniform(-1, 1, (len(LENGTHS), *shape)).astype(np.float32) for name, shape in shapes}


def _rows(state: States, row: int) -> States:
    return {name: value[row : row + 1] for name, value in state.items()}


def _stepwise(run: Exported, x: Floats, state: States) -> tuple[Floats, States]:
    """Run x [T, F] step by step."""
    outputs = []
    for step in x:
        output, state = run(step[None, None], np.array([1], np.int32), state)
        outputs.append(output)
    return np.concatenate(outputs, axis=1), state


def _torch_equals_runtime(
    network: Network, x: Floats, lengths: Lengths, start: States, exported: tuple[Floats, States]
) -> None:
    y, last = network.run(x, lengths, start)
    inside = np.arange(x.shape[1]) < lengths[:, None]  # [B, T]; outputs behind a row's length are undefined
    unit = np.maximum(network.head.std.numpy(), ROUNDINGS * np.spacing(np.abs(y)))  # large numbers have coarse float32
    errors = {"output": np.where(inside[..., None], (exported[0] - y) / unit, 0)}
    errors |= {
        f"next_state.{name}": (exported[1][name] - value) / np.maximum(1, np.abs(value)) for name, value in last.items()
    }
    for name, error in errors.items():
        if not np.all(np.abs(error) <= TOLERANCE):  # NaN fails too
            where = np.unravel_index(np.argmax(np.nan_to_num(np.abs(error), nan=np.inf)), error.shape)
            place = [int(i) for i in where]
            raise VerificationError(f"torch ≠ ONNX Runtime: {name}{place} by {error[where]:.3g}, allowed {TOLERANCE:g}")


def _same_bits(claim: str, left: tuple[Floats, States], right: tuple[Floats, States]) -> None:
    pairs = {"output": (left[0], right[0])}
    pairs |= {f"next_state.{name}": (left[1][name], right[1][name]) for name in left[1]}
    for name, (a, b) in pairs.items():
        differs = a.view(np.uint32) != b.view(np.uint32)
        if differs.any():
            where = tuple(int(i) for i in np.argwhere(differs)[0])
            raise VerificationError(f"{claim}: {name}{list(where)} is {a[where]!r} one way and {b[where]!r} the other")
