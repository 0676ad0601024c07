"""Results → docs/results.md: page.md with its tables filled in. Measures nothing."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from demo.claims import CLAIMS, Claim
from demo.rows import ROWS, Result, Row
from training.file.card import LABELS

TEXT = Path(__file__).with_suffix(".md")
SHOWN = {"strings_right": "{:.1%}", "accuracy": "{:.1%}", "f1": "{:.3f}", "nll": "{:.3f}", "mse_z": "{:.4f}"}
FIGURES = {
    "mse_z": "MSE, z-scored",
    "mae": "MAE",
    "strings_right": "strings right",
    "accuracy": "accuracy",
    "f1": "F1",
    "nll": "nats a step",
    "capped_rmse": "RMSE, truth capped",
    "rmse": "RMSE, truth not capped",
}
CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN (Elman)", "feedforward": "feedforward"}
Results = Mapping[Row, Result]


def page(results: Results, not_run: Mapping[Row, str]) -> str:
    """Return the page; what was not run is named, with the reason."""
    text = TEXT.read_text(encoding="utf-8")
    text = text.replace("{overview}", _overview(results)).replace("{not_run}", _not_run(not_run))
    text = text.replace("{machine}", "; ".join(sorted({f"{one.machine}, {one.date}" for one in results.values()})))
    for recipe in dict.fromkeys(row.recipe for row in ROWS):
        text = text.replace(f"{{{recipe}}}", _beside(_of(results, recipe)))
    return text


def _overview(results: Results) -> str:
    head = ["recipe", "network", "measure", "ours", "published", "must reach", "reached", "seconds"]
    return _table(head, [line for claim in CLAIMS for line in _lines(claim, _of(results, claim.recipe))])


def _lines(claim: Claim, results: Results) -> Iterator[list[str]]:
    for cell, name in CELLS.items():
        own = [result for row, result in results.items() if row.cell == cell]
        if not own:
            continue
        seeds = sum((row.recipe, row.cell) == (claim.recipe, cell) for row in ROWS)
        bound, reached = _judged(claim, own, seeds) if cell == "lstm" else ("–", "–")
        published = claim.published.get(cell, "–")
        seconds = f"{median(one.seconds for one in own):.0f} ({median(one.cpu_seconds for one in own):.0f})"
        ours = _spread(claim.figure, _values(claim, own))
        yield [f"`{claim.recipe}`", name, claim.measure, ours, published, bound, reached, seconds]


def _judged(claim: Claim, own: Sequence[Result], seeds: int) -> tuple[str, str]:
    """Return the bound, and whether it is reached; nothing is before every seed was run."""
    if claim.reached is None:
        return claim.bound, "–"
    if len(own) < seeds:
        return claim.bound, f"{len(own)} of {seeds} run"
    if max(one.seconds for one in own) > claim.within:
        return claim.bound, "**no**: too slow"
    return claim.bound, "yes" if claim.reached(_values(claim, own)) else "**no**"


def _values(claim: Claim, own: Sequence[Result]) -> list[float]:
    return [result.figures[claim.whose][claim.figure] for result in own]


def _beside(results: Results) -> str:
    """Return every figure of a recipe: of each network, with its state and without, and of what needs no network."""
    if not results:
        return "Not run."
    first = next(iter(results.values())).figures
    left_out = () if "capped_rmse" in first["test"] else ("rmse",)  # of a task without a cap the MAE says enough
    figures = [figure for figure in FIGURES if figure in first["test"] and figure not in left_out]
    lines = []
    for cell, name in CELLS.items():
        own = [result.figures for row, result in results.items() if row.cell == cell]
        for whose, words in {"test": "streamed", "state_dropped": "state dropped at every step"}.items():
            if own and whose in own[0]:
                spreads = [_spread(figure, [one[whose][figure] for one in own]) for figure in figures]
                lines.append([f"{name}, {words}", *spreads])
    for whose, found in first.items():
        if whose not in ("test", "state_dropped"):
            shown = [_shown(figure, found[figure]) if figure in found else "–" for figure in figures]
            lines.append([LABELS[whose], *shown])
    return _table(["", *(FIGURES[figure] for figure in figures)], lines)


def _not_run(not_run: Mapping[Row, str]) -> str:
    reasons = dict.fromkeys(not_run.values())
    lines = [f"- {'; '.join(str(row) for row in not_run if not_run[row] == why)}: {why}" for why in reasons]
    return "\n".join(["Not run:", "", *lines]) if lines else "Every row was run."


def _of(results: Results, recipe: str) -> Results:
    return {row: result for row, result in results.items() if row.recipe == recipe}


def _spread(figure: str, values: Sequence[float]) -> str:
    """Return the median and, of several values, the range."""
    middle, least, most = (_shown(figure, of(values)) for of in (median, min, max))
    return middle if least == most else f"{middle} ({least} – {most})"


def _shown(figure: str, value: float) -> str:
    return SHOWN.get(figure, "{:.2f}").format(value).replace("%", " %")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
