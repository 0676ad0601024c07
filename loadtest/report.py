"""`carousel bench`: loads a running service and says what came of it, with a plot of the latencies."""

import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtest.load import Outcome, Plan, run

_BUSY = 0.9  # of a core: from there on it is this program that is measured
_BARS, _WIDTH = 16, 40  # of the plot, and characters of its longest bar
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def bench(plan: Plan, file: Path | None) -> None:
    """Run a plan, print its figures and, if a file is named, write them there as JSON. Raises NotServedError."""
    outcome, console = Outcome(), Console()
    _watch(plan, outcome)
    told = figures(plan, outcome)
    table = Table("", "", show_header=False)
    for name, value in told.items():
        table.add_row(name.replace("_", " "), f"{value:,.3f}" if isinstance(value, float) else f"{value}")
    console.print(table)
    for line in plot(outcome.latencies):
        console.print(line, highlight=False)
    if outcome.busy > _BUSY:
        console.print(f"[bold]This program used {outcome.busy:.0%} of a core, and so measured itself.[/]")
        console.print("The service can do more than this: run several at once, or send more steps in a call.")
    if file is not None:
        file.write_bytes(orjson.dumps({"plan": asdict(plan), "figures": told}, option=orjson.OPT_INDENT_2))


def figures(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """The figures of a run: counts, rates per second, latencies in milliseconds."""
    seconds = outcome.seconds or plan.seconds
    latencies = np.array(outcome.latencies or [np.nan]) * 1000
    return {
        "answers": len(outcome.latencies),
        "steps": outcome.steps,
        "refused": dict(outcome.refused),
        "seconds": seconds,
        "answers_per_second": len(outcome.latencies) / seconds,
        "steps_per_second": outcome.steps / seconds,
        **{f"{name}_ms": float(np.quantile(latencies, share)) for name, share in _QUANTILES.items()},
        "busy": outcome.busy,
    }


def plot(latencies: Sequence[float]) -> list[str]:
    """A histogram, one line a bucket; each bucket is as wide as the one above times a constant."""
    if not latencies:
        return []
    values = np.array(latencies) * 1000
    counts, edges = np.histogram(values, np.geomspace(values.min() * 0.999, values.max() * 1.001, _BARS + 1))
    bars = ["█" * round(_WIDTH * count / counts.max()) or ("▏" if count else "") for count in counts]
    return [
        f"{low:9.3f} – {high:9.3f} ms {bar:<{_WIDTH}} {count / len(values):6.1%}"
        for low, high, bar, count in zip(edges[:-1], edges[1:], bars, counts, strict=True)
    ]


def _watch(plan: Plan, outcome: Outcome) -> None:
    """Run it while a progress line on standard error tells how far it is."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{plan.sessions} sessions of {plan.model}", total=plan.seconds)
        ended = threading.Event()

        def tell() -> None:
            while not ended.wait(0.2):
                progress.update(task, completed=outcome.seconds, description=f"{len(outcome.latencies):,} answers")

        teller = threading.Thread(target=tell)
        teller.start()
        try:
            run(plan, outcome)
        finally:
            ended.set()
            teller.join()
