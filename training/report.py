"""The model card: what the file says of itself, with the recipe's notes. Reads the file, never the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from training.contract import read_metadata

LABELS = {
    "test": "this model, one stream",
    "test_with_filled": "this model, filled targets counted too",
    "state_dropped": "this model, state dropped at every step",
    "persistence": "persistence (the value of the step before)",
    "last_week": "same hour last week",
}


@dataclass(frozen=True)
class Notes:
    """What only the author of a recipe can say."""

    title: str
    summary: str
    data: str
    split: str


def comparison(metrics: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """Return (label, mse_z, mae) of the model and of what it is compared with."""
    return [(label, metrics[f"{name}_mse_z"], metrics[f"{name}_mae"]) for name, label in LABELS.items()]


def comparison_table(metadata: Mapping[str, Any]) -> Table:
    """Return the comparison for the terminal."""
    output = metadata["outputs"][0]
    table = Table("forecast", title=f"{output['name']} on unseen data")
    table.add_column("MSE, z-scored", justify="right")
    table.add_column(f"MAE, {output['unit']}", justify="right")
    for label, mse_z, mae in comparison(metadata["metrics"]):
        table.add_row(label, f"{mse_z:.4f}", f"{mae:.0f}")
    return table


def write_card(model: Path, notes: Notes, command: str) -> None:
    """Write card.md beside a model file."""
    model.with_name("card.md").write_text(card(read_metadata(model), notes, command), encoding="utf-8")


def card(metadata: Mapping[str, Any], notes: Notes, command: str) -> str:
    """Return the card as Markdown."""
    sections = {
        "": notes.summary,
        "Inputs": _features(metadata),
        "Outputs": "\n".join(f"- `{output['name']}`, {output['unit']}" for output in metadata["outputs"]),
        "Test": f"{notes.split}\n\n{_comparison(metadata)}",
        "Data and licence": notes.data,
        "Made by": f"`{command}`, cell `{metadata['cell']}`, with {_versions(metadata)};\n"
        f"data sha256 `{metadata['data_sha256']}`.",
    }
    body = "\n\n".join(f"## {heading}\n\n{text}" if heading else text for heading, text in sections.items())
    return f"# {notes.title}\n\n{body}\n"


def _features(metadata: Mapping[str, Any]) -> str:
    """One line a feature; the codes of a category with what they stand for."""
    lines = []
    for feature in metadata["features"]:
        name, unit = feature["name"], feature["unit"]
        category = metadata["categories"].get(name)
        if category is None:
            lines.append(f"- `{name}`, {unit}")
        elif labels := category.get("labels"):
            pairs = zip(category["codes"], labels, strict=True)
            lines.append(f"- `{name}`, {unit}: " + ", ".join(f"{known} {label}" for known, label in pairs))
        else:
            lines.append(f"- `{name}`, {unit}: {category['codes'][0]} to {category['codes'][-1]}")
    return "\n".join(lines) + "\n\nScaling and tables are inside the file. A code outside its table counts as unknown."


def _comparison(metadata: Mapping[str, Any]) -> str:
    unit = metadata["outputs"][0]["unit"]
    rows = [f"| {label} | {mse_z:.4f} | {mae:.0f} |" for label, mse_z, mae in comparison(metadata["metrics"])]
    return "\n".join([f"| forecast | MSE, z-scored | MAE, {unit} |", "|---|---|---|", *rows])


def _versions(metadata: Mapping[str, Any]) -> str:
    return ", ".join(f"{tool} {version}" for tool, version in metadata["versions"].items())
