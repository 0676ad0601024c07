"""What the table of results holds against each recipe: figure, published number, bound. Measures nothing."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import median
from typing import NamedTuple

Values = Sequence[float]  # one a seed


class Claim(NamedTuple):
    """One figure of a recipe's networks, and what the LSTM's has to reach."""

    recipe: str
    measure: str
    figure: str
    whose: str = "test"  # the network, streamed through the service
    published: Mapping[str, str] = {}  # cell → number and source
    bound: str = "–"
    reached: Callable[[Values], bool] | None = None
    within: float = inf  # seconds from command to score, of each seed


CLAIMS = (
    Claim(
        "metro-traffic",
        "next hour's traffic, MSE z-scored",
        "mse_z",
        bound="≤ 0.03, each seed",
        reached=lambda values: max(values) <= 0.03,
    ),
    Claim(
        "reber",
        "strings whose every next-symbol set is right",
        "strings_right",
        published={"lstm": "solved [1]"},
        bound="100 % in ≤ 30 s, each seed",
        reached=lambda values: min(values) == 1,
        within=30,
    ),
    Claim(
        "reber",
        "the same, state dropped at each symbol",
        "strings_right",
        whose="state_dropped",
        bound="about 0 %",
        reached=lambda values: max(values) < 0.05,
    ),
    Claim(
        "engine-life",
        "RMSE at the last cycle, truth capped at 125",
        "capped_rmse",
        published={"lstm": "16.14 [2]"},
        bound="≤ 16.14, median, in ≤ 180 s each",
        reached=lambda values: median(values) <= 16.14,
        within=180,
    ),
    Claim("engine-life", "RMSE at the last cycle, truth not capped", "rmse"),
    Claim(
        "chorales",
        "nats a frame",
        "nll",
        published={"lstm": "8.45 [3]", "gru": "8.43 [3]", "rnn": "8.91 [3]"},
        bound="≤ 8.45, each seed",
        reached=lambda values: max(values) <= 8.45,
    ),
)
