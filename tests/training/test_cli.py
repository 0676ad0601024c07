from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training import tables
from training.cli import app


def test_an_unknown_recipe_is_refused_and_the_known_ones_are_named() -> None:
    result = CliRunner().invoke(app, ["fit", "weather"])
    assert result.exit_code == 1
    assert "metro-traffic" in result.output


def test_a_fault_of_the_table_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    tables.recipe(tmp_path, table=tables.line().replace(",3\n", ",three\n"))
    result = CliRunner().invoke(app, ["fit", str(tmp_path / "tiny.toml"), "--models", str(tmp_path / "models")])
    assert result.exit_code == 1
    assert result.output.startswith("tiny.csv: line 5: x is 'three', which is no finite number")
    assert "Traceback" not in result.output
    assert not (tmp_path / "models").exists()


def test_fit_trains_and_says_how_good_it_is_and_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["fit", "tiny.toml"])
    assert result.exit_code == 0, result.output
    assert "persistence" in result.output
    assert "Wrote models/tiny/1/model.onnx" in result.output
    card = Path("models/tiny/1/card.md").read_text(encoding="utf-8")
    assert card.startswith("# tiny\n")
    assert "`carousel-train fit tiny.toml --version 1 --seed 0`" in card
    assert "validation part" in result.output
    assert "the best baseline, persistence" in result.output


def test_require_better_makes_the_verdict_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.recipe(tmp_path)  # one epoch learns nothing
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["fit", "tiny.toml", "--require-better"])
    assert result.exit_code == 3, result.output
    assert "Do not serve this: it is not better than" in result.output
    listed = CliRunner().invoke(app, ["runs"])
    assert "tiny" in listed.output


def test_predict_and_evaluate_take_a_file_and_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(app, ["fit", "tiny.toml"])
    model = "models/tiny/1/model.onnx"
    result = CliRunner().invoke(app, ["predict", model, "tiny.csv", "-o", "new/out.csv"])
    assert result.exit_code == 0, result.output
    assert len(Path("new/out.csv").read_text().splitlines()) == len(Path("tiny.csv").read_text().splitlines())
    result = CliRunner().invoke(app, ["evaluate", model, "tiny.csv"])
    assert result.exit_code == 0, result.output
    assert "given part" in result.output


def test_predict_neither_writes_over_its_table_nor_a_file_that_its_name_belies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out.csv").write_text(tables.line())
    for options, said in ([], "out.csv: is the table"), (["-o", "x.xlsx"], "x.xlsx: name a .csv or a .parquet file"):
        result = CliRunner().invoke(app, ["predict", "model.onnx", "./out.csv", *options])
        assert result.exit_code == 1
        assert said in result.output
    assert [path.read_text() for path in tmp_path.iterdir()] == [tables.line()]


def test_a_table_in_place_of_the_model_is_told_in_one_sentence(tmp_path: Path) -> None:
    table = tmp_path / "tiny.csv"
    table.write_text(tables.line())
    for command in (
        ["predict", str(table), "model.onnx", "-o", str(tmp_path / "o.csv")],
        ["evaluate", str(table), "m"],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 1
        assert result.output.endswith("tiny.csv: is no ONNX file; give a model.onnx that `carousel-train fit` wrote\n")


def test_init_prints_what_it_understood_of_each_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = zip(range(120), tables.hours(120), (i * i % 17 for i in range(120)), strict=True)
    Path("t.csv").write_text("nr,time,x\n" + "\n".join(f"{nr},{time},{x}" for nr, time, x in rows), encoding="utf-8")
    result = CliRunner().invoke(app, ["init", "t.csv", "--time", "time", "--target", "x", "-o", "new/recipe.toml"])
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "time time dates in order" in lines
    assert "x target regression; given" in lines
    assert "nr left out it counts the rows" in lines


def test_init_refuses_what_it_cannot_decide_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(
        "d,x\n" + "\n".join(f"{day:02}/05/2024,{day * 7 % 5}" for day in range(1, 13)), encoding="utf-8"
    )
    result = CliRunner().invoke(app, ["init", "t.csv"])
    assert result.exit_code == 1
    assert "day first or month first" in result.output
    assert not Path("recipe.toml").exists()


def test_init_writes_a_recipe_that_fit_refuses_and_both_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("y\n" + "\n".join(str(3_000_000_000 + i * 37 % 90) for i in range(120)), encoding="utf-8")
    why = "around 3000000044, which float32 cannot tell"
    for words in (["init", "t.csv"], ["fit", "recipe.toml"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 1, result.output
        assert why in " ".join(result.output.split())
    assert not Path("models").exists()
