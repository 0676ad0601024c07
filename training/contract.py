"""What a caller must know of a model: its features, codes, outputs and the metadata inside the file.

Knows neither networks nor tables; `docs/model-contract.md` is its prose.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

METADATA_KEY = "carousel"
TOOLS = ("torch", "lightning", "onnx", "onnxruntime", "polars", "numpy")


@dataclass(frozen=True)
class Feature:
    """One column of the input. With `codes` it is a category: a raw code, looked up in a table of that many rows."""

    name: str
    unit: str | None = None
    codes: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()  # what each code stands for, where a number does not say it


@dataclass(frozen=True)
class Output:
    """One column of the output, in real units."""

    name: str
    unit: str | None = None


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

    def metadata(self) -> dict[str, Any]:
        """Return the JSON object that the file carries under `carousel`."""
        return {
            "task": self.task,
            "recipe": self.recipe,
            "cell": self.cell,
            "features": [_named(feature) for feature in self.features],
            "outputs": [_named(output) for output in self.outputs],
            "categories": {feature.name: _category(feature) for feature in self.features if feature.codes},
            "data_sha256": self.data_sha256,
            "metrics": dict(self.metrics),
            "versions": {"python": platform.python_version()} | {tool: version(tool) for tool in TOOLS},
        }


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a model file; empty where it carries none."""
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    metadata: dict[str, Any] = json.loads(properties.get(METADATA_KEY, "{}"))
    return metadata


def _named(column: Feature | Output) -> dict[str, str]:
    return {"name": column.name} | ({"unit": column.unit} if column.unit else {})


def _category(feature: Feature) -> dict[str, list[int] | list[str]]:
    codes: dict[str, list[int] | list[str]] = {"codes": list(feature.codes)}
    return codes | ({"labels": list(feature.labels)} if feature.labels else {})
