"""One row of the table of results: train → export → serve → stream the test part through the service → figures.

`python -m demo.measure RECIPE CELL SEED`, such as `metro-traffic gru 0`. `demo.results` runs it for every row.
"""

import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray

from carousel_client import Client
from demo.reber import share_right, spelt
from demo.rows import Result, Row, asked, code_sha256
from demo.server import server
from demo.stream import state_dropped, streamed
from training.data.dataset import Dataset, load
from training.net.evaluate import Unseen, scores, unseen
from training.recipe.recipe import Recipe
from training.tasks import Figures, task_of
from training.train import train

Outputs = Sequence[NDArray[np.float32]]


def main() -> None:
    """Measure a row, put it on file and print its figures."""
    name, cell, seed = sys.argv[1:]
    row = Row(name, cell, int(seed))
    result = measure(row)
    result.write(row)
    print(result.figures)


def measure(row: Row) -> Result:
    """Return what a row comes to. What it leaves, a model repository among it, lies in the row's folder."""
    recipe, version = row.told(), str(row.seed + 1)
    models = row.folder / "models"
    train(recipe, models, version, row.seed, runs=row.folder / "training")
    data = load(recipe)
    streams = unseen(recipe, data, data.test)
    with server(models, row.folder / "serve.log") as url, Client(url) as client:
        outputs = {"test": streamed(client, recipe.name, version, streams)}
        if row.cell != "feedforward":
            outputs["state_dropped"] = state_dropped(client, recipe.name, version, streams)
        seconds = time.time() - psutil.Process().create_time()
    return Result(
        asked(recipe),
        data.sha256,
        code_sha256(),
        figures(recipe, data, streams, outputs),
        round(seconds, 1),
        round(sum(map(_cpu_seconds, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))), 1),
        _machine(),
        str(date.today()),
    )


def figures(recipe: Recipe, data: Dataset, streams: list[Unseen], served: Mapping[str, Outputs]) -> dict[str, Figures]:
    """Return the figures of what was served, and of each baseline."""
    baselines = {name: [one.baselines[name] for one in streams] for name in streams[0].baselines}
    found = scores(task_of(recipe, data), streams, {**served} | baselines)
    if recipe.data.source == "reber":
        for whose, outputs in served.items():
            found[whose]["strings_right"] = share_right(map(spelt, streams), outputs)
    return found


def _cpu_seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _machine() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {psutil.cpu_count()} cores"


if __name__ == "__main__":
    main()
