"""Tables for `init` as people write them, and what it makes of one."""

import tomllib
from collections.abc import Iterable
from datetime import datetime, timedelta
from math import sin
from pathlib import Path
from typing import Any

from training.data.dataset import Dataset, load
from training.init.draft import Draft, Given, draft
from training.recipe.read import read_recipe

START = datetime(2024, 1, 13)
ROWS = 120


def value(row: int) -> float:
    """A measured value that neither counts nor repeats in step."""
    return round(100 + 30 * sin(row / 5) + (row * 7919 % 13) / 7, 1)


def hours(count: int = ROWS, start: datetime = START) -> list[datetime]:
    return [start + timedelta(hours=i) for i in range(count)]


def table(header: str, rows: Iterable[Iterable[object]], separator: str = ",") -> str:
    cells = (separator.join(f'"{cell}"' if separator in str(cell) else str(cell) for cell in row) for row in rows)
    return "\n".join([header, *cells]) + "\n"


def series(written: str, count: int = ROWS, start: datetime = START) -> str:
    """One value an hour, its times written by strftime."""
    return table("when,load", [(f"{time:{written}}", value(i)) for i, time in enumerate(hours(count, start))])


def drafted(folder: Path, text: str | bytes, name: str = "t.csv", **given: Any) -> Draft:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    made = draft(folder / name, folder / "t.toml", Given(**given))
    (folder / "t.toml").write_text(made.text, encoding="utf-8")
    return made


def told(made: Draft) -> dict[str, Any]:
    """Return the keys of `[data]` but for the path."""
    return {key: value for key, value in tomllib.loads(made.text)["data"].items() if key != "path"}


def features(made: Draft) -> list[str]:
    return [one["name"] for one in tomllib.loads(made.text)["features"]]


def loaded(folder: Path) -> Dataset:
    """Return the data of the drafted recipe, as `fit` reads them."""
    return load(read_recipe(folder / "t.toml"))


def first(folder: Path, name: str) -> float:
    """Return the first value of a feature that training sees."""
    data = loaded(folder)
    names = [feature.name for feature in data.features]
    return float(data.training[0].sequence.inputs[0, names.index(name)])
