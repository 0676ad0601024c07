"""What int8 brings: `python -m bench.int8` prints two tables and appends them to bench/RESULTS.md.

First the products alone, with whether their sums are right where weights take all 8 bits; then whole LSTMs, float32 and
int8 of the same random weights. Everything on one pinned core, in one process, in turn.
"""

import os
import time
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from bench.models import SIZES, Size, build
from bench.report import machine, spread
from training.file.int8 import in_int8
from training.file.verify import Exported

import onnxruntime as ort  # isort: skip — after `verify`, which turns its telemetry off

_RESULTS = Path(__file__).parent / "RESULTS.md"
_SECONDS, _REPEATS = 0.3, 7
_KERNELS = {  # type of the input, of the weight, the largest weight
    "float32": (np.float32, np.float32, 127),
    "uint8 · int8 of 7 bits": (np.uint8, np.int8, 64),
    "uint8 · int8": (np.uint8, np.int8, 127),
    "uint8 · uint8": (np.uint8, np.uint8, 127),
    "int8 · int8": (np.int8, np.int8, 127),
}


def in_turn(runs: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of a run, several times each, the first of them against which the others are compared in each round."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(_REPEATS):
        for name, run in runs.items():
            count, begin = 0, time.perf_counter()
            while (now := time.perf_counter()) < begin + _SECONDS:
                run()
                count += 1
            took[name].append((now - begin) / count)
    return took


def product(kind: str, rows: int, K: int, N: int) -> tuple[Callable[[], object], bool]:
    """A product [rows, K] · [K, N] in ONNX Runtime, and whether it is what NumPy makes of the same integers."""
    of_x, of_w, largest = _KERNELS[kind]
    rng = np.random.default_rng(0)
    x, w = rng.integers(-127, 128, (rows, K)), rng.integers(-largest, largest + 1, (K, N))
    zeros = {name: np.array(128 * (of == np.uint8), of) for name, of in (("x0", of_x), ("w0", of_w))}
    given = {"x": (x + int(zeros["x0"])).astype(of_x)}
    constants = {"w": (w + int(zeros["w0"])).astype(of_w)}
    whole = of_x != np.float32
    node = helper.make_node("MatMulInteger" if whole else "MatMul", ["x", "w", *(zeros if whole else ())], ["y"])
    kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(of)) for of in (of_x, np.int32 if whole else np.float32)]
    inputs = [helper.make_tensor_value_info("x", kinds[0], ["rows", K])]
    outputs = [helper.make_tensor_value_info("y", kinds[1], ["rows", N])]
    stored = [numpy_helper.from_array(value, name) for name, value in (constants | (zeros if whole else {})).items()]
    graph = helper.make_graph([node], "product", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    right = np.array_equal(session.run(None, given)[0].astype(np.float64), x.astype(np.float64) @ w)
    return lambda: session.run(None, given), right


def products() -> list[str]:
    """One line for each kind and size, rows as in a batch of 1 and of 64."""
    lines = ["| product, B = 1 and 64 | sums right | µs, B = 1 | times as fast | µs, B = 64 | times as fast |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for H in (size.hidden for size in SIZES.values()):
        made = {rows: {kind: product(kind, rows, H, 4 * H) for kind in _KERNELS} for rows in (1, 64)}
        took = {rows: in_turn({kind: run for kind, (run, _) in own.items()}) for rows, own in made.items()}
        for kind in _KERNELS:
            cells = [f"[B, {H}] · [{H}, {4 * H}], {kind}", "yes" if all(made[r][kind][1] for r in made) else "**no**"]
            for own in took.values():
                cells += [spread([s * 1e6 for s in own[kind]]), ratio(own["float32"], own[kind])]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def feeds(size: Size, B: int, T: int) -> tuple[NDArray[np.float32], NDArray[np.int32], dict[str, NDArray[np.float32]]]:
    """Inputs and states of B rows, T steps each."""
    rng = np.random.default_rng(0)
    state = {
        f"{s}{k}": rng.uniform(-0.5, 0.5, (B, size.hidden)).astype(np.float32) for k in range(size.layers) for s in "hc"
    }
    return rng.uniform(-3, 3, (B, T, size.inputs)).astype(np.float32), np.full(B, T, np.int32), state


def networks() -> list[str]:
    """One line for each size, batch and length."""
    lines = ["| LSTM | float32, steps/s | int8, steps/s | times as fast |", "|---|---:|---:|---:|"]
    for name, size in SIZES.items():
        model = build(size, name, seed=0)
        loaded = {
            "float32": Exported(model.SerializeToString()),
            "int8": Exported(in_int8(model, 3.0).SerializeToString()),
        }
        for B, T in ((1, 1), (64, 1), (1, 32), (64, 32)):
            given = feeds(size, B, T)
            took = in_turn({kind: partial(run, *given) for kind, run in loaded.items()})
            speeds = [spread([B * T / s for s in own]) for own in took.values()]
            cells = [f"{name}, B = {B}, T = {T}", *speeds, ratio(took["float32"], took["int8"])]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return lines


def ratio(base: list[float], other: list[float]) -> str:
    """How many times as fast as the base, round by round."""
    return spread([one / two for one, two in zip(base, other, strict=True)])


def main() -> None:
    """Measure both, print them and append them."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    where = f"{machine()}, onnxruntime {ort.__version__}, one core"
    how = f"{where}; {_REPEATS} rounds of {_SECONDS:g} s each, median [least–most]."
    text = "\n".join([f"\n## {date.today()}: `python -m bench.int8`\n", how, "", *networks(), "", *products()])
    print(text)
    with _RESULTS.open("a") as results:
        results.write(text + "\n")


if __name__ == "__main__":
    main()
