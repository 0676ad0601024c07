"""For how many steps each cell can remember one symbol: right answers by lag, every cell with the same budget.

A cell is judged with the learning rate that was best on the validation part.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from training.batches import collate, streams
from training.dataset import Stretch, load
from training.ledger import Ledger
from training.networks import Network
from training.recipe import Recipe
from training.threads import one_thread
from training.train import learn

CELLS = ("feedforward", "rnn", "gru", "lstm")
LAGS = (5, 10, 20, 50, 100)
RATES = (0.003, 0.01, 0.03)
Score = dict[str, Any]  # cell, lag, learning rate; the share of right answers on validation and test part


def compare(recipe: Recipe, folder: Path, say: Callable[[str], None], *, seed: int = 0) -> Ledger:
    """Train every cell at every lag of the recipe `recall`; `folder`/long-lag.json has the scores."""
    about = {"recipe": recipe.model_dump(mode="json", exclude={"folder"}), "seed": seed, "rates": RATES}
    ledger = Ledger(folder / "long-lag.json", about)
    for lag, cell in product(LAGS, CELLS):
        for rate in RATES:
            name = f"lag {lag}, {cell}, {rate:g}"
            one = ledger.find(name, partial(score, variant(recipe, cell, lag, rate), lag, seed, folder))
            say(f"{name}: {one['validation']:.1%} right on the validation part")
            if one["validation"] == 1:  # no other rate can be better
                break
    return ledger


def chosen(scores: Iterable[Score]) -> list[Score]:
    """Return each cell's score at each lag, with the learning rate that was best on the validation part."""
    best: dict[tuple[str, int], Score] = {}
    for one in scores:
        key = one["cell"], one["lag"]
        if key not in best or one["validation"] > best[key]["validation"]:
            best[key] = one
    return list(best.values())


def variant(recipe: Recipe, cell: str, lag: int, rate: float) -> Recipe:
    """Return the recipe with another cell, lag and learning rate."""
    return recipe.model_copy(
        update={
            "network": recipe.network.model_copy(update={"cell": cell}),
            "data": recipe.data.model_copy(update={"lag": lag}),
            "training": recipe.training.model_copy(update={"learning_rate": rate}),
        }
    )


def score(recipe: Recipe, lag: int, seed: int, folder: Path) -> Score:
    """Train one cell at one lag."""
    data = load(recipe)
    network = learn(recipe, data, seed, folder / "fit")
    return {
        "cell": network.cell,
        "lag": lag,
        "rate": recipe.training.learning_rate,
        "validation": right(network, data.validation),
        "test": right(network, data.test),
    }


@torch.no_grad()
def right(network: Network, stretches: Iterable[Stretch]) -> float:
    """Return the share of answers that are the likeliest class."""
    batch = collate(streams(stretches, 0))
    with one_thread():
        said, _ = network(batch.x, batch.lengths, network.zero_state(len(batch.x)))
    answers = batch.answers[..., 0]
    counts = ~answers.isnan()
    return float((said.argmax(-1)[counts] == answers[counts]).double().mean())
