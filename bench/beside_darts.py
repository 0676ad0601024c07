"""The recipe metro-traffic by `carousel-train fit` and by darts' RNNModel("LSTM"): accuracy and processor seconds.

`python -m bench.beside_darts PYTHON`, the Python of a venv that has darts and pytorch-lightning. It prints a table and
appends it to bench/RESULTS.md. Each fit is a process of its own, on one thread.
"""

import os
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.report import machine, spread
from training.data.dataset import Dataset, load
from training.file.contract import read_metadata
from training.net.learn import build
from training.recipe.read import read_recipe

_RESULTS = Path(__file__).parent / "RESULTS.md"
_PEER = Path(__file__).parent / "darts_peer.py"
_SEEDS = range(3)
_ONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PARTS, FIGURES = ("validation", "test"), ("mse_z", "mae")


def _cpu(command: list[str | Path], folder: Path) -> float:
    """Run a process to its end; return the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (folder / "log").open("ab") as log:
        subprocess.run(command, cwd=folder, env=os.environ | _ONE, stdout=log, stderr=log, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(seed: int, folder: Path) -> dict[str, float]:
    """Return the figures of a fit."""
    train = Path(sys.executable).with_name("carousel-train")
    seconds = _cpu([train, "fit", "metro-traffic", "--seed", str(seed)], folder)
    metrics = read_metadata(folder / "models/metro-traffic/1/model.onnx")["metrics"]
    return {f"{part}_{figure}": metrics[f"{part}_{figure}"] for part in PARTS for figure in FIGURES} | {"cpu": seconds}


def arrays(data: Dataset) -> dict[str, Any]:
    """Return what darts gets: the same rows, scaled and held within the same limit, codes as ones and zeros."""
    encoder, sequence = build(read_recipe("metro-traffic"), data).encoder, data.test[0].sequence
    raw = sequence.inputs
    mean, scale = encoder.mean.numpy(), encoder.scale.numpy()
    numbers = np.clip((raw[:, encoder.numbers] - mean) * scale, -encoder.limit, encoder.limit)
    codes = [raw[:, [j]] == np.array(data.features[j].codes) for j in encoder.categories]
    return {
        "y": numbers[:, 0],  # the target, with its gaps filled
        "x": np.concatenate([numbers[:, 1:], *codes], axis=1),
        "counted": ~np.isnan(sequence.targets[:, 0]),
        "parts": [data.validation[0].first, data.test[0].first, data.test[0].stop],
    }


def theirs(python: str, seed: int, data: Dataset, folder: Path) -> dict[str, float]:
    """Return the figures of a fit by darts, judged as ours are."""
    given = arrays(data)
    np.savez(folder / "given.npz", **given)
    words: list[str | Path] = [python, "-P", _PEER, "given.npz", str(seed), "answers.npz"]
    seconds = _cpu(words, folder)
    answers = np.load(folder / "answers.npz")
    validation, test, end = given["parts"]
    forecast = answers["y"].reshape(-1) * data.inputs.std[0] + data.inputs.mean[0]
    truth = data.test[0].sequence.targets[validation:end, 0]
    found = {"cpu": seconds, "fit": float(answers["seconds"][0]), "forecast": float(answers["seconds"][1])}
    for part, rows in (("validation", slice(0, test - validation)), ("test", slice(test - validation, None))):
        error = forecast[rows] - truth[rows]
        mse = float(np.nanmean((error / data.answers.std[0]) ** 2))
        found |= {f"{part}_mse_z": mse, f"{part}_mae": float(np.nanmean(abs(error)))}
    return found


def main() -> None:
    """Measure and append."""
    python, data = sys.argv[1], load(read_recipe("metro-traffic"))
    found: dict[str, list[dict[str, float]]] = {"`carousel-train fit`": [], "darts' `RNNModel`": []}
    for seed in _SEEDS:
        with TemporaryDirectory() as folder:
            for whose, one in zip(
                found, (ours(seed, Path(folder)), theirs(python, seed, data, Path(folder))), strict=True
            ):
                found[whose].append(one)
                print(whose, seed, one, flush=True)
    keys = [f"{part}_{figure}" for part in PARTS for figure in FIGURES]
    rows = [
        f"| {whose} | {' | '.join(spread([one[key] for one in these]) for key in [*keys, 'cpu'])} |"
        for whose, these in found.items()
    ]
    fit, forecast = (spread([one[key] for one in found["darts' `RNNModel`"]]) for key in ("fit", "forecast"))
    text = f"""
## {date.today()}: metro-traffic, beside darts

`python -m bench.beside_darts PYTHON`; {machine()}, one thread, seeds 0 to 2,
median [least–most]; processor seconds of the whole process, while other work ran on the machine.
Of darts' {fit} were its `fit`, {forecast} its `historical_forecasts` of both parts;
ours also verify the file and draw the report.

| | validation: MSE z-scored | MAE, vehicles/h | test: MSE z-scored | MAE, vehicles/h | CPU s |
|---|---|---|---|---|---|
""" + "\n".join(rows)
    print(text)
    with _RESULTS.open("a", encoding="utf-8") as results:
        results.write(text + "\n")


if __name__ == "__main__":
    main()
