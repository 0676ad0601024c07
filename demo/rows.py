"""The rows of the table of results: recipe, cell and seed of each, and what is on file of it. Knows no figures."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from training.recipe.read import read_recipe
from training.recipe.recipe import Recipe

FOLDER = Path("runs/results")
CODE = [Path(__file__).parents[1] / "training" / room for room in ("data", "net", "tasks")]
RATES = {"chorales-gru": 0.01, "chorales-rnn": 0.01}  # chosen on validation; at the LSTM's they may not settle


class Row(NamedTuple):
    """One network to be measured."""

    recipe: str
    cell: str
    seed: int

    @property
    def model(self) -> str:
        """The name under which it is served."""
        return f"{self.recipe}-{self.cell}"

    @property
    def folder(self) -> Path:
        """Where everything that the row leaves lies."""
        return FOLDER / f"{self.model}-{self.seed}"

    def told(self) -> Recipe:
        """Return its recipe: the shipped one, with this cell and, where it has one, its own learning rate."""
        recipe = read_recipe(self.recipe)
        network = recipe.network.model_copy(update={"cell": self.cell})
        rate = RATES.get(self.model, recipe.training.learning_rate)
        training = recipe.training.model_copy(update={"learning_rate": rate})
        return recipe.model_copy(update={"name": self.model, "network": network, "training": training})

    def __str__(self) -> str:
        return f"{self.recipe}, {self.cell}, seed {self.seed}"


ROWS = (
    *(Row("metro-traffic", cell, seed) for cell in ("lstm", "gru", "rnn", "feedforward") for seed in range(3)),
    *(Row("reber", "lstm", seed) for seed in range(3)),
    *(Row("engine-life", "lstm", seed) for seed in range(5)),
    *(Row("chorales", cell, seed) for cell in ("lstm", "gru", "rnn") for seed in range(3)),
)


@dataclass(frozen=True)
class Result:
    """What was measured of a row, and of what: the same recipe, data and code give the same figures."""

    recipe: dict[str, Any]
    data_sha256: str
    code_sha256: str
    figures: dict[str, dict[str, float]]  # whose → figure → value; `test` is the network, through the service
    seconds: float  # from the start of the process to the score
    cpu_seconds: float  # of it and of the service
    machine: str
    date: str

    def write(self, row: Row) -> None:
        """Put it on file; a row has its file whole or not at all."""
        path = row.folder / "result.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        new.replace(path)


def on_file(row: Row) -> Result | None:
    """Return what was measured of a row, if it was."""
    path = row.folder / "result.json"
    return Result(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def asked(recipe: Recipe) -> dict[str, Any]:
    """Return what of a recipe decides the figures: all but its place and its prose."""
    return recipe.model_dump(mode="json", exclude={"folder", "title", "notes"})


def code_sha256() -> str:
    """Return one hash of the code in training/ that decides what is learnt and how it is judged."""
    files = sorted(file for room in CODE for file in room.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
