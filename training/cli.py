"""`carousel-train`: the command line of the training half, and the one place that shows its errors to people."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from training.errors import TrainingError

Picture = Annotated[Path, typer.Option("--output", "-o", help="Where to write the picture.")]

app = typer.Typer(help="Train a recurrent network and export it as one verified ONNX file.", no_args_is_help=True)


@app.command()
def fit(
    recipe: Annotated[str, typer.Argument(help="A recipe's file, or the name of a shipped one.")],
    *,
    models: Annotated[Path, typer.Option(help="Model repository to write to.")] = Path("models"),
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
    with _shown():
        # Heavy, so that `--help` answers at once.
        from rich.console import Console

        from training.card import comparison_table
        from training.contract import read_metadata
        from training.hardware import Hardware, is_first
        from training.parse import read_recipe
        from training.train import RUNS, train

        hardware = Hardware(accelerator, devices, precision)
        told = read_recipe(recipe)
        path = train(told, models, str(version), seed, given=recipe, resume=resume, hardware=hardware)
        if not is_first():
            return
        console = Console()
        console.print(comparison_table(read_metadata(path)))
        size = f"{path.stat().st_size / 1000:.0f} kB"
        console.print(f"Wrote {path} ({size}) and {path.with_name('card.md')}", soft_wrap=True)
        if (report := RUNS / told.name / str(version) / "report.html").exists():
            console.print(f"How it learnt and how far to trust it: {report}", soft_wrap=True)


@app.command()
def init(
    table: Annotated[Path, typer.Argument(help="A CSV or Parquet file with a header.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the recipe.")] = Path("recipe.toml"),
) -> None:
    """Write a first recipe by looking at a table; read it, then fit it."""
    with _shown():
        from training.draft import draft

        text = draft(table, output)
        if output.exists():
            raise TrainingError(f"{output} exists; remove it, or name another file by --output")
        _make_room(output)
        output.write_text(text, encoding="utf-8")
        typer.echo(f"Wrote {output}: read it, then run: carousel-train fit {quote(str(output))}")


@app.command()
def gates(
    recipe: Annotated[str, typer.Argument(help="A recipe's file, or the name of a shipped one; its model is an LSTM.")],
    *,
    models: Annotated[Path, typer.Option(help="Model repository to read from.")] = Path("models"),
    version: Annotated[int, typer.Option(min=1, help="Version of the model.")] = 1,
    sequence: Annotated[int, typer.Option(min=0, help="Which sequence of the test part, from 0.")] = 0,
    start: Annotated[int, typer.Option(min=0, help="The first of its steps to draw.")] = 0,
    steps: Annotated[int, typer.Option(min=2, help="How many of its steps; the default is a week of hours.")] = 168,
    output: Picture = Path("gates.png"),
) -> None:
    """Draw the gates, candidate and cell of a trained LSTM over a sequence of unseen data."""
    with _shown():
        from training.gates import draw
        from training.parse import read_recipe

        _make_room(output)
        draw(read_recipe(recipe), models, str(version), output, sequence=sequence, start=start, steps=steps)
        typer.echo(f"Wrote {output}")


@app.command()
def gradients(
    recipe: Annotated[str, typer.Argument(help="A recipe's file, or the name of a shipped one.")] = "metro-traffic",
    *,
    seed: Annotated[int, typer.Option(min=0, help="Of the three networks.")] = 0,
    output: Picture = Path("gradients.png"),
) -> None:
    """Train Elman, GRU and LSTM on a recipe, and draw how far back the gradient of a loss reaches in each.

    The numbers lie beside the picture as JSON. Run again, it goes on where it was interrupted.
    """
    with _shown():
        from training.parse import read_recipe
        from training.pictures import gradients as picture
        from training.train import RUNS
        from training.vanishing import vanishing

        told = read_recipe(recipe)
        _make_room(output)
        ledger = vanishing(told, RUNS / told.name / "gradients", typer.echo, seed=seed)
        picture(ledger.found, told.title or told.name).savefig(output, format="png")
        typer.echo(f"Wrote {output} and {ledger.copy(output.with_suffix('.json'))}")


@app.command()
def long_lag(
    *,
    seed: Annotated[int, typer.Option(min=0, help="Of all networks.")] = 0,
    output: Picture = Path("long-lag.png"),
) -> None:
    """Train every cell to recall a symbol after 5 to 100 steps, and draw how often each is right.

    The numbers lie beside the picture as JSON. Run again, it goes on where it was interrupted.
    """
    with _shown():
        from training.long_lag import chosen, compare
        from training.parse import read_recipe
        from training.pictures import long_lag as picture
        from training.train import RUNS

        told = read_recipe("recall")
        _make_room(output)
        ledger = compare(told, RUNS / told.name / "long-lag", typer.echo, seed=seed)
        picture(chosen(ledger.found.values())).savefig(output, format="png")
        typer.echo(f"Wrote {output} and {ledger.copy(output.with_suffix('.json'))}")


@app.command()
def quantise(
    recipe: Annotated[str, typer.Argument(help="A recipe's file, or the name of a shipped one; its model is an LSTM.")],
    *,
    models: Annotated[Path, typer.Option(help="Model repository to read from and write to.")] = Path("models"),
    of: Annotated[int, typer.Option(min=1, help="Version that int8 is made of.")] = 1,
    version: Annotated[int, typer.Option(min=1, help="Version to write; an older file of it is replaced.")] = 2,
    tolerance: Annotated[
        float, typer.Option(min=0, help="By what share its main figure on the validation part may be worse.")
    ] = 0.02,
) -> None:
    """Write a trained LSTM in int8, as another version, and print what that costs and brings."""
    with _shown():
        from rich.console import Console
        from rich.markdown import Markdown

        from training.parse import read_recipe
        from training.quantise import quantise as write

        told = read_recipe(recipe)
        path = write(told, models, of=str(of), version=str(version), tolerance=tolerance, given=recipe)
        card = path.with_name("card.md")
        Console().print(Markdown(card.read_text(encoding="utf-8").rpartition("## Quantised")[2]))
        typer.echo(f"Wrote {path} and {card}")


def _make_room(output: Path) -> None:
    """Make the folder of a file that is to be written; say what is in its way before hours are spent on it."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"--output {output}: {error.strerror}: {output.parent}; name another folder") from None
    if output.is_dir():
        raise TrainingError(f"--output {output}: is a folder; name a file in it")


@contextmanager
def _shown() -> Iterator[None]:
    """Print what the user can mend, without a traceback."""
    try:
        yield
    except TrainingError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
