"""What all commands share: arguments, recipes, errors, output folders and progress.

Here and in the commands, heavy modules are imported inside the functions, so that `--help` answers at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from training.errors import TrainingError

if TYPE_CHECKING:
    from training.recipe.recipe import Recipe

GivenRecipe = Annotated[str, typer.Argument(help="A recipe's file, or the name of a shipped one.")]
GivenModel = Annotated[Path, typer.Argument(help="A model.onnx that `fit` wrote.")]
GivenTable = Annotated[Path, typer.Argument(help="A table with the columns that the model was trained on.")]
Models = Annotated[Path, typer.Option(help="Model repository.")]
Version = Annotated[int, typer.Option(min=1, help="Version of the model; what writes one replaces an older file.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same networks.")]


def recipe_named(which: str) -> "Recipe":
    """Read a recipe, given its file or the name of a shipped one."""
    from training.recipe.read import read_recipe

    return read_recipe(which)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Print errors that the user can fix without a traceback, and exit with 1."""
    try:
        yield
    except TrainingError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written after it", err=True)
        raise typer.Exit(130) from None


@contextmanager
def steps_shown(total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar over steps; yield the function that advances it."""
    with Progress(transient=True) as bar:
        task = bar.add_task("steps", total=total)
        yield lambda steps: bar.advance(task, steps)


def make_folder(output: Path) -> None:
    """Create the folder of an output file; fail before a long computation if that is impossible."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"--output {output}: {error.strerror}: {output.parent}; name another folder") from None
    if output.is_dir():
        raise TrainingError(f"--output {output}: is a folder; name a file in it")
