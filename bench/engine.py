"""How much of the model's own speed the engine keeps: `make bench` prints a table and appends it to bench/RESULTS.md.

The floor is the bare model, its state fed back, at the same batch; both on one pinned core, in turn, in one process, on
the loop that the server uses.
"""

import asyncio
import os
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import numpy as np
import uvloop

from service.engine import BATCH, CHUNK, Engine
from service.gate import Gate
from service.model import OnnxModel
from service.replay import Budget
from service.selftest import examine
from service.sessions import Sessions

_MODEL = Path("models/metro-traffic/1/model.onnx")
_RESULTS = Path(__file__).parent / "RESULTS.md"
_ROWS, _ROUNDS, _REPEATS = 64, 500, 5


def floor(model: OnnxModel) -> float:
    """Steps/s of the bare model at B = 64, T = 1."""
    inputs = np.ones((_ROWS, 1, model.features), np.float32)
    state = {name: np.zeros((_ROWS, *shape), np.float32) for name, shape in model.state_shapes.items()}
    lengths = np.ones(_ROWS, np.int32)
    begin = time.perf_counter()
    for _ in range(_ROUNDS):
        _, state = model.run(inputs, lengths, state)
    return _ROWS * _ROUNDS / (time.perf_counter() - begin)


async def engine(model: OnnxModel) -> float:
    """Steps/s of the engine with 64 sessions, each stepping as soon as all are answered, step numbers checked."""
    sessions = Sessions(Budget(each=4, most_bytes=2**28), most=1000, most_bytes=2**30)
    served = Engine(model, examine(model, chunk=CHUNK, batch=BATCH), sessions, Gate(most_rows=1000, most_bytes=2**28))
    loop = asyncio.create_task(served.run())
    streams = [served.open_now(None, 3600) for _ in range(_ROWS)]
    inputs = np.ones((1, model.features), np.float32)
    begin = time.perf_counter()
    for step in range(_ROUNDS):
        await asyncio.gather(*(served.step(one, inputs, step) for one in streams))
    took = time.perf_counter() - begin
    loop.cancel()
    return _ROWS * _ROUNDS / took


def main() -> None:
    """Measure both in turn, five times."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model = OnnxModel(_MODEL)
    pairs = [(floor(model), uvloop.run(engine(model))) for _ in range(_REPEATS)]
    ratios = [reached / bare for bare, reached in pairs]
    rows = [f"\n## {date.today()}: the engine in process, {_MODEL.parent.parent.name}, B = {_ROWS}, T = 1\n"]
    rows.append(
        f"`make bench`; {platform.processor() or platform.machine()}, Python {platform.python_version()}, one core,"
    )
    rows.append(f"{_REPEATS} pairs of {_ROUNDS} rounds.\n")
    rows.append("| | median | min | max |\n|---|---:|---:|---:|")
    for name, values in (
        ("bare model, steps/s", [bare for bare, _ in pairs]),
        ("engine, steps/s", [r for _, r in pairs]),
    ):
        rows.append(f"| {name} | {statistics.median(values):,.0f} | {min(values):,.0f} | {max(values):,.0f} |")
    rows.append(f"| ratio | {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} |")
    text = "\n".join(rows)
    print(text)
    with _RESULTS.open("a") as results:
        results.write(text + "\n")


if __name__ == "__main__":
    main()
