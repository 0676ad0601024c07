"""The lecture's experiments as commands of `carousel-train`: pictures and numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from training.terminal import GivenRecipe, Models, Seed, Version, errors_shown, make_folder, recipe_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from study.results import Results

Picture = Annotated[Path, typer.Option("--output", "-o", help="Where to write the picture.")]
Numbers = Annotated[Path, typer.Option("--output", "-o", help="Where to write the numbers.")]


@errors_shown()
def gates(
    recipe: GivenRecipe,
    *,
    models: Models = Path("models"),
    version: Version = 1,
    sequence: Annotated[int, typer.Option(min=0, help="Which sequence of the test part, from 0.")] = 0,
    start: Annotated[int, typer.Option(min=0, help="The first of its steps to draw.")] = 0,
    steps: Annotated[int, typer.Option(min=2, help="How many of its steps; the default is a week of hours.")] = 168,
    output: Picture = Path("gates.png"),
) -> None:
    """Draw the gates, candidate and cell of a trained LSTM over a sequence of unseen data."""
    from study.gates import draw

    make_folder(output)
    draw(recipe_named(recipe), models, str(version), output, sequence=sequence, start=start, steps=steps)
    typer.echo(f"Wrote {output}")


@errors_shown()
def gradients(
    recipe: GivenRecipe = "metro-traffic", *, seed: Seed = 0, output: Picture = Path("gradients.png")
) -> None:
    """Train Elman, GRU and LSTM on a recipe, and draw how far back the gradient of a loss reaches in each.

    The numbers lie beside the picture as JSON. Run again, it goes on where it was interrupted.
    """
    from study.gradients import gradients, picture
    from training.runs import RUNS

    task = recipe_named(recipe)
    make_folder(output)
    results = gradients(task, RUNS / task.name / "gradients", typer.echo, seed=seed)
    _write(picture(results.found, task.title or task.name), results, output)


@errors_shown()
def long_lag(*, seed: Seed = 0, output: Picture = Path("long-lag.png")) -> None:
    """Train every cell to recall a symbol after 5 to 100 steps, and draw how often each is right.

    The numbers lie beside the picture as JSON. Run again, it goes on where it was interrupted.
    """
    from study.long_lag import chosen, compare, picture
    from training.runs import RUNS

    task = recipe_named("recall")
    make_folder(output)
    results = compare(task, RUNS / task.name / "long-lag", typer.echo, seed=seed)
    _write(picture(chosen(results.found.values())), results, output)


@errors_shown()
def forget_bias(*, output: Numbers = Path("forget-bias.json")) -> None:
    """Train LSTMs to recall a symbol after 100 steps, with forget biases of 0 and 1, and print how often each is right.

    Run again, it goes on where it was interrupted.
    """
    from study.forget_bias import compare, table
    from training.runs import RUNS

    task = recipe_named("recall")
    make_folder(output)
    results = compare(task, RUNS / task.name / "forget-bias", typer.echo)
    Console().print(table(results.found))
    typer.echo(f"Wrote {results.copy(output)}")


def _write(picture: "Figure", results: "Results", output: Path) -> None:
    """Write a picture, and its numbers beside it."""
    picture.savefig(output, format="png")
    typer.echo(f"Wrote {output} and {results.copy(output.with_suffix('.json'))}")
