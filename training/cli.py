"""`carousel-train`: the command line. The only module that shows errors to users.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from training.errors import TrainingError

GivenRecipe = Annotated[str, typer.Argument(help="A recipe's file, or the name of a shipped one.")]
Models = Annotated[Path, typer.Option(help="Model repository.")]
Picture = Annotated[Path, typer.Option("--output", "-o", help="Where to write the picture.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same networks.")]

app = typer.Typer(help="Train a recurrent network and export it as one verified ONNX file.", no_args_is_help=True)


@contextmanager
def _errors_shown() -> Iterator[None]:
    """Print errors that the user can fix without a traceback, and exit with 1."""
    try:
        yield
    except TrainingError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None


@app.command()
@_errors_shown()
def fit(
    recipe: GivenRecipe,
    *,
    models: Models = Path("models"),
    version: Annotated[int, typer.Option(min=1, help="Version of the model; an older file of it is replaced.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same model.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted fit stopped.")] = False,
    accelerator: Annotated[str, typer.Option(help="What to train on, in Lightning's words: cpu, gpu, auto.")] = "cpu",
    devices: Annotated[int | None, typer.Option(min=1, help="Processes on this host; torchrun's, or 1.")] = None,
    precision: Annotated[
        Literal["32-true", "bf16-mixed"] | None, typer.Option(help="bf16-mixed on a GPU that has it, else 32-true.")
    ] = None,
) -> None:
    """Train a recipe, export it, verify the file and print how good it is on unseen data."""
    from rich.console import Console

    from training.file.card import comparison_table
    from training.file.contract import read_metadata
    from training.net.hardware import Hardware, is_first
    from training.recipe.read import read_recipe
    from training.train import RUNS, train

    hardware = Hardware(accelerator, devices, precision)
    task = read_recipe(recipe)
    path = train(task, models, str(version), seed, given=recipe, resume=resume, hardware=hardware)
    if not is_first():
        return
    console = Console()
    console.print(comparison_table(read_metadata(path)))
    size = f"{path.stat().st_size / 1000:.0f} kB"
    console.print(f"Wrote {path} ({size}) and {path.with_name('card.md')}", soft_wrap=True)
    if (report := RUNS / task.name / str(version) / "report.html").exists():
        console.print(f"How it learnt and how far to trust it: {report}", soft_wrap=True)


@app.command()
@_errors_shown()
def init(
    table: Annotated[Path, typer.Argument(help="A CSV, Parquet or Excel file with a header.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the recipe.")] = Path("recipe.toml"),
    *,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    time: Annotated[list[str] | None, typer.Option(help="The time; repeat it for several columns; or: none.")] = None,
    sequence: Annotated[list[str] | None, typer.Option(help="What tells sequences apart; repeat it likewise.")] = None,
    time_format: Annotated[str | None, typer.Option(help="How the time is written: %d/%m/%y %H:%M, epoch ms.")] = None,
    decimal: Annotated[Literal[".", ","] | None, typer.Option(help="The decimal mark.")] = None,
    separator: Annotated[str | None, typer.Option(help="What separates columns.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of the text, such as cp1252.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Of an Excel file.")] = None,
) -> None:
    """Write a first recipe by looking at a table, and print what was understood; read it, then fit it."""
    from rich.console import Console

    from training.recipe.draft import Given, draft
    from training.recipe.notes import as_table

    if output.exists():
        raise TrainingError(f"{output} exists; remove it, or name another file by --output")
    settings = {"time_format": time_format, "decimal": decimal, "separator": separator}
    settings |= {"encoding": encoding, "sheet": sheet}
    told = {key: value for key, value in settings.items() if value is not None}
    drafted = draft(table, output, Given(tuple(time or ()), tuple(sequence or ()), target, told))
    _make_folder(output)
    output.write_text(drafted.text, encoding="utf-8")
    Console().print(as_table(drafted.notes))
    typer.echo(f"Wrote {output}: read it, then run: carousel-train fit {quote(str(output))}")


@app.command()
@_errors_shown()
def gates(
    recipe: GivenRecipe,
    *,
    models: Models = Path("models"),
    version: Annotated[int, typer.Option(min=1, help="Version of the model.")] = 1,
    sequence: Annotated[int, typer.Option(min=0, help="Which sequence of the test part, from 0.")] = 0,
    start: Annotated[int, typer.Option(min=0, help="The first of its steps to draw.")] = 0,
    steps: Annotated[int, typer.Option(min=2, help="How many of its steps; the default is a week of hours.")] = 168,
    output: Picture = Path("gates.png"),
) -> None:
    """Draw the gates, candidate and cell of a trained LSTM over a sequence of unseen data."""
    from study.gates import draw
    from training.recipe.read import read_recipe

    _make_folder(output)
    draw(read_recipe(recipe), models, str(version), output, sequence=sequence, start=start, steps=steps)
    typer.echo(f"Wrote {output}")


@app.command()
@_errors_shown()
def gradients(
    recipe: GivenRecipe = "metro-traffic", *, seed: Seed = 0, output: Picture = Path("gradients.png")
) -> None:
    """Train Elman, GRU and LSTM on a recipe, and draw how far back the gradient of a loss reaches in each.

    The numbers lie beside the picture as JSON. Run again, it goes on where it was interrupted.
    """
    from study.gradients import gradients, picture
    from training.recipe.read import read_recipe
    from training.train import RUNS

    task = read_recipe(recipe)
    _make_folder(output)
    results = gradients(task, RUNS / task.name / "gradients", typer.echo, seed=seed)
    picture(results.found, task.title or task.name).savefig(output, format="png")
    typer.echo(f"Wrote {output} and {results.copy(output.with_suffix('.json'))}")


@app.command()
@_errors_shown()
def long_lag(*, seed: Seed = 0, output: Picture = Path("long-lag.png")) -> None:
    """Train every cell to recall a symbol after 5 to 100 steps, and draw how often each is right.

    The numbers lie beside the picture as JSON. Run again, it goes on where it was interrupted.
    """
    from study.long_lag import chosen, compare, picture
    from training.recipe.read import read_recipe
    from training.train import RUNS

    task = read_recipe("recall")
    _make_folder(output)
    results = compare(task, RUNS / task.name / "long-lag", typer.echo, seed=seed)
    picture(chosen(results.found.values())).savefig(output, format="png")
    typer.echo(f"Wrote {output} and {results.copy(output.with_suffix('.json'))}")


@app.command()
@_errors_shown()
def quantise(
    recipe: GivenRecipe,
    *,
    models: Models = Path("models"),
    of: Annotated[int, typer.Option(min=1, help="Version that int8 is made of.")] = 1,
    version: Annotated[int, typer.Option(min=1, help="Version to write; an older file of it is replaced.")] = 2,
    tolerance: Annotated[
        float, typer.Option(min=0, help="By what share its main figure on the validation part may be worse.")
    ] = 0.02,
) -> None:
    """Write a trained LSTM in int8, as another version, and print what that costs and brings."""
    from rich.console import Console
    from rich.markdown import Markdown

    from training.file.quantise import quantise
    from training.recipe.read import read_recipe

    path = quantise(read_recipe(recipe), models, of=str(of), version=str(version), tolerance=tolerance, given=recipe)
    card = path.with_name("card.md")
    Console().print(Markdown(card.read_text(encoding="utf-8").rpartition("## Quantised")[2]))
    typer.echo(f"Wrote {path} and {card}")


def _make_folder(output: Path) -> None:
    """Create the folder of an output file; fail before a long computation if that is impossible."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"--output {output}: {error.strerror}: {output.parent}; name another folder") from None
    if output.is_dir():
        raise TrainingError(f"--output {output}: is a folder; name a file in it")
