"""Run a recipe from its data to a verified model file, its card and its report."""

import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import TypeVar

from training.data.dataset import Dataset, load, rows
from training.data.outside import outside
from training.errors import RecipeError
from training.file.card import write_card
from training.file.contract import Description, read_metadata
from training.file.export import export
from training.file.verdict import Verdict
from training.net.evaluate import flat, forecasts, scores, unseen
from training.net.hardware import PLAIN, Hardware, is_first
from training.net.learn import learn
from training.net.memory_horizon import memory_horizon
from training.net.networks import Network
from training.recipe.recipe import Recipe
from training.report.fitted import Fitted
from training.report.report import write_report
from training.runs import RUNS, begin, end, folder_of
from training.tasks import Task, task_of

T = TypeVar("T")


def train(
    recipe: Recipe,
    models: Path,
    version: str = "1",
    seed: int = 0,
    *,
    given: str = "",
    runs: Path = RUNS,
    resume: bool = False,
    feedforward: bool = False,
    hardware: Hardware = PLAIN,
) -> Path:
    """Train, verify, and write NAME/`version`/{model.onnx,card.md} under `models`; return the model's path.

    Report, curves and checkpoints are written to `runs`. `given` is how the user named the recipe, for the command on
    the card. `feedforward` trains a feedforward network of the same size too, as a baseline. Of several processes, only
    the first exports.

    Raises:
        TrainingError: the recipe, the data or the exported file is not valid.

    """
    path, folder = models / recipe.name / version / "model.onnx", folder_of(recipe, version, seed, runs)
    data = load(recipe)
    task = task_of(recipe, data)
    _check_names(recipe, data, task)
    if is_first():
        begin(folder, recipe, data, seed, resume)
    network, rival = learn(recipe, data, seed, folder, resume=resume, hardware=hardware), None
    if feedforward:  # of the same size, on the same windows
        plain = recipe.changed(network={"cell": "feedforward", "bidirectional": False}, training={"carry": False})
        rival = learn(plain, data, seed, folder / "feedforward", hardware=hardware)
    if is_first():
        options = " --feedforward" if feedforward else ""
        command = f"carousel-train fit {quote(given or recipe.name)} --version {version} --seed {seed}{options}"
        command = hardware.command(command)
        fit = _exported(recipe, data, task, network=network, rival=rival, path=path, command=command)
        end(folder, fit.metadata)
        write_card(path, recipe, fit.command)
        _spared("the report", lambda: write_report(folder, fit), None)
    return path


def _exported(
    recipe: Recipe, data: Dataset, task: Task, *, network: Network, rival: Network | None, path: Path, command: str
) -> Fitted:
    """Judge a network on both parts, `rival` among its baselines, and write its file."""
    streams = {part: unseen(recipe, data, getattr(data, part)) for part in ("validation", "test")}
    outputs = {part: forecasts(network.run, own) for part, own in streams.items()}
    if rival is not None:
        for part, own in streams.items():
            outputs[part]["feedforward"] = forecasts(rival.run, own)["test"]
    measured = {part: scores(task, own, outputs[part]) for part, own in streams.items()}
    features = tuple(replace(one, range=network.encoder.range(j)) for j, one in enumerate(data.features))
    description = Description(
        task=recipe.task.kind,
        recipe=recipe.name,
        cell=network.cell,
        features=features,
        outputs=task.outputs,
        data_sha256=data.sha256,
        metrics=flat(measured["validation"], "validation") | flat(measured["test"]),
        streamable=network.streamable,
        memory_horizon=_spared("the memory horizon", lambda: memory_horizon(network, data.test), None),
        verdict=asdict(Verdict.of(recipe.task, measured, [asdict(one) for one in task.outputs])),
        outside=outside(features, rows(data.test)),
        fitted={"prior": task.prior.tolist()} | {key: value.tolist() for key, value in data.answers._asdict().items()},
        recipe_toml=recipe.toml(),
    )
    export(network, description, rows(data.validation), path)
    return Fitted(recipe, data, network, task, streams["test"], outputs["test"], read_metadata(path), command)


def _check_names(recipe: Recipe, data: Dataset, task: Task) -> None:
    """Refuse names that a server would refuse: two inputs or two outputs with the same one."""
    for what, names in (
        ("inputs", [one.name for one in data.features]),
        ("outputs", [one.name for one in task.outputs]),
    ):
        for name in names:
            if names.count(name) > 1:
                hint = "; missing = 'mask' adds NAME_missing: rename that column" if name.endswith("_missing") else ""
                raise RecipeError(f"{recipe.name}: two {what} are named {name!r}{hint}; rename or remove one")


def _spared(what: str, measure: Callable[[], T], otherwise: T) -> T:
    """Return a side measurement; an error in it becomes a warning, because the training is finished."""
    try:
        return measure()
    except Exception:
        warnings.warn(f"{what} is missing, the model is not:\n{traceback.format_exc()}", stacklevel=3)
        return otherwise
