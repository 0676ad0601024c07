"""What a caller must know of a model: its features, codes, outputs and the metadata inside the file.

Knows neither networks nor tables; `docs/model-contract.md` is its prose.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import onnx

from training.errors import RecipeError

METADATA_KEY = "carousel"
TOOLS = ("torch", "lightning", "onnx", "onnxruntime", "polars", "numpy")


@dataclass(frozen=True)
class Missing:
    """What a caller sends where a feature has a gap: the last value, a constant, or a constant and a mark."""

    rule: Literal["hold", "constant", "mask"]
    value: float | None = None  # of `constant` and `mask`
    column: str | None = None  # of `mask`: the feature that is 1 in a gap and else 0


@dataclass(frozen=True)
class Lag:
    """A feature that repeats another one, `steps` rows later."""

    of: str
    steps: int


@dataclass(frozen=True)
class Feature:
    """One column of the input. With `codes` it is a category: a raw code, looked up in a table of that many rows."""

    name: str
    unit: str | None = None
    codes: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()  # what each code stands for, where a number does not say it
    calendar: str | None = None  # hour, weekday or month: read off the time of the row
    missing: Missing | None = None
    lag: Lag | None = None
    mask_of: str | None = None  # 1 where that feature has a gap
    initial: float | None = None  # what is held, or lags, before the first row
    scale: bool = True  # whether it is standardised on its way in

    @property
    def measured(self) -> bool:
        """Whether it comes from outside; lags and masks are made of the others."""
        return self.lag is None and self.mask_of is None


@dataclass(frozen=True)
class Output:
    """One column of the output: a number in real units, or the probability of what it is named for."""

    name: str
    unit: str | None = None
    target: str | None = None  # the column it speaks of
    horizon: int | None = None  # how many rows later
    quantile: float | None = None


@dataclass(frozen=True)
class Description:
    """The metadata of one model file, as it is before it becomes JSON."""

    task: str
    recipe: str
    cell: str
    features: tuple[Feature, ...]
    outputs: tuple[Output, ...]
    data_sha256: str
    metrics: Mapping[str, float]
    streamable: bool = True  # false: it reads a sequence from both ends
    memory_horizon: int | None = None  # steps; of one that streams, None: further back than could be measured

    def metadata(self) -> dict[str, Any]:
        """Return the JSON object that the file carries under `carousel`."""
        listens = {"memory_horizon": self.memory_horizon} if self.streamable else {}
        return {
            "task": self.task,
            "recipe": self.recipe,
            "cell": self.cell,
            "streamable": self.streamable,
            "features": [_feature(feature) for feature in self.features],
            "outputs": [_told(output) for output in self.outputs],
            "categories": {feature.name: _category(feature) for feature in self.features if feature.codes},
            "data_sha256": self.data_sha256,
            "metrics": dict(self.metrics),
            **listens,
            "versions": {"python": platform.python_version()} | {tool: version(tool) for tool in TOOLS},
        }


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a model file; empty where it carries none."""
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    metadata: dict[str, Any] = json.loads(properties.get(METADATA_KEY, "{}"))
    return metadata


def read_lstm(path: Path, features: Sequence[str], only: str) -> dict[str, Any]:
    """Return the metadata of a float32 file of a one-way LSTM with these features.

    Raises:
        RecipeError: it is no such file; `only` says what one can have done to it.

    """
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; `carousel-train fit` makes it")
    told = read_metadata(path)
    cell = told.get("cell") if told.get("streamable", True) else "bidirectional"
    if cell != "lstm":
        raise RecipeError(f"{path}: its cell is {cell}; only {only}")
    if "quantised" in told:
        raise RecipeError(f"{path}: is in int8; name version {told['quantised']['version']}, which it was made of")
    if [one["name"] for one in told["features"]] != list(features):
        raise RecipeError(f"{path}: was made with other features than the recipe has now; fit it again")
    return told


def _told(part: Feature | Output | Missing | Lag) -> dict[str, Any]:
    return {key: value for key, value in vars(part).items() if value is not None}


def _feature(feature: Feature) -> dict[str, Any]:
    """Return a feature without what stands elsewhere (codes, labels) or inside the graph (scale)."""
    told = {key: value for key, value in _told(feature).items() if key not in ("codes", "labels", "scale")}
    return told | {key: _told(part) for key, part in told.items() if isinstance(part, Missing | Lag)}


def _category(feature: Feature) -> dict[str, list[int] | list[str]]:
    codes: dict[str, list[int] | list[str]] = {"codes": list(feature.codes)}
    return codes | ({"labels": list(feature.labels)} if feature.labels else {})
