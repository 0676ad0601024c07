import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training import tables
from training.cli import app

PNG = b"\x89PNG\r\n\x1a\n"
PHASES = [f"{cell}, {phase}" for cell in ("rnn", "gru", "lstm") for phase in ("untrained", "trained")]


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["gradients", *arguments])
    return result.exit_code, result.output


def test_the_command_leaves_a_picture_and_the_numbers_of_every_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tables.recipe(tmp_path, table=tables.line(60))
    monkeypatch.chdir(tmp_path)
    code, said = command("tiny.toml", "--seed", "3", "--output", "new/folder/reach.png")
    assert (code, said.splitlines()[-1]) == (0, "Wrote new/folder/reach.png and new/folder/reach.json")
    assert Path("new/folder/reach.png").read_bytes().startswith(PNG)
    told = json.loads(Path("new/folder/reach.json").read_text(encoding="utf-8"))
    assert (told["about"]["seed"], told["about"]["recipe"]["name"]) == (3, recipe.name)
    assert sorted(told["found"]) == sorted(PHASES)
    for name, own in told["found"].items():
        assert own.keys() == {"windows", "memory_horizon", "inputs", "h", *(["c"] if "lstm" in name else [])}
        assert own["windows"] == 12
        assert len(own["inputs"]) == len(own["h"]) > 40
    assert told["found"]["gru, untrained"]["inputs"] != told["found"]["gru, trained"]["inputs"]


def test_run_again_it_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    runs = []
    for _ in range(2):
        assert command("tiny.toml")[0] == 0
        runs.append([path.stat().st_mtime_ns for path in sorted(Path("runs").rglob("*.ckpt"))])
    assert len(runs[0]) == 6
    assert runs[0] == runs[1]


def test_a_place_where_no_picture_can_be_written_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    tables.recipe(tmp_path)
    for output, reason in ((tmp_path, "is a folder"), (tmp_path / "tiny.csv" / "x.png", "another folder")):
        code, said = command(str(tmp_path / "tiny.toml"), "--output", str(output))
        assert code == 1
        assert said.startswith(f"--output {output}: ")
        assert reason in said
