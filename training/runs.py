"""Folders of training runs: one for each recipe, version and seed; what each began with, and how it ended."""

import json
from collections.abc import Mapping
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from training.data.dataset import Dataset
from training.errors import RecipeError
from training.file.verdict import HIGHER
from training.recipe.recipe import Recipe

RUNS = Path("runs")
BEGUN, ENDED = "recipe.json", "result.json"


def folder_of(recipe: Recipe, version: str, seed: int, runs: Path = RUNS) -> Path:
    """Return the folder of a run: `runs`/NAME/VERSION, with another seed than 0 VERSION-seed-SEED."""
    return runs / recipe.name / (f"{version}-seed-{seed}" if seed else version)


def begin(folder: Path, recipe: Recipe, data: Dataset, seed: int, resume: bool) -> None:
    """Write recipe, data hash and seed to a run's folder; refuse to resume a run that began with others."""
    note = folder / BEGUN
    now = {"seed": seed, "data": data.sha256, "recipe": recipe.model_dump(mode="json", exclude={"folder"})}
    if resume and note.exists() and _read(note) != now:
        raise RecipeError(f"{folder} was begun with another recipe, data or seed; fit it without --resume")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ENDED).unlink(missing_ok=True)
    note.write_text(json.dumps(now, indent=1), encoding="utf-8")


def end(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write how a run ended."""
    result = {key: metadata[key] for key in ("cell", "metrics", "verdict")}
    (folder / ENDED).write_text(json.dumps(result, indent=1), encoding="utf-8")


def kept_epoch(curves: list[dict[str, float]]) -> int:
    """Return the index of the epoch whose network is kept: the one with the lowest validation loss."""
    losses = [one["validation_loss"] for one in curves]
    return int(np.argmin([loss if isfinite(loss) else inf for loss in losses]))


def listing(runs: Path) -> Table:
    """Return a table of the finished runs, by recipe, then by their main figure on the validation part, best first."""
    table = Table("recipe", "run", "network", "epoch", "figure", "validation", "test", "verdict")
    notes = [note.parent for note in runs.glob(f"*/*/{ENDED}")]
    found = [(_read(folder / BEGUN)["recipe"], _read(folder / ENDED), folder) for folder in notes]
    for recipe, result, folder in sorted(found, key=lambda one: (one[0]["name"], _rank(one[1]))):
        size, main = recipe["network"], result["verdict"]["figure"]
        network = f"{result['cell']} {size['layers']} × {size['hidden']}"
        epoch = kept_epoch(_read(folder / "curves.json")) + 1
        figures = (result["metrics"].get(f"{part}_{main}") for part in ("validation", "test"))
        shown = ["–" if value is None else f"{value:.4g}" for value in figures]
        verdict = {True: "better", False: "not better", None: "–"}[result["verdict"]["better"]]
        table.add_row(recipe["name"], folder.name, network, str(epoch), main, *shown, verdict)
    return table


def _rank(result: dict[str, Any]) -> float:
    main = result["verdict"]["figure"]
    value = float(result["metrics"].get(f"validation_{main}", inf))
    return -value if main in HIGHER else value


def _read(note: Path) -> Any:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{note}: cannot be read ({error}); remove its folder, or fit without --resume") from None
