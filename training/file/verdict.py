"""Verdict of a fit: is the network better than the best forecast that needs none? One sentence, with figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from training.file.card import LABELS, figure_label
from training.tasks import Figures

Scores = Mapping[str, Figures]  # whose → metrics; `test` is the network's own, streamed
HIGHER = ("f1",)  # higher is better; of other main figures lower is
OWN = ("test", "state_dropped")  # the others are baselines
RESIDUAL = "residual = true in [task], so that the network learns what changes"
OTHERS = "more data, other features, a smaller network or a lower learning_rate"


@dataclass(frozen=True)
class Verdict:
    """`better`: on the validation part and on the test part; None where there is nothing to compare."""

    better: bool | None
    figure: str  # the metric that it goes by
    sentence: str

    @classmethod
    def of(cls, section: Any, parts: Mapping[str, Scores], outputs: Sequence[Mapping[str, Any]]) -> "Verdict":
        """Judge scores by the main figure of the recipe's `[task]`; the best baseline is that of the first part."""
        main = main_figure(section)
        values = {part: {name: _value(main, own) for name, own in scores.items()} for part, scores in parts.items()}
        first = next(iter(values.values()))
        rivals = {name: value for name, value in first.items() if name not in OWN and isfinite(value)}
        if not rivals or not all(isfinite(own["test"]) for own in values.values()):
            return cls(None, main, "Not judged: a part has no answers, or there is no baseline to compare with.")
        sign = -1 if main in HIGHER else 1
        best = min(rivals, key=lambda name: sign * rivals[name])
        wins = {part: sign * (own[best] - own["test"]) > 0 for part, own in values.items()}
        pairs = (f"{own['test']:.4g} against {own[best]:.4g} on the {part} part" for part, own in values.items())
        label = figure_label(main, {"outputs": outputs})
        rival, figures = f"the best baseline, {LABELS[best]}", f"{label} {', '.join(pairs)}."
        if all(wins.values()):
            return cls(True, main, f"Better than {rival}: {figures}")
        where = [f", on the {part} part only" for part, won in wins.items() if won]
        said = f"it is better than {rival}{where[0]}" if where else f"it is not better than {rival}"
        advice = RESIDUAL if best == "persistence" and getattr(section, "residual", None) is False else OTHERS
        return cls(False, main, f"Do not serve this: {said}: {figures} Try {advice}.")


def main_figure(section: Any) -> str:
    """Return the name of the metric by which a task is judged."""
    if section.kind == "regression":
        return "capped_rmse" if section.cap is not None else "mae" if section.loss == "mae" else "mse_z"
    if getattr(section, "weights", None) is not None:
        return "f1"
    return "pinball_z" if section.kind == "quantiles" else "nll"


def _value(main: str, figures: Figures) -> float:
    """Return a figure; of outputs without a common unit the mean of their own."""
    own = [
        value for name, value in figures.items() if name == main or (main not in figures and name.endswith(f"_{main}"))
    ]
    return float(np.mean(own)) if own else float("nan")
