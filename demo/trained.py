"""The model repository of a demonstration, trained now unless it was before."""

from pathlib import Path

from rich.console import Console

from training.recipe.recipe import Recipe
from training.train import train


def trained(recipe: Recipe, version: str, seed: int, folder: Path, console: Console) -> Path:
    """Return the model repository under `folder` with this version in it, and say how it came there."""
    models = folder / "models"
    file = models / recipe.name / version / "model.onnx"
    if file.exists():
        console.print(f"[bold]Reusing[/] {file}; remove {folder} to train again.")
    else:
        console.print(f"[bold]Training[/] {recipe.name} with seed {seed} …")
        train(recipe, models, version, seed, runs=folder / "training")
        console.print(f"[bold]Exported[/] and verified {file} ({file.stat().st_size / 1000:.0f} kB)")
    return models
