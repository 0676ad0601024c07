"""How the gradient falls with the lag in each recurrent cell, before and after training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.results import Results
from study.style import COLOURS, NAMES, STYLE
from training.data.dataset import Dataset, load
from training.net.learn import build, learn
from training.net.memory_horizon import ends, reach
from training.net.networks import CELLS, Network
from training.recipe.recipe import Recipe

FLOOR = 1e-10  # smallest gradient that is drawn


def gradients(recipe: Recipe, folder: Path, say: Callable[[str], None], *, seed: int = 0) -> Results:
    """Measure every recurrent cell on the test part, untrained and trained; results are in `folder`/gradients.json."""
    data = load(recipe)
    settings = {"recipe": recipe.model_dump(mode="json", exclude={"folder"}), "data_sha256": data.sha256, "seed": seed}
    results = Results(folder / "gradients.json", settings)
    for cell in CELLS:
        own = recipe.changed(network={"cell": cell, "bidirectional": False})
        results.find(f"{cell}, untrained", lambda: norms(untrained(own, data, seed), data))  # noqa: B023 - called at once
        say(f"{cell}, of {', '.join(CELLS)}")
        results.find(
            f"{cell}, trained",
            lambda: norms(learn(own, data, seed, folder / cell, resume=results.resumed), data),  # noqa: B023
        )
    return results


def untrained(recipe: Recipe, data: Dataset, seed: int) -> Network:
    """Return the network with which a training of this seed starts."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(recipe, data).eval()


def norms(network: Network, data: Dataset) -> dict[str, Any]:
    """Return the norms by lag, from 0, for JSON."""
    found = reach(network, ends(data.test))
    norms = {name: values.tolist() for name, values in {"inputs": found.inputs, **found.states}.items()}
    return {"windows": found.windows, "memory_horizon": found.horizon, **norms}


@rc_context(STYLE)
def picture(found: Mapping[str, Any], title: str) -> Figure:
    """Draw norms by lag: gradients by states on the left, by inputs on the right; untrained above, trained below."""
    figure = Figure(figsize=(12, 9), dpi=100)
    figure.suptitle(f"{title}: what the loss at step t still feels of k steps before", fontsize=15)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, phase in zip(panels, ("untrained", "trained"), strict=True):
        own = {cell: norms for cell in NAMES if (norms := found.get(f"{cell}, {phase}"))}
        states = [(cell, letter) for cell, norms in own.items() for letter in "hc" if letter in norms]
        _draw(row[0], [(cell, f"{NAMES[cell]} {letter}", own[cell][letter]) for cell, letter in states])
        _draw(row[1], [(cell, NAMES[cell], norms["inputs"]) for cell, norms in own.items()])
        row[0].set_title(f"{phase}: ‖∂ loss at t / ∂ state at t−k‖")
        row[1].set_title(f"{phase}: ‖∂ loss at t / ∂ input at t−k‖; 1 % left until\n{_horizons(own)}")
        row[0].set_ylabel("median over windows")
    for axes in panels[1]:
        axes.set_xlabel("lag k, steps")
    return figure


def _draw(axes: Axes, lines: Sequence[tuple[str, str, Sequence[float]]]) -> None:
    """Draw (cell, name, norms by lag). Names stand beside falling lines, each higher than the one before."""
    half = len(lines[0][2]) // 2
    staying = sorted((norms[half], name) for _, name, norms in lines if norms[-1] > FLOOR)
    level = FLOOR
    for cell, name, norms in sorted(lines, key=lambda line: int((np.array(line[2]) > FLOOR).sum())):
        values = np.where(np.array(norms) > 0, norms, np.nan)
        axes.plot(values, color=COLOURS[cell], linewidth=2, linestyle="--" if name.endswith("c") else "-")
        if norms[-1] > FLOOR:
            lag, off = half, (0, -14 if name == staying[0][1] else 10)
        else:
            level *= 8
            lag, off = int(np.flatnonzero(values >= min(level, np.nanmax(values)))[-1]), (8, 0)
        label = axes.annotate(
            name, (lag, values[lag]), off, textcoords="offset points", color=COLOURS[cell], va="center"
        )
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set_yscale("log")
    axes.set_ylim(FLOOR, 10)
    axes.grid(alpha=0.25)


def _horizons(own: Mapping[str, Any]) -> str:
    """Return the memory horizon of each cell; "≥" if it lies beyond what was measured."""
    horizons = {cell: (norms["memory_horizon"], len(norms["inputs"]) - 1) for cell, norms in own.items()}
    return ", ".join(
        f"{NAMES[cell]} k = {horizon}" if horizon is not None else f"{NAMES[cell]} k ≥ {last}"
        for cell, (horizon, last) in horizons.items()
    )
