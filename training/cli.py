"""`carousel-train`: the commands that draft, train, list and apply, and those of the studies."""

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markdown import Markdown

from study import commands
from training.errors import TrainingError
from training.terminal import (
    GivenModel,
    GivenRecipe,
    GivenTable,
    Models,
    Seed,
    Version,
    errors_shown,
    make_folder,
    recipe_named,
    steps_shown,
)

app = typer.Typer(help="Train a recurrent network and export it as one verified ONNX file.", no_args_is_help=True)
for study in (commands.gates, commands.gradients, commands.long_lag, commands.forget_bias):
    app.command()(study)


@app.command()
@errors_shown()
def fit(
    recipe: GivenRecipe,
    *,
    models: Models = Path("models"),
    version: Version = 1,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted fit stopped.")] = False,
    accelerator: Annotated[str, typer.Option(help="What to train on, in Lightning's words: cpu, gpu, auto.")] = "cpu",
    devices: Annotated[int | None, typer.Option(min=1, help="Processes on this host; torchrun's, or 1.")] = None,
    precision: Annotated[
        Literal["32-true", "bf16-mixed"] | None, typer.Option(help="bf16-mixed on a GPU that has it, else 32-true.")
    ] = None,
    feedforward: Annotated[bool, typer.Option(help="Compare with a feedforward network of the same size too.")] = False,
    require_better: Annotated[
        bool, typer.Option(help="Exit with 3 unless the model is better than the best baseline.")
    ] = False,
) -> None:
    """Train a recipe, export it, verify the file and print how good it is on unseen data."""
    from training.file.card import comparison_tables
    from training.file.contract import read_metadata
    from training.net.hardware import Hardware, is_first
    from training.runs import folder_of
    from training.train import train

    task, hardware = recipe_named(recipe), Hardware(accelerator, devices, precision)
    path = train(
        task, models, str(version), seed, given=recipe, resume=resume, feedforward=feedforward, hardware=hardware
    )
    if not is_first():
        return
    console, metadata = Console(), read_metadata(path)
    console.print(*comparison_tables(metadata), sep="\n")
    size, card = f"{path.stat().st_size / 1000:.0f} kB", path.with_name("card.md")
    console.print(f"Wrote {path} ({size}) and {card}", soft_wrap=True)
    if (report := folder_of(task, str(version), seed) / "report.html").exists():
        console.print(f"How it learnt and how far to trust it: {report}", soft_wrap=True)
    verdict = metadata["verdict"]
    style = "bold green" if verdict["better"] else "bold red"
    console.print(verdict["sentence"], style=style, soft_wrap=True, markup=False, highlight=False)
    if require_better and not verdict["better"]:
        raise typer.Exit(3)


@app.command()
@errors_shown()
def predict(
    model: GivenModel,
    table: GivenTable,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV or Parquet file to write.")] = Path("out.csv"),
) -> None:
    """Write the outputs of every row of a table: what a server streams, offline."""
    from training.apply import Applied
    from training.data.outside import flag
    from training.data.sources.formats import KINDS

    if output.resolve() == table.resolve():
        raise TrainingError(f"--output {output}: is the table; name another file")
    if (kind := output.suffix.lower()) in KINDS and kind != ".parquet":
        raise TrainingError(f"--output {output}: name a .csv or a .parquet file")
    make_folder(output)
    applied = Applied.of(model, table)
    with steps_shown(sum(map(len, applied.rows))) as told:
        frame = applied.predict(told)
    frame.write_parquet(output) if kind == ".parquet" else frame.write_csv(output)
    typer.echo(f"Wrote {output}: {len(frame)} rows")
    if (sentence := flag(applied.outside)) is not None:
        typer.echo(sentence)


@app.command()
@errors_shown()
def evaluate(model: GivenModel, table: GivenTable) -> None:
    """Print how good a model is on a table, beside its baselines: streamed as a server does, offline."""
    from training.apply import Applied
    from training.data.outside import flag
    from training.file.card import comparison_tables
    from training.file.verdict import Verdict
    from training.net.evaluate import flat

    applied = Applied.of(model, table)
    with steps_shown(sum(map(len, applied.rows))) as told:
        found = applied.evaluate(told)
    console, metadata = Console(), applied.metadata | {"metrics": flat(found, "given"), "recipe": applied.table.name}
    console.print(*comparison_tables(metadata), sep="\n")
    verdict = Verdict.of(applied.recipe.task, {"given": found}, metadata["outputs"])
    for line in filter(None, (flag(applied.outside), verdict.sentence)):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


@app.command(name="runs")
@errors_shown()
def list_runs(folder: Annotated[Path, typer.Argument(help="Folder of the runs.")] = Path("runs")) -> None:
    """List finished runs side by side; those of a recipe by their figure on the validation part, best first."""
    from training.runs import listing

    Console().print(listing(folder))


@app.command()
@errors_shown()
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
    from training.init.draft import Given, draft
    from training.init.explanation import as_table

    if output.exists():
        raise TrainingError(f"{output} exists; remove it, or name another file by --output")
    settings = {"time_format": time_format, "decimal": decimal, "separator": separator}
    settings |= {"encoding": encoding, "sheet": sheet}
    told = {key: value for key, value in settings.items() if value is not None}
    make_folder(output)
    drafted = draft(table, output, Given(tuple(time or ()), tuple(sequence or ()), target, told))
    output.write_text(drafted.text, encoding="utf-8")
    Console().print(as_table(drafted.notes))
    if drafted.refusal is not None:
        raise TrainingError(f"Wrote {output}, but fit refuses it until it is changed: {drafted.refusal}")
    typer.echo(f"Wrote {output}: read it, then run: carousel-train fit {quote(str(output))}")


@app.command()
@errors_shown()
def quantise(
    recipe: GivenRecipe,
    *,
    models: Models = Path("models"),
    of: Annotated[int, typer.Option(min=1, help="Version that int8 is made of.")] = 1,
    version: Version = 2,
    tolerance: Annotated[
        float, typer.Option(min=0, help="By what share its main figure on the validation part may be worse.")
    ] = 0.02,
) -> None:
    """Write a trained LSTM in int8, as another version, and print what that costs and brings."""
    from training.file.quantise import quantise

    path = quantise(recipe_named(recipe), models, of=str(of), version=str(version), tolerance=tolerance, given=recipe)
    card = path.with_name("card.md")
    Console().print(Markdown(card.read_text(encoding="utf-8").rpartition("## Quantised")[2]))
    typer.echo(f"Wrote {path} and {card}")
