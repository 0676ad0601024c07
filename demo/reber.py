"""Memory across a string: train → export → serve → stream 500 unseen strings of the embedded Reber grammar → score.

`python -m demo.reber [SEED]` (or `make demo-reber`). Everything it makes is under runs/demo. A string is right if after
each of its symbols exactly the legal next ones have p > 0.2.
"""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from rich.console import Console

from carousel_client import Client
from demo.server import server
from demo.stream import state_dropped, streamed
from demo.trained import trained
from training.data.dataset import load
from training.data.sources.reber import SYMBOLS, legal
from training.net.evaluate import Unseen, unseen
from training.recipe.read import read_recipe

_FOLDER = Path("runs/demo")
_RECIPE = read_recipe("reber")
_MODEL = _RECIPE.name
_LIKELY = 0.2  # a symbol above this probability is said to be possible
_FORGETFUL = 0.05  # share of strings: the model without its state must be below


def main() -> None:
    """Run the demonstration; exit with 1 unless every string is right with the state, and hardly any without."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    version = str(seed + 1)
    _FOLDER.mkdir(parents=True, exist_ok=True)
    console = Console()
    models = trained(_RECIPE, version, seed, _FOLDER, console)
    data = load(_RECIPE)
    streams = unseen(_RECIPE, data, data.test)
    strings = [spelt(one) for one in streams]
    with server(models, _FOLDER / "serve-reber.log") as url, Client(url) as client:
        console.print(f"[bold]Streaming[/] {len(strings)} strings, each a session of {url}")
        kept = share_right(strings, streamed(client, _MODEL, version, streams))
        dropped = share_right(strings, state_dropped(client, _MODEL, version, streams))
        seconds = time.time() - psutil.Process().create_time()
    console.print(f"Strings that occur in no training string, every next-symbol set right: [bold]{kept:.1%}[/]")
    console.print(f"The same with the state dropped at each symbol: [bold]{dropped:.1%}[/]")
    console.print(f"{seconds:.1f} s from start to score")
    good = kept == 1 and dropped < _FORGETFUL
    if not good:
        console.print(f"[red]FAILED: wanted 100 % with the state and less than {_FORGETFUL:.0%} without[/]")
    sys.exit(0 if good else 1)


def spelt(one: Unseen) -> str:
    """Return the symbols whose codes a stream sends."""
    return "".join(SYMBOLS[int(code)] for code in one.inputs[:, 0])


def share_right(strings: Iterable[str], outputs: Sequence[NDArray[np.float32]]) -> float:
    """Return the share of strings after each of whose symbols exactly the legal ones are likely; outputs [T, K]."""
    return sum(map(_right, strings, outputs)) / len(outputs)


def _right(string: str, outputs: NDArray[np.float32]) -> bool:
    likely = [{symbol for symbol, p in zip(SYMBOLS, row, strict=True) if p > _LIKELY} for row in outputs]
    return likely == [legal(string[: n + 1]) for n in range(len(string))]


if __name__ == "__main__":
    main()
