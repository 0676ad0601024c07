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
from training.net.evaluate import flat, scores, unseen
from training.net.hardware import PLAIN, Hardware, is_first
from training.net.learn import learn
from training.net.memory_horizon import memory_horizon
from training.net.networks import Network
from training.recipe.recipe import Recipe
from training.recipe.write import to_toml
from training.report.fitted import Fitted
from training.report.report import write_report
from training.runs import RUNS, begin, end, folder_of
from training.tasks import Figures, Task, task_of

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
    data = load(recipe)
    task, folder = task_of(recipe, data), folder_of(recipe, version, seed, runs)
    _check_names(recipe, data, task)
    if is_first():
        begin(folder, recipe, data, seed, resume)
    network = learn(recipe, data, seed, folder, resume=resume, hardware=hardware)
    others = {"feedforward": _feedforward(recipe, data, seed, folder, hardware)} if feedforward else {}
    path = models / recipe.name / version / "model.onnx"
    if not is_first():
        return path
    export(network, _description(recipe, data, task, network, others), rows(data.validation), path)
    options = " --feedforward" if feedforward else ""
    command = f"carousel-train fit {quote(given or recipe.name)} --version {version} --seed {seed}{options}"
    metadata = read_metadata(path)
    end(folder, metadata)
    write_card(path, recipe, command := hardware.command(command))
    fit = Fitted(recipe, data, network, unseen(recipe, data, data.test), metadata, command)
    _spared("the report", lambda: write_report(folder, fit), None)
    return path


def _description(
    recipe: Recipe, data: Dataset, task: Task, network: Network, others: dict[str, Network]
) -> Description:
    """Return what the file says of itself, with the figures of both parts and the verdict."""
    measured = {part: _scores(recipe, data, part, network, others) for part in ("validation", "test")}
    features = tuple(replace(one, range=network.encoder.range(j)) for j, one in enumerate(data.features))
    return Description(
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
        recipe_toml=to_toml(recipe),
    )


def _scores(
    recipe: Recipe, data: Dataset, part: str, network: Network, others: dict[str, Network]
) -> dict[str, Figures]:
    """Return the scores of a part; those of other networks as baselines."""
    task, streams = task_of(recipe, data), unseen(recipe, data, getattr(data, part))
    own = scores(network.run, task, streams)
    return own | {name: scores(other.run, task, streams)["test"] for name, other in others.items()}


def _feedforward(recipe: Recipe, data: Dataset, seed: int, folder: Path, hardware: Hardware) -> Network:
    """Train a feedforward network of the same size on the same windows."""
    plain = recipe.changed(network={"cell": "feedforward", "bidirectional": False}, training={"carry": False})
    return learn(plain, data, seed, folder / "feedforward", hardware=hardware)


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
