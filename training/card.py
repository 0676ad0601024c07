"""The model card: what the file says of itself, with the recipe's notes. Reads the file, never the network."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from rich.table import Table

from training.contract import read_metadata
from training.recipe import Notes, Recipe

LABELS = {
    "test": "this model, streamed",
    "state_dropped": "this model, state dropped at every step",
    "persistence": "persistence (the value of the step before)",
    "season": "the value one season before",
    "prior": "the training part on average, whatever is sent",
    "step": "the training part on average at the same step",
}
FIGURES = {
    "mse_z": "MSE, z-scored",
    "mae": "MAE{unit}",
    "rmse": "RMSE{unit}",
    "capped_rmse": "RMSE{unit}, truth capped",
    "pinball_z": "pinball loss, z-scored",
    "coverage": "truths inside the band",
    "accuracy": "accuracy",
    "f1": "F1",
    "nll": "nats a step",
}
LONG_FORM = " The long form of this card is the run's `report.html`."
IN_UNITS = ("mae", "rmse", "capped_rmse")  # of the target
Comparison = tuple[list[str], list[list[str]]]  # the head and the rows


def comparison(metadata: Mapping[str, Any]) -> Comparison:
    """Return the model beside what it is compared with, figure by figure, or else output by output, as text."""
    metrics, unit = metadata["metrics"], metadata["outputs"][0].get("unit")
    figures = [figure for figure in FIGURES if f"test_{figure}" in metrics]
    if not figures:
        return by_output(metadata)
    head = ["forecast", *(FIGURES[figure].format(unit=f", {unit}" if unit else "") for figure in figures)]
    rows = [
        [label, *(_shown(figure, metrics.get(f"{name}_{figure}")) for figure in figures)]
        for name, label in LABELS.items()
        if any(f"{name}_{figure}" in metrics for figure in figures)
    ]
    return head, rows


def by_output(metadata: Mapping[str, Any]) -> Comparison:
    """Return the mean absolute error of each output, of the model and of what it is compared with, as text."""
    metrics, outputs = metadata["metrics"], metadata["outputs"]
    whose = [name for name in LABELS if f"{name}_{outputs[0]['name']}_mae" in metrics]
    head = ["MAE", *("this model" if name == "test" else name.replace("_", " ") for name in whose)]
    rows = []
    for one in outputs:
        words = ", ".join(filter(None, (one["name"], one.get("unit"))))
        rows.append([words, *(_shown("mae", metrics[f"{name}_{one['name']}_mae"]) for name in whose)])
    return head, rows if whose else []


def _shown(figure: str, value: float | None) -> str:
    if value is None or isnan(value):
        return "–"
    if figure not in IN_UNITS:
        return f"{value:.4f}"
    return f"{value:.4g}" if abs(value) < 100 else f"{value:.0f}"


def comparison_table(metadata: Mapping[str, Any]) -> Table:
    """Return the comparison for the terminal."""
    (first, *figures), rows = comparison(metadata)
    table = Table(first, title=f"{metadata['recipe']} on unseen data")
    for figure in figures:
        table.add_column(figure, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def write_card(model: Path, recipe: Recipe, command: str) -> None:
    """Write card.md beside a model file."""
    text = card(read_metadata(model), recipe.title or recipe.name, recipe.notes, command)
    model.with_name("card.md").write_text(text, encoding="utf-8")


def card(metadata: Mapping[str, Any], title: str, notes: Notes, command: str) -> str:
    """Return the card as Markdown; what has no text has no heading."""
    sections = {
        "": notes.summary.strip(),
        "Inputs": _features(metadata),
        "Outputs": "\n".join(f"- {_with_unit(output)}" for output in metadata["outputs"]),
        "Memory": _memory(metadata),
        "Test": "\n\n".join(part for part in (notes.split.strip(), _comparison(metadata)) if part),
        "Data and licence": notes.data.strip(),
        "Made by": f"`{command}`, cell `{metadata['cell']}`, with {versions(metadata)};\n"
        f"data sha256 `{metadata['data_sha256']}`.{'' if 'quantised' in metadata else LONG_FORM}",
    }
    body = "\n\n".join(f"## {head}\n\n{text}" if head else text for head, text in sections.items() if text)
    return f"# {title}\n\n{body}\n"


def _features(metadata: Mapping[str, Any]) -> str:
    """One line a feature: its codes with what they stand for, and what a caller sends in a gap."""
    lines = [f"- {_with_unit(one)}{_codes(metadata, one)}{_made(one)}" for one in metadata["features"]]
    return "\n".join(lines) + "\n\nScaling and tables are inside the file. A code outside its table counts as unknown."


def _with_unit(column: Mapping[str, Any]) -> str:
    return f"`{column['name']}`" + (f", {column['unit']}" if column.get("unit") else "")


def _codes(metadata: Mapping[str, Any], feature: Mapping[str, Any]) -> str:
    category = metadata["categories"].get(feature["name"])
    if category is None:
        return ""
    codes, labels = category["codes"], category.get("labels")
    if labels:
        return ": " + ", ".join(f"{code} {label}" for code, label in zip(codes, labels, strict=True))
    rising = codes == list(range(codes[0], codes[-1] + 1))
    return f": {codes[0]} to {codes[-1]}" if rising else f": {', '.join(map(str, codes))}"


def _made(feature: Mapping[str, Any]) -> str:
    """Say what a caller does for a feature beside sending it."""
    if lag := feature.get("lag"):
        return f": `{lag['of']}` of {lag['steps']} steps before"
    if of := feature.get("mask_of"):
        return f": 1 where `{of}` has a gap, else 0"
    missing = feature.get("missing")
    if missing is None:
        return ""
    return "; in a gap the last value" if missing["rule"] == "hold" else f"; in a gap {missing['value']:g}"


def _memory(metadata: Mapping[str, Any]) -> str:
    """Say how much history warms a session up."""
    if "memory_horizon" not in metadata:
        return ""
    horizon = metadata["memory_horizon"]
    if horizon is None:
        return "It listens further back than was measured. Warm a session up with all the history that there is."
    if horizon == 0:
        return "Each step is answered by itself; there is nothing to warm up."
    return f"It listens {horizon} steps back (`memory_horizon`). Warm a session up with as many rows, or more."


def _comparison(metadata: Mapping[str, Any]) -> str:
    head, rows = comparison(metadata)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- |", "|---|").replace(" --- |", "---|")


def versions(metadata: Mapping[str, Any]) -> str:
    """Return the tools that made the file, with their versions."""
    return ", ".join(f"{tool} {version}" for tool, version in metadata["versions"].items())
