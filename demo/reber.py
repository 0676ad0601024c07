"""Memory across a string: train → export → serve → stream 500 unseen strings of the embedded Reber grammar → score.

`python -m demo.reber [SEED]` (or `make demo-reber`). Everything it makes is under runs/demo. A string is right if after
each of its symbols exactly the legal next ones have p > 0.2.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from rich.console import Console

from carousel_client import Client
from demo.server import server
from training.dataset import load
from training.evaluate import task_of, unseen
from training.parse import read_recipe
from training.sources.reber import legal
from training.train import train

_FOLDER = Path("runs/demo")
_RECIPE = read_recipe("reber")
_MODEL = _RECIPE.name
_LIKELY = 0.2  # a symbol above this probability is said to be possible
_FORGETFUL = 0.05  # share of strings: the model without its state must be below

Rows = Mapping[str, NDArray[np.float32]]  # string, its last symbol left out → one row [T, F] or [T, K] a symbol


def main() -> None:
    """Run the demonstration; exit with 1 unless every string is right with the state, and hardly any without."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    version = str(seed + 1)
    _FOLDER.mkdir(parents=True, exist_ok=True)
    console = Console()
    models = _trained(console, version, seed)
    strings, symbols = _unseen()
    with server(models, _FOLDER / "serve-reber.log") as url, Client(url) as client:
        console.print(f"[bold]Streaming[/] {len(strings)} strings, each a session of {url}")
        streamed = share_right(_streamed(client, strings, version), symbols)
        dropped = share_right(_without_state(client, strings, version), symbols)
        seconds = time.time() - psutil.Process().create_time()
    console.print(f"Strings that occur in no training string, every next-symbol set right: [bold]{streamed:.1%}[/]")
    console.print(f"The same with the state dropped at each symbol: [bold]{dropped:.1%}[/]")
    console.print(f"{seconds:.1f} s from start to score")
    good = streamed == 1 and dropped < _FORGETFUL
    if not good:
        console.print(f"[red]FAILED: wanted 100 % with the state and less than {_FORGETFUL:.0%} without[/]")
    sys.exit(0 if good else 1)


def share_right(outputs: Rows, symbols: tuple[str, ...]) -> float:
    """Return the share of strings after each of whose symbols exactly the legal ones are likely."""

    def right(string: str, rows: NDArray[np.float32]) -> bool:
        likely = [{symbol for symbol, p in zip(symbols, row, strict=True) if p > _LIKELY} for row in rows]
        return likely == [legal(string[: n + 1]) for n in range(len(string))]

    return sum(right(string, rows) for string, rows in outputs.items()) / len(outputs)


def _trained(console: Console, version: str, seed: int) -> Path:
    """The model repository of the demonstration; a version is trained now unless it was before."""
    models = _FOLDER / "models"
    file = models / _MODEL / version / "model.onnx"
    if file.exists():
        console.print(f"[bold]Reusing[/] {file}; remove {_FOLDER} to train again.")
    else:
        console.print(f"[bold]Training[/] {_MODEL} with seed {seed} …")
        train(_RECIPE, models, version, seed, runs=_FOLDER / "training")
        console.print(f"[bold]Exported[/] and verified {file} ({file.stat().st_size / 1000:.0f} kB)")
    return models


def _unseen() -> tuple[Rows, tuple[str, ...]]:
    """The test strings as rows of codes, and the symbols that codes and outputs stand for."""
    data = load(_RECIPE)
    symbols = tuple(output.name for output in task_of(_RECIPE, data).outputs)
    streams = unseen(_RECIPE, data, data.test)
    return {"".join(symbols[int(code)] for code in one.inputs[:, 0]): one.inputs for one in streams}, symbols


def _streamed(client: Client, strings: Rows, version: str) -> Rows:
    """The outputs of each string, streamed symbol by symbol through a session of its own, all sessions side by side."""
    ids = {string: f"reber-{version}-{index}" for index, string in enumerate(strings)}
    outputs: dict[str, list[NDArray[np.float32]]] = {string: [] for string in strings}
    for step in range(max(map(len, strings))):
        now = [string for string in strings if step < len(string)]
        items = [(ids[string], strings[string][step : step + 1], step) for string in now]
        answers = client.steps(_MODEL, items, open=step == 0, version=version)
        for string, answer in zip(now, answers, strict=True):
            if answer.outputs is None:
                raise answer.error or RuntimeError(f"session {answer.session} gave no outputs")
            outputs[string].append(answer.outputs[0])
    return {string: np.stack(rows) for string, rows in outputs.items()}


def _without_state(client: Client, strings: Rows, version: str) -> Rows:
    """The outputs of each string, each of its symbols alone from the zero state."""
    alone = [row[np.newaxis] for rows in strings.values() for row in rows]  # [1, F]
    outputs = np.concatenate(client.predict(_MODEL, alone, version))  # [N, K]
    ends = np.cumsum([len(rows) for rows in strings.values()])
    return dict(zip(strings, np.split(outputs, ends[:-1]), strict=True))


if __name__ == "__main__":
    main()
