"""Run a recipe from its data to a verified model file, its card and its report."""

import json
import traceback
import warnings
from pathlib import Path
from shlex import quote

from training.data.dataset import Dataset, load, rows
from training.errors import RecipeError
from training.file.card import write_card
from training.file.contract import Description, read_metadata
from training.file.export import export
from training.net.evaluate import flat, scores, unseen
from training.net.hardware import PLAIN, Hardware, is_first
from training.net.learn import learn
from training.net.memory_horizon import memory_horizon
from training.recipe.recipe import Recipe
from training.report.fitted import Fitted
from training.report.report import write_report
from training.tasks import task_of

RUNS = Path("runs")


def train(
    recipe: Recipe,
    models: Path,
    version: str = "1",
    seed: int = 0,
    *,
    given: str = "",
    runs: Path = RUNS,
    resume: bool = False,
    hardware: Hardware = PLAIN,
) -> Path:
    """Train, verify, and write NAME/`version`/{model.onnx,card.md} under `models`; return the model's path.

    Report, curves and checkpoints are written to `runs`. `given` is how the user named the recipe, for the command on
    the card. Of several processes, only the first exports.

    Raises:
        TrainingError: the recipe, the data or the exported file is not valid.

    """
    data = load(recipe)
    folder = runs / recipe.name / version
    _note_run(recipe, data, seed, folder, resume)
    network = learn(recipe, data, seed, folder, resume=resume, hardware=hardware)
    path = models / recipe.name / version / "model.onnx"
    if not is_first():
        return path
    task, streams = task_of(recipe, data), unseen(recipe, data, data.test)
    description = Description(
        task=recipe.task.kind,
        recipe=recipe.name,
        cell=network.cell,
        features=data.features,
        outputs=task.outputs,
        data_sha256=data.sha256,
        metrics=flat(scores(network.run, task, streams)),
        streamable=network.streamable,
        memory_horizon=memory_horizon(network, data.test),
    )
    export(network, description, rows(data.validation), path)
    command = hardware.command(f"carousel-train fit {quote(given or recipe.name)} --version {version} --seed {seed}")
    write_card(path, recipe, command)
    _report(folder, Fitted(recipe, data, network, streams, read_metadata(path), command))
    return path


def _report(folder: Path, fit: Fitted) -> None:
    """Write the report. An error in it becomes a warning, because the model is already written."""
    try:
        write_report(folder, fit)
    except Exception:
        warnings.warn(f"the model is written, its report is not:\n{traceback.format_exc()}", stacklevel=3)


def _note_run(recipe: Recipe, data: Dataset, seed: int, folder: Path, resume: bool) -> None:
    """Write recipe, data hash and seed to recipe.json; refuse to resume a run that began with others."""
    if not is_first():
        return
    note = folder / "recipe.json"
    now = {"seed": seed, "data": data.sha256, "recipe": recipe.model_dump(mode="json", exclude={"folder"})}
    if resume and note.exists() and json.loads(note.read_text(encoding="utf-8")) != now:
        raise RecipeError(f"{folder} was begun with another recipe, data or seed; fit it without --resume")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(now, indent=1), encoding="utf-8")
