"""One recipe from its data to a verified file and its card: the one place that knows every step of the way."""

import json
import traceback
import warnings
from pathlib import Path
from shlex import quote

import numpy as np

from training.batches import carried, in_order, shuffled, streams, windows
from training.card import write_card
from training.contract import Description, read_metadata
from training.dataset import Dataset, load
from training.errors import RecipeError, TableError
from training.evaluate import flat, scores, task_of, unseen, warm_up
from training.export import export
from training.fit import fit
from training.fitted import Fitted
from training.gradients import memory_horizon
from training.hardware import PLAIN, Hardware, is_first
from training.networks import Encoder, Feedforward, Network, Recurrent
from training.recipe import Recipe
from training.report import write_report

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
    """Train, verify, write NAME/`version`/{model.onnx,card.md} under `models`; return the model's path.

    What else a fit leaves, report.html among it, lies under `runs`. `given` is what the recipe was asked for by, for
    the card: a path, or else its name.

    Of many processes all train, and only the first goes on to the file.

    Raises:
        TrainingError: the recipe, the data or the exported file is not what it should be.

    """
    data = load(recipe)
    folder = runs / recipe.name / version
    _same_run(recipe, data, seed, folder, resume)
    network = learn(recipe, data, seed, folder, resume=resume, hardware=hardware)
    path = models / recipe.name / version / "model.onnx"
    if not is_first():
        return path
    task = task_of(recipe, data)
    streamed = unseen(recipe, data, data.test)
    measured = scores(network, task, streamed)
    sample = np.concatenate([stretch.sequence.inputs[stretch.steps] for stretch in data.validation])
    export(network, describe(recipe, data, network, flat(measured)), sample, path)
    command = hardware.command(f"carousel-train fit {quote(given or recipe.name)} --version {version} --seed {seed}")
    write_card(path, recipe, command)
    _report(folder, Fitted(recipe, data, network, streamed, read_metadata(path), command))
    return path


def learn(
    recipe: Recipe, data: Dataset, seed: int, folder: Path, *, resume: bool = False, hardware: Hardware = PLAIN
) -> Network:
    """Return the trained network of a recipe."""
    how = recipe.training
    cut = windows(data.training, how)
    if not cut:
        raise TableError(f"{recipe.name}: no window of the training part has an answer that counts")
    batches = carried(data.training, how) if how.carry else shuffled(cut, how.batch)
    validation = in_order(streams(data.validation, warm_up(recipe)), how.batch)
    return fit(
        lambda: build(recipe, data),
        batches,
        validation,
        how=how,
        seed=seed,
        folder=folder,
        resume=resume,
        hardware=hardware,
    )


def build(recipe: Recipe, data: Dataset) -> Network:
    """Return the untrained network of a recipe."""
    size = recipe.network
    encoder = Encoder(data.features, data.inputs, table_width=size.table_width, limit=size.limit)
    head = task_of(recipe, data).head(size.hidden * (1 + size.bidirectional))
    if size.cell == "feedforward":
        return Feedforward(encoder, head, hidden=size.hidden, layers=size.layers, dropout=size.dropout)
    return Recurrent(
        encoder,
        head,
        cell=size.cell,
        hidden=size.hidden,
        layers=size.layers,
        dropout=size.dropout,
        bidirectional=size.bidirectional,
    )


def describe(recipe: Recipe, data: Dataset, network: Network, metrics: dict[str, float]) -> Description:
    """Return what the file says of itself."""
    return Description(
        task=recipe.task.kind,
        recipe=recipe.name,
        cell=network.cell,
        features=data.features,
        outputs=task_of(recipe, data).outputs,
        data_sha256=data.sha256,
        metrics=metrics,
        streamable=network.streamable,
        memory_horizon=memory_horizon(network, data.test),
    )


def _report(folder: Path, fit: Fitted) -> None:
    """Write the report beside the run. The model stands without it: what goes wrong is told and stops nothing."""
    try:
        write_report(folder, fit)
    except Exception:
        warnings.warn(f"the model is written, its report is not:\n{traceback.format_exc()}", stacklevel=3)


def _same_run(recipe: Recipe, data: Dataset, seed: int, folder: Path, resume: bool) -> None:
    """Note what is being trained; a run is resumed with the recipe, the data and the seed with which it was begun."""
    if not is_first():
        return
    note = folder / "recipe.json"
    now = {"seed": seed, "data": data.sha256, "recipe": recipe.model_dump(mode="json", exclude={"folder"})}
    if resume and note.exists() and json.loads(note.read_text(encoding="utf-8")) != now:
        raise RecipeError(f"{folder} was begun with another recipe, data or seed; fit it without --resume")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(now, indent=1), encoding="utf-8")
