"""Write the report of a training run: how it learnt, what it predicts on unseen data, how far to trust it.

The model card is its short form.
"""

import json
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from training.file.card import by_output, comparisons, versions
from training.net.hardware import one_thread
from training.net.memory_horizon import SHARE, ends, reach
from training.report.calibration import calibration, confusion
from training.report.errors import along_sequence, by_horizon, learning_curves
from training.report.fitted import Fitted
from training.report.forecast import forecast
from training.report.section import GREY, MODEL, STYLE, Section, logarithmic
from training.templates import render


@one_thread()
@rc_context(STYLE)
def write_report(folder: Path, fit: Fitted) -> Path:
    """Write report.html into the folder of a run, beside its curves.json; return its path."""
    path, notes = folder / "report.html", fit.recipe.notes
    path.unlink(missing_ok=True)  # of an earlier run
    curves = json.loads((folder / "curves.json").read_text(encoding="utf-8"))
    tables, each = comparisons(fit.metadata), by_output(fit.metadata)
    judged = fit.metadata.get("verdict", {}).get("sentence", "")
    sections = [
        Section(
            "On unseen data", f"{judged}\n\n{notes.split}", tables if each in tables or not each[1] else [*tables, each]
        ),
        learning_curves(fit, curves),
        forecast(fit),
        by_horizon(fit),
        along_sequence(fit),
        calibration(fit),
        confusion(fit),
        _memory(fit),
        Section("Data and licence", notes.data) if notes.data.strip() else None,
        Section("Made by", facts=_facts(fit)),
        Section("Recipe", verbatim=fit.recipe.toml()),
    ]
    title, shown = fit.recipe.title or fit.recipe.name, [one for one in sections if one is not None]
    html = render("report/report.html.j2", title=title, lead=notes.summary, sections=shown)
    path.write_text(html, encoding="utf-8")
    return path


def _memory(fit: Fitted) -> Section | None:
    """Show how far back the network's memory reaches, if it has a state."""
    if not fit.network.state_shapes:
        return None
    found = reach(fit.network, ends(fit.data.test))
    if found.horizon is None:
        answer = f"Beyond the {len(found.share) - 1} steps that were measured."
    else:
        answer = f"{found.horizon} steps: further back the gradient stays below {SHARE:.0%} of that at the step itself."
    text = f"{answer} The gradient is that of the loss with respect to the inputs; median over {found.windows} windows."
    figure, least, share = Figure(), SHARE / 100, found.share  # by lag, relative to lag 0
    axes = figure.subplots()
    axes.plot(share, color=MODEL)
    axes.axhline(SHARE, color=GREY, linewidth=0.8, linestyle=":")
    if found.horizon is not None:
        axes.plot(found.horizon, share[found.horizon], "D", color=MODEL)
        axes.annotate(f"  {found.horizon} steps", (found.horizon, share[found.horizon]), va="bottom")
    axes.set(xlabel="steps before", ylabel="gradient, relative to\nthat of the step itself")
    logarithmic(axes)
    axes.set_ylim(least, 2 * share.max())
    axes.set_xlim(0, max(1, np.flatnonzero(share >= least)[-1]))
    return Section("How far back it listens", text, figure=figure)


def _facts(fit: Fitted) -> dict[str, str]:
    """Return what is needed to train the model again."""
    size, outside = fit.recipe.network, fit.metadata.get("outside", {})
    both = "bidirectional " if size.bidirectional else ""
    weights = sum(one.numel() for one in fit.network.parameters())
    return {
        "command": fit.command,
        "clock of the calendar": getattr(fit.recipe.data, "zone", None) or "as times are written",
        "inputs clipped or unknown in the test part": ", ".join(
            f"{name} {share:.2%}" for name, share in outside.items()
        )
        or "none",
        "data sha256": fit.metadata["data_sha256"],
        "network": f"{both}{size.cell}, {size.layers} × {size.hidden} hidden values, {weights:,} weights",
        "versions": versions(fit.metadata),
    }
