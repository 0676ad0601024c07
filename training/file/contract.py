"""Metadata of a model file. docs/model-contract.md describes it."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from training.data.feature import Feature
from training.errors import RecipeError
from training.tasks import Output

METADATA_KEY = "carousel"
TOOLS = ("torch", "lightning", "onnx", "onnxruntime", "polars", "numpy")


@dataclass(frozen=True)
class Description:
    """What a file says about itself."""

    task: str
    recipe: str
    cell: str
    features: tuple[Feature, ...]
    outputs: tuple[Output, ...]
    data_sha256: str
    metrics: Mapping[str, float]
    streamable: bool = True  # false: bidirectional
    memory_horizon: int | None = None  # steps; None for a streamable file: larger than could be measured
    verdict: Mapping[str, Any] | None = None  # better or not than the best baseline: `better`, `figure`, `sentence`
    outside: Mapping[str, float] | None = None  # share of the test part in which a feature is clipped or unknown
    fitted: Mapping[str, Any] | None = None  # what `evaluate` needs of the training part: `mean`, `std`, `prior`
    recipe_toml: str | None = None  # the recipe as `fit` reads it

    def metadata(self) -> dict[str, Any]:
        """Return the JSON object that the file carries under `carousel`."""
        told = asdict(self, dict_factory=lambda pairs: {key: value for key, value in pairs if value is not None})
        elsewhere = ("codes", "labels", "scale")  # under `categories`; inside the graph
        told["features"] = [{key: one[key] for key in one if key not in elsewhere} for one in told["features"]]
        told["outputs"] = list(told["outputs"])
        told["categories"] = {
            feature.name: {"codes": feature.codes} | ({"labels": feature.labels} if feature.labels else {})
            for feature in self.features
            if feature.codes
        }
        told.pop("memory_horizon", None)
        memory = {"memory_horizon": self.memory_horizon} if self.streamable else {}
        return (
            told | memory | {"versions": {"python": platform.python_version()} | {one: version(one) for one in TOOLS}}
        )


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a model file; empty if it has none. Raises RecipeError unless it is an ONNX file."""
    try:
        properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    except DecodeError:
        raise RecipeError(f"{path}: is no ONNX file; give a model.onnx that `carousel-train fit` wrote") from None
    return dict(json.loads(properties.get(METADATA_KEY, "{}")))


def read_lstm(path: Path, features: Sequence[str], only: str) -> dict[str, Any]:
    """Return the metadata of a float32 file of a unidirectional LSTM with these features.

    Raises:
        RecipeError: the file is something else; `only` says what needs such a file.

    """
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; `carousel-train fit` makes it")
    metadata = read_metadata(path)
    cell = metadata.get("cell") if metadata.get("streamable", True) else "bidirectional"
    if cell != "lstm":
        raise RecipeError(f"{path}: its cell is {cell}; only {only}")
    if "quantised" in metadata:
        raise RecipeError(f"{path}: is in int8; name version {metadata['quantised']['version']}, which it was made of")
    if [one["name"] for one in metadata["features"]] != list(features):
        raise RecipeError(f"{path}: was made with other features than the recipe has now; fit it again")
    return metadata
