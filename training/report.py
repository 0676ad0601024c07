"""The report of a fit on one page: how the network learnt, what it says on unseen data, how far that can be trusted.

Its short form is the model's card. Knows what to say; `sections` knows what to show for which task.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training import page, plots, sections
from training.card import by_output, comparison, versions
from training.fitted import Fitted
from training.threads import one_thread

LOSSES = {
    "regression": "mean squared error, z-scored",
    "quantiles": "pinball loss, z-scored",
    "classification": "nats a step",
    "multilabel": "nats a step and label",
    "next-symbol": "nats a step",
}


@one_thread()
def write_report(folder: Path, fit: Fitted) -> Path:
    """Write report.html into the folder of a run, beside its curves; return its path."""
    path, told = folder / "report.html", fit.recipe.notes
    path.unlink(missing_ok=True)  # an older one would tell of another fit
    curves = json.loads((folder / "curves.json").read_text(encoding="utf-8"))
    parts = {
        "On unseen data": page.prose(told.split) + _compared(fit.metadata),
        "How it learnt": _learnt(curves, LOSSES[fit.metadata["task"]]),
        "Forecast and truth": sections.stretch(fit),
        "Error by horizon": sections.by_horizon(fit),
        "Error along a sequence": sections.along(fit),
        "Does what it says come true?": sections.calibration(fit),
        "Which class for which": sections.confusion(fit),
        "How far back it listens": sections.listening(fit),
        "Data and licence": page.prose(told.data),
        "Made by": _made(fit),
        "Recipe": page.verbatim(fit.recipe.model_dump_json(indent=1, exclude={"folder", "notes"}, exclude_unset=True)),
    }
    path.write_text(page.page(fit.recipe.title or fit.recipe.name, page.prose(told.summary), parts), encoding="utf-8")
    return path


def _compared(metadata: Mapping[str, Any]) -> str:
    """Return the model beside what it is compared with; several outputs one by one as well."""
    whole, each = comparison(metadata), by_output(metadata)
    return page.table(*whole) + (page.table(*each) if each[1] and each != whole else "")


def _learnt(curves: list[dict[str, float]], unit: str) -> str:
    epochs, validation = (np.array([one[key] for one in curves]) for key in ("epoch", "validation_loss"))
    kept = int(np.argmin(np.where(np.isnan(validation), np.inf, validation)))
    losses = {"training": np.array([one["train_loss"] for one in curves]), "validation": validation}
    text = (
        f"Of {len(epochs)} epochs the network of epoch {epochs[kept]:.0f} is kept: "
        f"its loss on the validation part is the lowest, {validation[kept]:.4g}."
    )
    return page.prose(text) + page.figure(plots.curves(epochs, losses, kept, unit))


def _made(fit: Fitted) -> str:
    """Return what it takes to make the model again."""
    told, size = fit.metadata, fit.recipe.network
    both = "bidirectional " if size.bidirectional else ""
    weights = sum(one.numel() for one in fit.network.parameters())
    return page.facts(
        {
            "command": fit.command,
            "data sha256": told["data_sha256"],
            "network": f"{both}{size.cell}, {size.layers} × {size.hidden} hidden values, {weights:,} weights",
            "versions": versions(told),
        }
    )
