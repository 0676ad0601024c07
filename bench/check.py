"""The answers that a run kept, against lone runs of the file in an ONNX Runtime session of this module's own."""

import os
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson

from bench.generator import Load
from bench.inputs import Array, pool, rows_of

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: afterwards it is too late
import onnxruntime as ort

Kept = dict[int, list[tuple[int, Array]]]  # session → the first step and the outputs [T, K] of each answer

_HEAD = struct.Struct("<QII")  # step, session, bytes of the answer
_PIECE = 1024  # steps of a lone run that are held at once


class WrongAnswerError(Exception):
    """An answer that is not, bit for bit, that of the lone run."""


class Reference:
    """One model file, run for one session at a time."""

    def __init__(self, model: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        shapes = {node.name: node.shape for node in self._session.get_inputs()}
        self._states = {name: shape[1:] for name, shape in shapes.items() if name.startswith("state.")}
        self._pool = pool(shapes["input"][2])

    def outputs(self, session: int, first: int, count: int) -> Array:
        """What a session that begins with what is sent at `first` answers for `count` steps, [count, K]."""
        state = {name: np.zeros((1, *shape), np.float32) for name, shape in self._states.items()}
        names = ["output", *(name.replace("state.", "next_state.") for name in state)]
        pieces = []
        for begin in range(first, first + count, _PIECE):
            rows = self._pool[rows_of(session, begin, min(_PIECE, first + count - begin))]
            feeds = {"input": rows[None], "lengths": np.array([len(rows)], np.int32), **state}
            output, *after = self._session.run(names, feeds)
            state = dict(zip(state, after, strict=True))
            pieces.append(output[0])
        return np.concatenate(pieces)


def check(samples: Path, load: Load, reference: Reference) -> int:
    """How many steps of what a run kept were compared.

    Raises:
        WrongAnswerError: one differs.

    """
    kept: Kept = defaultdict(list)
    for session, step, payload in _records(samples):
        kept[session].append((step, _decode(payload, load)))
    return compare(kept, reference, from_zero=load.predict)


def compare(kept: Kept, reference: Reference, *, from_zero: bool = False) -> int:
    """How many steps were compared; `from_zero`: each answer is of a sequence of its own. Raises WrongAnswerError."""
    for session, answers in kept.items():
        whole = None if from_zero else reference.outputs(session, 0, max(at + len(answer) for at, answer in answers))
        for at, answer in answers:
            lone = reference.outputs(session, at, len(answer)) if whole is None else whole[at : at + len(answer)]
            if answer.tobytes() != lone.tobytes():
                raise WrongAnswerError(f"session {session}, step {at}: {answer.tolist()} is not {lone.tolist()}")
    return sum(len(answer) for answers in kept.values() for _, answer in answers)


def _records(samples: Path) -> Iterator[tuple[int, int, bytes]]:
    """Session, step and answer, one after another."""
    content, at = samples.read_bytes(), 0
    while at < len(content):
        step, session, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        yield session, step, content[at : at + size]
        at += size


def _decode(answer: bytes, load: Load) -> Array:
    if load.door == "stream":
        return np.frombuffer(answer, "<f4").reshape(load.length, -1)
    if load.raw:
        size = int(answer.split(b'"binary_data_size":')[1].split(b"}")[0])
        return np.frombuffer(answer[-size:], "<f4").reshape(load.length, -1)
    outputs = orjson.loads(answer)["outputs"]
    return np.array(outputs[0] if load.predict else outputs, np.float32)
