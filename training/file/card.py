"""Model card: the metadata of a file and the notes of its recipe, as Markdown."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from rich.table import Table

from training.file.contract import read_metadata
from training.net.evaluate import key
from training.recipe.recipe import Notes, Recipe
from training.templates import render

LABELS = {
    "test": "this model, streamed",
    "state_dropped": "this model, state dropped at every step",
    "persistence": "persistence (the value of the step before)",
    "season": "the value one season before",
    "feedforward": "a feedforward network of the same size",
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
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "nll": "nats a step",
}
PARTS = ("validation", "test", "given")  # the last is a table of `evaluate`
IN_UNITS = ("mae", "rmse", "capped_rmse")  # of the target
Metadata = Mapping[str, Any]
Comparison = tuple[list[str], list[list[str]]]  # head, rows


def figure_label(figure: str, metadata: Metadata) -> str:
    """Return the name of a metric for a reader, with its unit."""
    unit = metadata["outputs"][0].get("unit")
    return FIGURES.get(figure, figure).format(unit=f", {unit}" if unit else "")


def comparison(metadata: Metadata, part: str = "test") -> Comparison:
    """Return the metrics of model and baselines on a part; without common metrics, `by_output`."""
    metrics = metadata["metrics"]
    figures = [figure for figure in FIGURES if key(part, "test", figure) in metrics]
    if not figures:
        return by_output(metadata, part)
    rows = [
        [label, *(_number(figure, metrics.get(key(part, name, figure))) for figure in figures)]
        for name, label in LABELS.items()
        if any(key(part, name, figure) in metrics for figure in figures)
    ]
    return [f"{part} part", *(figure_label(figure, metadata) for figure in figures)], rows


def by_output(metadata: Metadata, part: str = "test") -> Comparison:
    """Return the mean absolute error of each output, one column for the model and each baseline."""
    metrics, outputs = metadata["metrics"], metadata["outputs"]
    names = [name for name in LABELS if key(part, name, f"{outputs[0]['name']}_mae") in metrics]
    head = [f"{part} part, MAE", *("this model" if name == "test" else name.replace("_", " ") for name in names)]
    rows = [
        [
            ", ".join(filter(None, (one["name"], one.get("unit")))),
            *(_number("mae", metrics.get(key(part, name, f"{one['name']}_mae"))) for name in names),
        ]
        for one in outputs
        if names
    ]
    return head, rows


def comparisons(metadata: Metadata) -> list[Comparison]:
    """Return the comparisons of the validation part and the test part, without empty ones."""
    return [one for part in PARTS if (one := comparison(metadata, part))[1]]


def _number(figure: str, value: float | None) -> str:
    if value is None or isnan(value):
        return "–"
    if figure not in IN_UNITS:
        return f"{value:.4f}"
    return f"{value:.4g}" if abs(value) < 100 else f"{value:.0f}"


def comparison_tables(metadata: Metadata) -> list[Table]:
    """Return the comparisons for the terminal."""
    tables = []
    for (first, *figures), rows in comparisons(metadata):
        tables.append(table := Table(f"{metadata['recipe']}, {first}"))
        for figure in figures:
            table.add_column(figure, justify="right")
        for row in rows:
            table.add_row(*row)
    return tables


def write_card(model: Path, recipe: Recipe, command: str, quantised: Metadata | None = None) -> None:
    """Write card.md beside a model file; `quantised` has the version and table rows of an int8 file's section."""
    text = card(read_metadata(model), recipe.title or recipe.name, recipe.notes, command, quantised)
    model.with_name("card.md").write_text(text, encoding="utf-8")


def card(metadata: Metadata, title: str, notes: Notes, command: str, quantised: Metadata | None = None) -> str:
    """Return the card as Markdown; sections without text are left out."""
    return render(
        "file/card.md.j2",
        title=title,
        notes=notes,
        metadata=metadata,
        tables=comparisons(metadata),
        command=command,
        versions=versions(metadata),
        quantised=quantised,
    )


def versions(metadata: Metadata) -> str:
    """Return the tools that made the file, with their versions."""
    return ", ".join(f"{tool} {version}" for tool, version in metadata["versions"].items())
