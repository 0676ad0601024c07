"""What an int8 file costs and brings beside the float32 file that it was made of: figures, speed and size, as text."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.card import FIGURES
from training.errors import VerificationError
from training.tasks import Figures
from training.verify import Exported

MAIN = ("capped_rmse", "mse_z", "pinball_z", "nll")  # less is better; the first that a task has is what it is judged by
RUNS, REPEATS = 100, 9
WORDS = """\
The layers compute in integers, weights of 7 bits and values of 8, by scales that were fitted on the training part; the
cell states, gates, encoder and head stay in float32. Speed is that of the machine which wrote this card.
"""

Floats = NDArray[np.float32]


def refuse_if_worse(before: Figures, after: Figures, tolerance: float) -> None:
    """Raise `VerificationError` where the main figure has grown by more than the share `tolerance`."""
    main = [name for name in MAIN if name in after][:1]
    for name in main or [name for name in after if name.endswith("_mse_z")]:  # outputs without a common unit: of each
        if not after[name] <= before[name] * (1 + tolerance):  # NaN is refused too
            raise VerificationError(
                f"int8 loses too much: {name} on the validation part is {after[name]:.5g}, in float32 it is "
                f"{before[name]:.5g} ({_change(before[name], after[name])}), and --tolerance {tolerance:g} allows "
                f"{tolerance:+.1%}; nothing was written. Allow more, or serve the float32 file"
            )


def steps_per_second(files: Sequence[bytes], x: Floats, rows: int) -> list[float]:
    """Return how many steps each file takes in a second, `rows` of x [N, F] at a time, one step a run; in turn."""
    inputs, lengths = np.resize(x, (rows, 1, x.shape[1])), np.ones(rows, np.int32)
    took: list[list[float]] = [[] for _ in files]
    loaded = [Exported(content) for content in files]
    for _ in range(REPEATS):
        for run, times in zip(loaded, took, strict=True):
            state = {name: np.zeros((rows, *shape), np.float32) for name, shape in run.state_shapes.items()}
            begin = time.perf_counter()
            for _ in range(RUNS):
                _, state = run(inputs, lengths, state)
            times.append(time.perf_counter() - begin)
    return [rows * RUNS / statistics.median(times) for times in took]


def section(metadata: Mapping[str, Any], before: bytes, after: bytes, x: Floats) -> str:
    """Return the card's words on both files, with their speed on this machine over x [N, F], as Markdown."""
    told, unit = metadata["quantised"], metadata["outputs"][0].get("unit", "")
    lines = [f"| | float32, version {told['version']} | this file, int8 | change |", "|---|---:|---:|---:|"]
    for part, two in told["figures"].items():
        for name in two["int8"]:
            label = FIGURES.get(name, name).format(unit=f", {unit}" if unit else "")
            lines.append(_line(f"{part}: {label}", two["float32"][name], two["int8"][name], ".5g"))
    for rows in (1, 64):
        float32, int8 = steps_per_second((before, after), x, rows)
        lines.append(_line(f"steps/s of one thread, batches of {rows}", float32, int8, ",.0f"))
    lines.append(_line("size, kB", len(before) / 1000, len(after) / 1000, ".0f"))
    return "\n".join(["## Quantised", "", WORDS, *lines, ""])


def _line(label: str, before: float, after: float, form: str) -> str:
    return f"| {label} | {before:{form}} | {after:{form}} | {_change(before, after)} |"


def _change(before: float, after: float) -> str:
    return f"{after / before - 1:+.1%}" if before else "–"
