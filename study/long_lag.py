"""How long each cell can remember one symbol: right answers by lag, all cells with the same budget.

The learning rate of each cell is the best one on the validation part.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure

from study.results import Results
from study.style import COLOURS, INK, NAMES, STYLE
from training.data.batches import collate, streams
from training.data.dataset import Stretch, load
from training.net.hardware import one_thread
from training.net.learn import learn
from training.net.networks import Network
from training.recipe.recipe import Recipe

CELLS = ("feedforward", "rnn", "gru", "lstm")
LAGS = (5, 10, 20, 50, 100)
RATES = (0.003, 0.01, 0.03)
CHANCE = 0.25  # of four symbols
Score = dict[str, Any]  # cell, lag, rate; validation and test: share of right answers


def compare(recipe: Recipe, folder: Path, say: Callable[[str], None], *, seed: int = 0) -> Results:
    """Train every cell at every lag of the recipe `recall`; scores are in `folder`/long-lag.json."""
    settings = {"recipe": recipe.model_dump(mode="json", exclude={"folder"}), "seed": seed, "rates": RATES}
    results = Results(folder / "long-lag.json", settings)
    for lag, cell in product(LAGS, CELLS):
        for rate in RATES:
            name, own = f"lag {lag}, {cell}, {rate:g}", variant(recipe, cell, lag, rate)
            one = results.find(name, partial(score, own, lag, seed, folder))
            say(f"{name}: {one['validation']:.1%} right on the validation part")
            if one["validation"] == 1:  # no other rate can be better
                break
    return results


def variant(recipe: Recipe, cell: str, lag: int, rate: float) -> Recipe:
    """Return the recipe with another cell, lag and learning rate."""
    return recipe.changed(network={"cell": cell}, data={"lag": lag}, training={"learning_rate": rate})


def score(recipe: Recipe, lag: int, seed: int, folder: Path) -> Score:
    """Train one cell at one lag."""
    data = load(recipe)
    network = learn(recipe, data, seed, folder / "fit")
    shares = {"validation": right(network, data.validation), "test": right(network, data.test)}
    return {"cell": network.cell, "lag": lag, "rate": recipe.training.learning_rate, **shares}


@torch.no_grad()
def right(network: Network, stretches: Iterable[Stretch]) -> float:
    """Return the share of answers that are the likeliest class."""
    batch = collate(streams(stretches, 0))
    with one_thread():
        outputs, _ = network(batch.x, batch.lengths, network.zero_state(len(batch.x)))
    answers = batch.answers[..., 0]
    counts = ~answers.isnan()
    return float((outputs.argmax(-1)[counts] == answers[counts]).double().mean())


def chosen(scores: Iterable[Score]) -> list[Score]:
    """Return the score of each cell and lag with the best validation share; of equal ones, the first."""
    best: dict[tuple[str, int], Score] = {}
    for one in scores:
        key = one["cell"], one["lag"]
        if key not in best or one["validation"] > best[key]["validation"]:
            best[key] = one
    return list(best.values())


@rc_context(STYLE)
def picture(scores: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the test shares by lag, one line per cell; lags are equally spaced."""
    figure = Figure(figsize=(9, 5), dpi=100)
    axes = figure.subplots()
    lags = sorted({one["lag"] for one in scores})
    last = {one["cell"]: one["test"] for one in scores if one["lag"] == lags[-1]}
    above = -np.inf  # height of the label below
    for cell, end in sorted(last.items(), key=lambda pair: pair[1]):
        own = {one["lag"]: one["test"] for one in scores if one["cell"] == cell}
        axes.plot(range(len(lags)), [own[lag] for lag in lags], "o-", color=COLOURS[cell], linewidth=2, clip_on=False)
        above = max(end, above + 0.06)
        text = f"{NAMES[cell]} {end:.1%}"
        axes.annotate(text, (len(lags) - 0.9, above), color=COLOURS[cell], va="center", annotation_clip=False)
    axes.hlines(CHANCE, 0, len(lags) - 1, color=INK, linewidth=1, linestyle=":")
    axes.annotate("chance", (0, CHANCE), (0, -12), textcoords="offset points")
    axes.set_xticks(range(len(lags)), [str(lag) for lag in lags])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set(ylim=(0, 1), xlabel="lag, steps from the symbol to the question", ylabel="right answers, unseen strings")
    axes.set_title("Which cell still knows a symbol after so many others", pad=14)
    return figure
