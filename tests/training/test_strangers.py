"""Three tables as they were published, from file to a streamed forecast: `init`, a shorter training, `fit`, `serve`."""

import random
from collections.abc import Iterator
from contextlib import chdir
from datetime import datetime, timedelta
from math import sin
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from carousel_client import Client, Preparation
from tests.wire.server import Server
from training.apply import Applied
from training.cli import app
from training.data.clock import wall_clock
from training.data.columns import numbers, words
from training.data.sequences import Rows
from training.file.contract import read_metadata
from training.file.verify import Exported


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
    """A spreadsheet's export: BOM, semicolons, decimal commas, quoted line ends, blank lines, gaps, dates two ways."""
    dice = random.Random(3)
    now, lines = datetime(2022, 1, 1), []
    for i in range(400):
        now += timedelta(minutes=10) if i % 150 else timedelta(days=9)
        date = f"{now:%d.%m.%Y %H:%M}" if i % 3 else f"{now:%Y-%m-%dT%H:%M:%SZ}"
        load = "" if dice.random() < 0.1 else f"{100 + 30 * sin(i / 7):.1f}".replace(".", ",")
        machine, note = dice.choice([7, 12, 400]), dice.choice(['"ja; sicher"', '"""gut"""', "nein", "NA"])
        lines.append(f'{date};{machine};{load};{note};5;"Zeile\n{i}"\r\n' + "\r\n" * (i % 60 == 0))
    return "\ufeffZeit;Maschine Nr;Größe [m³/h];Prüfung, Ergebnis;konstant;Bemerkung\r\n" + "".join(lines)


LAG = '[[features]]\nkind = "lag"\nname = "vorher"\nof = "Größe [m³/h]"\nsteps = 3\n\n'


