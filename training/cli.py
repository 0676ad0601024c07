"""`carousel-train`: the command line of the training half."""

from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train a recurrent network and export it as one verified ONNX file.", no_args_is_help=True)


class Recipe(StrEnum):
    """The tasks that ship with the package, each a module of `training.recipes`."""

    METRO_TRAFFIC = "metro-traffic"


@app.callback()
def main() -> None:
    """Keep `fit` a command of its own while it is the only one."""


@app.command()
def fit(
    recipe: Recipe,
    models: Annotated[Path, typer.Option(help="Model repository to write to.")] = Path("models"),
    version: Annotated[int, typer.Option(min=1, help="Version of the model; an older file of it is replaced.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same model.")] = 0,
) -> None:
    """Train a recipe, export it, verify the file and print how good it is on unseen data."""
    # Heavy, so that `--help` answers at once.
    from rich.console import Console

    from training.contract import read_metadata
    from training.report import comparison_table

    module = import_module(f"training.recipes.{recipe.value.replace('-', '_')}")
    path = module.train(models, str(version), seed)
    console = Console()
    console.print(comparison_table(read_metadata(path)))
    console.print(f"Wrote {path} ({path.stat().st_size / 1000:.0f} kB) and {path.with_name('card.md')}", soft_wrap=True)
