"""A trained LSTM's file → its int8 file, another version of the model, unless it is too much worse: each step of it.

Calibrated on the training part, judged on the validation part. Knows files, and no network that they were made of.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor

from training.card import write_card
from training.contract import METADATA_KEY, read_lstm
from training.cost import refuse_if_worse, section
from training.dataset import Dataset, Stretch, load
from training.errors import RecipeError
from training.evaluate import flat, scores, task_of, unseen
from training.export import save
from training.int8 import in_int8
from training.networks import State
from training.recipe import Recipe
from training.tasks import Figures
from training.verify import Exported, verify_alone

Floats = NDArray[np.float32]


class Loaded:
    """A file that is run as a network."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.run = Exported(model.SerializeToString())
        self.state_shapes = self.run.state_shapes

    def zero_state(self, batch: int) -> State:
        """Return every state as [batch, …], all zero."""
        return {name: torch.zeros(batch, *shape) for name, shape in self.state_shapes.items()}

    def __call__(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance every row of x [B,T,F] by its own length."""
        given = {name: value.numpy() for name, value in state.items()}
        output, after = self.run(x.numpy(), lengths.numpy().astype(np.int32), given)
        return torch.from_numpy(output), {name: torch.from_numpy(value) for name, value in after.items()}


def quantise(recipe: Recipe, models: Path, *, of: str, version: str, tolerance: float, given: str = "") -> Path:
    """Write NAME/`version`/{model.onnx,card.md} under `models`, in int8, from version `of`; return the model's path.

    `given` is what the recipe was asked for by, for the card: a path, or else its name.

    Raises:
        TrainingError: there is no such LSTM, it was made of other data, or its main figure on the validation part
            grows by more than the share `tolerance`; then nothing is written.

    """
    source, path = (models / recipe.name / one / "model.onnx" for one in (of, version))
    if source == path:
        raise RecipeError(f"{path}: is what int8 is made of; write another --version")
    data = load(recipe)
    told = _told(source, data)
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
    told["quantised"] = {"version": of, "sha256": digest, "reach": reach, "figures": figures}
    told["metrics"] |= flat(test["int8"])
    helper.set_model_props(files["int8"], {METADATA_KEY: json.dumps(told)})

    content = files["int8"].SerializeToString()
    verify_alone(content, rows(data.validation))
    save(content, path)
    write_card(path, recipe, f"carousel-train quantise {quote(given or recipe.name)} --of {of} --version {version}")
    with path.with_name("card.md").open("a", encoding="utf-8") as card:
        card.write(f"\n{section(told, source.read_bytes(), content, rows(data.validation))}")
    return path


def _told(source: Path, data: Dataset) -> dict[str, Any]:
    """Return the metadata of a file that can be quantised on these data."""
    told = read_lstm(source, [one.name for one in data.features], "a one-way lstm can be quantised")
    if told["data_sha256"] != data.sha256:
        raise RecipeError(f"{source}: was made with other data than the recipe has now; fit it again")
    return told


def _scores(
    recipe: Recipe, data: Dataset, files: Mapping[str, onnx.ModelProto], part: Iterable[Stretch]
) -> dict[str, dict[str, Figures]]:
    """Return the scores of each file, streamed over a part."""
    streams = unseen(recipe, data, part)
    return {kind: scores(Loaded(file), task_of(recipe, data), streams) for kind, file in files.items()}


def rows(part: Iterable[Stretch]) -> Floats:
    """Return the raw input rows [N, F] of a part."""
    return np.concatenate([one.sequence.inputs[one.steps] for one in part])


def entering(model: onnx.ModelProto, part: Iterable[Stretch]) -> float:
    """Return the largest magnitude that enters the first layer over a part; 1 where nothing but zeros does."""
    first, lstm = next((index, node) for index, node in enumerate(model.graph.node) if node.op_type == "LSTM")
    turned = next(node for node in model.graph.node if lstm.input[0] in node.output)  # [B, T, E] → [T, B, E]
    encoder = onnx.ModelProto()
    encoder.CopyFrom(model)
    del encoder.graph.node[first:], encoder.graph.output[:]
    encoder.graph.node.append(helper.make_node("Identity", turned.input[:1], ["output"]))
    encoder.graph.output.append(helper.make_tensor_value_info("output", TensorProto.FLOAT, None))
    run, x = Loaded(encoder), torch.from_numpy(rows(part))[None]
    encoded, _ = run(x, torch.tensor([x.shape[1]]), run.zero_state(1))
    return float(encoded.abs().max()) or 1.0
