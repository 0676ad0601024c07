"""Three tables that nobody prepared go from file to a verified model: `init`, a shorter training, `fit`."""

import random
from datetime import datetime, timedelta
from math import sin
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from training.cli import app
from training.contract import read_metadata
from training.verify import Exported


def hourly() -> str:
    """One numeric series, one row an hour, nothing else."""
    dice = random.Random(1)
    start = datetime(2023, 3, 1)
    rows = [f"{start + timedelta(hours=i)},{20 + 5 * sin(i / 4) + dice.gauss(0, 0.5):.2f}" for i in range(600)]
    return "\n".join(["timestamp,temperature", *rows]) + "\n"


def runs() -> str:
    """Many short ragged sequences, their rows interleaved, with a category and a class for every step."""
    dice = random.Random(2)
    lines = []
    for run in range(40):
        material, level = dice.choice(["steel", "copper", "glass"]), 0.0
        for step in range(dice.randint(3, 30)):
            level += dice.gauss(0.2, 1)
            label = "ok" if level < 2 else "warm" if level < 4 else "hot"
            lines.append((dice.random(), run, step, f"run-{run},{step},{material},{level:.3f},{label}"))
    order = sorted(lines, key=lambda line: (line[2], line[0]))  # all first steps, then all second ones
    return "\n".join(["run,step,material,level,label", *(line[3] for line in order)]) + "\n"


def nasty() -> str:
    """A spreadsheet's export: BOM, semicolons, decimal commas, quotes, gaps, two ways to write a date."""
    dice = random.Random(3)
    now, lines = datetime(2022, 1, 1), []
    for i in range(400):
        now += timedelta(minutes=10) if i % 150 else timedelta(days=9)
        date = f"{now:%d.%m.%Y %H:%M}" if i % 3 else f"{now:%Y-%m-%dT%H:%M:%SZ}"
        load = "" if dice.random() < 0.1 else f"{100 + 30 * sin(i / 7):.1f}".replace(".", ",")
        machine, note = dice.choice([7, 12, 400]), dice.choice(['"ja; sicher"', '"""gut"""', "nein", "NA"])
        lines.append(f"{date};{machine};{load};{note};5;Zeile {i}\r\n")
    return "\ufeffZeit;Maschine Nr;Größe [m³/h];Prüfung, Ergebnis;konstant;Bemerkung\r\n" + "".join(lines)


@pytest.mark.parametrize(
    ("table", "task", "features"),
    [
        (hourly, "regression", ["temperature", "hour", "weekday"]),
        (runs, "classification", ["material", "level"]),
        (nasty, "regression", ["Maschine Nr", "Größe [m³/h]", "Prüfung, Ergebnis", "hour", "weekday"]),
    ],
)
def test_a_strangers_table_becomes_a_model_that_answers_a_stream_with_gaps(
    table, task: str, features: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their data.csv").write_text(table(), encoding="utf-8", newline="")
    monkeypatch.chdir(tmp_path)
    invoke = CliRunner().invoke
    drafted = invoke(app, ["init", "their data.csv"])
    assert drafted.exit_code == 0, drafted.output
    recipe = Path("recipe.toml").read_text(encoding="utf-8")
    Path("recipe.toml").write_text(recipe.replace("epochs = 30", "epochs = 1"), encoding="utf-8")
    fitted = invoke(app, ["fit", "recipe.toml"])
    assert fitted.exit_code == 0, fitted.output
    path = Path("models/their-data/1/model.onnx")
    metadata = read_metadata(path)
    assert metadata["task"] == task
    assert [feature["name"] for feature in metadata["features"]] == features

    run = Exported(path.read_bytes())
    state = {name: np.zeros((1, 32), np.float32) for name in run.state_names}
    row = np.full((1, 1, len(features)), [feature.get("initial", 0) for feature in metadata["features"]], np.float32)
    output, _ = run(row, np.ones(1, np.int32), state)  # before anything was measured
    assert np.isfinite(output).all()


def test_the_nasty_table_was_read_as_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nasty.csv").write_text(nasty(), encoding="utf-8", newline="")
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(app, ["init", "nasty.csv"])
    recipe = Path("recipe.toml").read_text(encoding="utf-8")
    assert 'decimal = ","' in recipe
    assert 'gap = "6000s"' in recipe
    assert "# konstant is left out: it is always 5" in recipe
    assert "# Bemerkung is left out: it has 400 different words" in recipe
    assert 'labels = ["\\"gut\\"", "ja; sicher", "nein"]' in recipe
    assert 'targets = ["Größe [m³/h]"]' in recipe
