from rich.console import Console
from typer.testing import CliRunner

from training.cli import app
from training.report import comparison_table


def test_an_unknown_recipe_is_refused_and_the_known_ones_are_named() -> None:
    result = CliRunner().invoke(app, ["fit", "weather"])
    assert result.exit_code == 2
    assert "metro-traffic" in result.output


def test_the_table_sets_the_model_beside_what_it_is_compared_with() -> None:
    names = ("test", "test_with_filled", "state_dropped", "persistence", "last_week")
    metrics = {f"{name}_mse_z": i / 10 for i, name in enumerate(names)} | {
        f"{name}_mae": i for i, name in enumerate(names)
    }
    console = Console(width=100)
    with console.capture() as shown:
        console.print(comparison_table({"outputs": [{"name": "load", "unit": "kW"}], "metrics": metrics}))
    text = shown.get()
    assert "MAE, kW" in text
    assert "persistence (the value of the step before)" in text
