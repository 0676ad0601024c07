"""How the gradient falls with the lag in each recurrent cell, before and after it has learnt a recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.dataset import Dataset, load
from training.gradients import ends, reach
from training.ledger import Ledger
from training.networks import CELLS, Network
from training.recipe import Recipe
from training.train import build, learn


def vanishing(recipe: Recipe, folder: Path, say: Callable[[str], None], *, seed: int = 0) -> Ledger:
    """Measure every recurrent cell on the test part, untrained and trained; `folder`/gradients.json has the norms."""
    data = load(recipe)
    told = recipe.model_dump(mode="json", exclude={"folder"})
    ledger = Ledger(folder / "gradients.json", {"recipe": told, "data_sha256": data.sha256, "seed": seed})

    def measure(cell: str) -> None:
        own = variant(recipe, cell)
        ledger.find(f"{cell}, untrained", lambda: norms(untrained(own, data, seed), data))
        say(f"{cell}, of {', '.join(CELLS)}")
        ledger.find(
            f"{cell}, trained", lambda: norms(learn(own, data, seed, folder / cell, resume=ledger.resumed), data)
        )

    for cell in CELLS:
        measure(cell)
    return ledger


def variant(recipe: Recipe, cell: str) -> Recipe:
    """Return the recipe with another cell, which reads one way."""
    network = recipe.network.model_copy(update={"cell": cell, "bidirectional": False})
    return recipe.model_copy(update={"network": network})


def untrained(recipe: Recipe, data: Dataset, seed: int) -> Network:
    """Return the network with which a fit of this seed begins."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(recipe, data).eval()


def norms(network: Network, data: Dataset) -> dict[str, Any]:
    """Return the norms by lag, from 0, as JSON tells them."""
    found = reach(network, ends(data.test))
    told = {"windows": found.windows, "memory_horizon": found.horizon}
    return told | {name: own.tolist() for name, own in {"inputs": found.inputs, **found.states}.items()}
