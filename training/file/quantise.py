"""Write the int8 version of a trained LSTM's file. Calibrated on the training part, checked on the validation part."""

import hashlib
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from training.arrays import Floats
from training.data.dataset import Dataset, Stretch, load, rows
from training.errors import RecipeError, VerificationError
from training.file.card import figure_label, write_card
from training.file.contract import METADATA_KEY, read_lstm
from training.file.export import save
from training.file.int8 import in_int8
from training.file.verify import Exported, verify_alone
from training.net.evaluate import flat, forecasts, scores, unseen
from training.recipe.recipe import Recipe
from training.tasks import Figures, task_of

MAIN = ("capped_rmse", "mse_z", "pinball_z", "nll")  # lower is better; the first one that a task has is its main metric

RUNS, REPEATS = 100, 9  # of a speed measurement


def quantise(recipe: Recipe, models: Path, *, of: str, version: str, tolerance: float, given: str = "") -> Path:
    """Write NAME/`version`/{model.onnx,card.md} under `models`, in int8, from version `of`; return the model's path.

    `given` is how the user named the recipe, for the command on the card.

    Raises:
        TrainingError: there is no such LSTM, it was trained on other data, or its main metric on the validation part
            gets worse by more than the share `tolerance`. Nothing is written then.

    """
    source, path = (models / recipe.name / one / "model.onnx" for one in (of, version))
    if source == path:
        raise RecipeError(f"{path}: is what int8 is made of; write another --version")
    data = load(recipe)
    metadata = read_lstm(source, [one.name for one in data.features], "a one-way lstm can be quantised")
    if metadata["data_sha256"] != data.sha256:
        raise RecipeError(f"{source}: was made with other data than the recipe has now; fit it again")
    model = onnx.load(source)
    reach = entering(model, data.training)
    files = {"float32": model, "int8": in_int8(model, reach)}

    validation = _scores(recipe, data, files, data.validation)
    refuse_if_worse(validation["float32"]["test"], validation["int8"]["test"], tolerance)
    test = _scores(recipe, data, files, data.test)
    figures = {
        part: {kind: {name: round(value, 5) for name, value in own["test"].items()} for kind, own in measured.items()}
        for part, measured in (("validation", validation), ("test", test))
    }
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    metadata["quantised"] = {"version": of, "sha256": digest, "reach": reach, "figures": figures}
    metadata["metrics"] |= flat(test["int8"])
    helper.set_model_props(files["int8"], {METADATA_KEY: json.dumps(metadata)})

    content, sample = files["int8"].SerializeToString(), rows(data.validation)
    verify_alone(content, sample)
    save(content, path)
    command = f"carousel-train quantise {quote(given or recipe.name)} --of {of} --version {version}"
    comparison = _comparison(metadata, source.read_bytes(), content, sample)
    write_card(path, recipe, command, {"version": of, "rows": comparison})
    return path


def _scores(
    recipe: Recipe, data: Dataset, files: Mapping[str, onnx.ModelProto], part: Iterable[Stretch]
) -> dict[str, dict[str, Figures]]:
    """Return the scores of each file, streamed over a part."""
    task, streams = task_of(recipe, data), unseen(recipe, data, part)
    runs = {kind: Exported(file.SerializeToString()) for kind, file in files.items()}
    return {kind: scores(task, streams, forecasts(run, streams)) for kind, run in runs.items()}


def entering(model: onnx.ModelProto, part: Iterable[Stretch]) -> float:
    """Return the largest magnitude of the first layer's input over a part; 1 if all inputs are zero."""
    first, lstm = next((index, node) for index, node in enumerate(model.graph.node) if node.op_type == "LSTM")
    turned = next(node for node in model.graph.node if lstm.input[0] in node.output)  # [B, T, E] → [T, B, E]
    encoder = onnx.ModelProto()
    encoder.CopyFrom(model)
    del encoder.graph.node[first:], encoder.graph.output[:]
    encoder.graph.node.append(helper.make_node("Identity", turned.input[:1], ["output"]))
    encoder.graph.output.append(helper.make_tensor_value_info("output", TensorProto.FLOAT, None))
    x = rows(part)
    encoded, _ = Exported(encoder.SerializeToString())(x[None], np.array([len(x)], np.int32))
    return float(np.abs(encoded).max()) or 1.0


def refuse_if_worse(before: Figures, after: Figures, tolerance: float) -> None:
    """Raise VerificationError if the main metric grew by more than the share `tolerance`."""
    main = [name for name in MAIN if name in after][:1]
    for name in main or [name for name in after if name.endswith("_mse_z")]:  # outputs without a common unit: each one
        if not after[name] <= before[name] * (1 + tolerance):  # NaN is refused too
            raise VerificationError(
                f"int8 loses too much: {name} on the validation part is {after[name]:.5g}, in float32 it is "
                f"{before[name]:.5g} ({_change(before[name], after[name])}), and --tolerance {tolerance:g} allows "
                f"{tolerance:+.1%}; nothing was written. Allow more, or serve the float32 file"
            )


def _comparison(metadata: Mapping[str, Any], before: bytes, after: bytes, x: Floats) -> list[list[str]]:
    """Return label, float32, int8 and change of each metric, of the speed over rows x [N, F] and of the size."""
    table: list[tuple[str, float, float, str]] = [
        (f"{part}: {figure_label(name, metadata)}", two["float32"][name], two["int8"][name], ".5g")
        for part, two in metadata["quantised"]["figures"].items()
        for name in two["int8"]
    ]
    for batch in (1, 64):
        old, new = steps_per_second((before, after), x, batch)
        table.append((f"steps/s of one thread, batches of {batch}", old, new, ",.0f"))
    table.append(("size, kB", len(before) / 1000, len(after) / 1000, ".0f"))
    return [[label, f"{old:{form}}", f"{new:{form}}", _change(old, new)] for label, old, new, form in table]


def steps_per_second(files: Sequence[bytes], x: Floats, rows: int) -> list[float]:
    """Return the steps per second of each file, with batches of `rows` rows of x [N, F], one step per run.

    The files take turns, so that a slow moment of the machine affects all of them; medians over the turns.
    """
    inputs, lengths = np.resize(x, (rows, 1, x.shape[1])), np.ones(rows, np.int32)
    loaded = [Exported(content) for content in files]
    took: list[list[float]] = [[] for _ in files]
    for _ in range(REPEATS):
        for run, times in zip(loaded, took, strict=True):
            _, state = run(inputs, lengths)
            begin = time.perf_counter()
            for _ in range(RUNS):
                _, state = run(inputs, lengths, state)
            times.append(time.perf_counter() - begin)
    return [rows * RUNS / statistics.median(times) for times in took]


def _change(before: float, after: float) -> str:
    return f"{after / before - 1:+.1%}" if before else "–"