def edited(recipe: str) -> str:
    """A shorter training; and of the spreadsheet's target a mask of its gaps, and a lag."""
    name, gap = 'name = "Größe [m³/h]"\nmissing = ', '"hold"'
    shorter = recipe.replace("epochs = 30", "epochs = 1").replace(name + gap, name + '"mask"')
    return shorter.replace("[task]", LAG + "[task]") if name in recipe else shorter


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tables, each from file to model by two commands, in one empty folder."""
    folder = tmp_path_factory.mktemp("theirs")
    with chdir(folder):
        for table in (hourly, runs, nasty):
            path = Path(f"{table.__name__} data.csv")
            path.write_text(table(), encoding="utf-8", newline="")
            drafted = CliRunner().invoke(app, ["init", str(path), "-o", "recipe.toml"])
            assert drafted.exit_code == 0, drafted.output
            recipe = Path("recipe.toml")
            recipe.write_text(edited(recipe.read_text(encoding="utf-8")), encoding="utf-8")
            fitted = CliRunner().invoke(app, ["fit", "recipe.toml"])
            assert fitted.exit_code == 0, fitted.output
            recipe.unlink()
    return folder / "models"


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[Client]:
    """Of a service that has the three models and nothing else."""
    server = Server(models, models.with_name("log")).wait_until_ready()
    with Client(server.url) as client:
        yield client
    assert server.stop() == 0, server.log


@pytest.mark.parametrize(
    ("name", "task", "features", "rows"),
    [
        (
            "hourly-data",
            "regression",
            ["temperature", "hour", "weekday"],
            [{"temperature": 20.5}, {}, {"temperature": None}, {"temperature": 21}],
        ),
        (
            "runs-data",
            "classification",
            ["material", "level"],
            [{"material": "steel", "level": 0.2}, {"level": 1}, {}, {"material": "glass", "level": 5}],
        ),
        (
            "nasty-data",
            "regression",
            [  # no weekday: between its three days the table pauses
                *("Maschine Nr", "Größe [m³/h]", "Größe [m³/h]_missing", "Prüfung, Ergebnis"),
                *("hour", "vorher"),
            ],
            [{}, {"Maschine Nr": 12, "Größe [m³/h]": 101.5, "Prüfung, Ergebnis": "nein"}, {}, {"Größe [m³/h]": 99}],
        ),
    ],
)
def test_a_strangers_table_becomes_a_model_that_answers_a_stream_with_gaps(
    *,
    models: Path,
    client: Client,
    name: str,
    task: str,
    features: list[str],
    rows: list[dict[str, float | str | None]],
) -> None:
    metadata = read_metadata(models / name / "1/model.onnx")
    assert metadata["task"] == task
    described = client.model(name)
    assert [feature["name"] for feature in described["features"]] == features

    preparation = Preparation(described)
    times = [datetime(2024, 5, 1) + timedelta(hours=i) for i in range(len(rows))]
    prepared = [preparation.row(row, time) for row, time in zip(rows, times, strict=True)]
    with client.session(name) as stream:
        answers = [stream.step(row) for row in prepared]
    outputs = [output["name"] for output in metadata["outputs"]]
    served = np.array([[answer[output] for output in outputs] for answer in answers], np.float32)

    run = Exported((models / name / "1/model.onnx").read_bytes())
    whole = np.array([[[row[feature] for feature in features] for row in prepared]], np.float32)
    state = {name: np.zeros((1, 32), np.float32) for name in run.state_shapes}
    expected, _ = run(whole, np.array([len(rows)], np.int32), state)
    assert np.isfinite(served).all()
    np.testing.assert_array_equal(served, expected[0])


def rows_as_measured(applied: Applied, rows: Rows) -> list[dict[str, float | str | None]]:
    """The measured features of a sequence as a caller has them: numbers, words, None in a gap."""
    measured = [one for one in applied.features if one.measured and one.calendar is None]
    columns = {one.name: (words if one.labels else numbers)(applied.table, one.name) for one in measured}
    at = {name: [values[int(row)] for row in rows.index] for name, values in columns.items()}
    return [
        {
            name: None if isinstance(value, float) and np.isnan(value) else value
            for name, value in zip(at, row, strict=True)
        }
        for row in zip(*at.values(), strict=True)
    ]


@pytest.mark.parametrize("name", ["hourly", "runs", "nasty"])
def test_what_is_predicted_offline_is_what_is_served_bit_for_bit(models: Path, client: Client, name: str) -> None:
    applied = Applied.of(models / f"{name}-data/1/model.onnx", models.parent / f"{name} data.csv")
    described = client.model(f"{name}-data")
    frame = applied.predict()
    outputs = [one["name"] for one in described["outputs"]]
    offline = frame.select(frame.columns[-len(outputs) :]).to_numpy()
    clock = wall_clock(applied.table, "hour")[0].tolist() if name != "runs" else None
    for rows in applied.rows[:6]:
        prepare = Preparation(described)
        served = []
        with client.session(f"{name}-data") as stream:
            for index, row in zip(rows.index[:100], rows_as_measured(applied, rows), strict=False):
                served.append(stream.step(prepare.row(row, None if clock is None else clock[index])))
        expected = np.array([[answer[output] for output in outputs] for answer in served], np.float32)
        np.testing.assert_array_equal(offline[rows.index[:100]], expected)


def test_evaluate_judges_what_is_predicted(models: Path) -> None:
    applied = Applied.of(models / "hourly-data/1/model.onnx", models.parent / "hourly data.csv")
    frame, found = applied.predict(), applied.evaluate()
    truth = numbers(applied.table, "temperature")[1:]
    forecast = frame[frame.columns[-1]].to_numpy()[:-1].astype(np.float64)
    assert found["test"]["mae"] == pytest.approx(np.abs(forecast - truth.astype(np.float32)).mean(), rel=1e-12)
    assert found["persistence"]["mae"] == pytest.approx(
        np.abs(np.diff(numbers(applied.table, "temperature"))).mean(), rel=1e-5
    )
    assert set(applied.evaluate()) == {"test", "state_dropped", "persistence"}


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
