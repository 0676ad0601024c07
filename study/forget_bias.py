"""Compare forget biases on the recipe `recall`: right answers by bias, learning rate and seed."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from rich.table import Table

from study.long_lag import LAGS, RATES, score
from study.results import Results
from training.recipe.recipe import Recipe

BIASES = (0.0, 1.0)
SEEDS = (0, 1, 2)  # of the network and of the strings


def compare(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> Results:
    """Train an LSTM with every bias, seed and rate; scores are in `folder`/forget-bias.json."""
    settings = {"recipe": recipe.model_dump(mode="json", exclude={"folder"}), "rates": RATES}
    results = Results(folder / "forget-bias.json", settings)
    for seed, bias, rate in product(SEEDS, BIASES, RATES):
        own = recipe.changed(
            network={"forget_bias": bias}, data={"lag": LAGS[-1], "seed": seed}, training={"learning_rate": rate}
        )
        name = key(bias, seed, rate)
        one = results.find(name, partial(score, own, LAGS[-1], seed, folder))
        say(f"{name}: {one['validation']:.1%} right on the validation part")
    return results


def key(bias: float, seed: int, rate: float) -> str:
    """Return the key of a score in the results."""
    return f"bias {bias:g}, seed {seed}, {rate:g}"


def table(found: Mapping[str, Any]) -> Table:
    """Return validation shares of each rate, and the test share of the best one; a row for each bias and seed."""
    shown = Table("forget bias", "seed", *(f"rate {rate:g}" for rate in RATES), "test, best rate")
    for bias, seed in product(BIASES, SEEDS):
        scores = [found[key(bias, seed, rate)] for rate in RATES]
        best = max(scores, key=lambda one: float(one["validation"]))
        shares = [*(one["validation"] for one in scores), best["test"]]
        shown.add_row(f"{bias:g}", str(seed), *(f"{share:.2%}" for share in shares))
    return shown
