"""Small tables and recipes, written as their users would write them."""

from datetime import datetime, timedelta
from pathlib import Path

from training.data.dataset import Dataset, load
from training.recipe.read import read_recipe
from training.recipe.recipe import Recipe

START = datetime(2024, 1, 1)

RECIPE = """
name = "tiny"

[data]
path = "tiny.csv"
time = "time"

[[features]]
name = "x"

[task]
kind = "regression"
targets = ["x"]

[split]
by = "time"
validation = 0.2
test = 0.2

[network]
hidden = 4

[training]
epochs = 1
window = 8
"""


def hours(count: int) -> list[str]:
    return [f"{START + timedelta(hours=i):%Y-%m-%d %H:%M}" for i in range(count)]


def csv(*columns: list[object], header: str) -> str:
    return "\n".join(
        [header, *(",".join("" if v is None else str(v) for v in row) for row in zip(*columns, strict=True))]
    )


def line(count: int = 20) -> str:
    """x = 0, 1, 2, … at each hour."""
    return csv(hours(count), list(range(count)), header="time,x")


def recipe(folder: Path, text: str = RECIPE, table: str | None = None, **changes: str) -> Recipe:
    """Write a recipe and its table; `changes` replace a line by its key."""
    for key, value in changes.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} = ") else line for line in text.splitlines()]
        assert lines != text.splitlines(), key
        text = "\n".join(lines)
    (folder / "tiny.csv").write_text(line() if table is None else table, encoding="utf-8")
    (folder / "tiny.toml").write_text(text, encoding="utf-8")
    return read_recipe(folder / "tiny.toml")


def data(folder: Path, text: str = RECIPE, table: str | None = None, **changes: str) -> Dataset:
    return load(recipe(folder, text, table, **changes))
