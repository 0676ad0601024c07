"""The floor of the model: ONNX Runtime in a loop, one thread, its states fed back. `python -m bench.floor FILE B S`."""

import os
import sys
import time
from pathlib import Path

import numpy as np

from bench.inputs import pool

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: afterwards it is too late
import onnxruntime as ort


def steps_per_second(model: Path, batch: int, seconds: float) -> float:
    """Steps/s of B rows, T = 1, after a tenth of the time to warm up."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shapes = {node.name: node.shape[1:] for node in session.get_inputs() if node.name.startswith("state.")}
    rows = pool(session.get_inputs()[0].shape[2])
    batches = [rows[at : at + batch, None] for at in range(0, len(rows), batch)]
    feeds = {name: np.zeros((batch, *shape), np.float32) for name, shape in shapes.items()}
    feeds["lengths"] = np.ones(batch, np.int32)
    names = ["output", *(f"next_{name}" for name in shapes)]
    runs, begin = 0, time.perf_counter() + seconds / 10
    while (now := time.perf_counter()) < begin + seconds:
        _, *after = session.run(names, feeds | {"input": batches[runs % len(batches)]})
        feeds |= dict(zip(shapes, after, strict=True))
        runs += now >= begin
    return batch * runs / (now - begin)


if __name__ == "__main__":
    print(steps_per_second(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
