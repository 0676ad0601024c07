"""`python -m bench`: all rows, one after another; a table on the screen and in RESULTS.md."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.check import WrongAnswerError
from bench.crowd import crowd
from bench.cuts import cuts
from bench.durable import durable, durable_crowd
from bench.fairness import fairness
from bench.generator import NotRunError
from bench.million import million
from bench.overload import CALLS, FRAMES, STEPS, overload
from bench.report import Line, append, machine, table
from bench.rows import ROWS, floors, measure
from bench.workers import moves, workers
from bench.workshop import Workshop

WRONG = "**wrong answer**"

_ALL: Mapping[str, Callable[[Workshop], list[Line]]] = {
    "floors": floors,
    **{name: partial(measure, row) for name, row in ROWS.items()},
    "fairness": fairness,
    "crowd": crowd,
    "overload-calls": partial(overload, CALLS),
    "overload-steps": partial(overload, STEPS),
    "overload-frames": partial(overload, FRAMES),
    "cuts": cuts,
    "durable": durable,
    "durable-crowd": durable_crowd,
    "million": million,
    "workers": workers,
    "moves": moves,
}


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"One row; may be given again. {', '.join(_ALL)}.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each server is measured in each repeat.")] = 2.0,
    *,
    repeats: Annotated[int, typer.Option(min=1, help="How often.")] = 5,
    long: Annotated[bool, typer.Option(help="Overload for a minute, and cut ten thousand streams.")] = False,
    beside: Annotated[
        Path | None,
        typer.Option(exists=True, help="The `carousel` of another version, measured in turn with this one."),
    ] = None,
    record: Annotated[bool, typer.Option(help="Append the table to bench/RESULTS.md.")] = True,
) -> None:
    """Measure, print a table and append it to bench/RESULTS.md."""
    unknown = [name for name in only or () if name not in _ALL]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(_ALL)}")
    names = only or list(_ALL)
    lines: list[Line] = []
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(names))
        shop = Workshop(Path(folder), seconds, repeats, long, lambda what: None, beside)
        for name in names:
            shop.say = partial(_tell, progress, task, name)
            lines += _run(name, shop)
            progress.advance(task)
    print(f"{machine()}\n\n{table(lines)}")
    if record:
        append(lines, f"python -m bench {' '.join(sys.argv[1:])}".strip(), repeats, seconds)
    if any(line.what == WRONG for line in lines):
        raise typer.Exit(1)


def _run(name: str, shop: Workshop) -> list[Line]:
    """The lines of a row; if it could not be measured, or an answer was wrong, one that says why."""
    try:
        return _ALL[name](shop)
    except (NotRunError, WrongAnswerError) as reason:
        verdict = "**not run**" if isinstance(reason, NotRunError) else WRONG
        return [Line(name, verdict, " ".join(str(reason).replace("|", "/").split())[:500])]


def _tell(progress: Progress, task: TaskID, name: str, what: str) -> None:
    progress.update(task, description=f"{name}: {what}")


if __name__ == "__main__":
    typer.run(main)
