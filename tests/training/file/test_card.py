import pytest
from rich.console import Console

from training.file.card import card, comparison_tables
from training.recipe.recipe import Notes

METADATA = {
    "recipe": "load",
    "cell": "gru",
    "features": [
        {"name": "load", "unit": "kW", "missing": {"rule": "hold"}},
        {"name": "kind", "missing": {"rule": "constant", "value": 3.0}},
        {"name": "kind_missing", "mask_of": "kind"},
        {"name": "load_24", "lag": {"of": "load", "steps": 24}},
    ],
    "categories": {"kind": {"codes": [1, 3]}},
    "outputs": [{"name": "load", "unit": "kW"}],
    "data_sha256": "0" * 64,
    "metrics": {
        "validation_mse_z": 0.2,
        "validation_persistence_mse_z": 0.6,
        "test_mse_z": 0.25,
        "test_mae": 7.0,
        "persistence_mse_z": 0.5,
        "persistence_mae": 250.4,
    },
    "versions": {"torch": "2"},
}


def test_the_table_sets_the_model_beside_what_it_is_compared_with() -> None:
    console = Console(width=100)
    with console.capture() as shown:
        console.print(*comparison_tables(METADATA))
    text = shown.get()
    assert "MAE, kW" in text
    assert text.index("load, validation part") < text.index("load, test part")
    assert "persistence (the value of the step before)" in text
    assert "state dropped" not in text  # nothing was measured of it


def test_the_card_says_what_a_caller_sends_and_what_he_gets() -> None:
    text = card(METADATA, "Load", Notes(summary="For the grid.", data="CC0"), "carousel-train fit load")
    for line in (
        "# Load\n\nFor the grid.\n",
        "- `load`, kW; in a gap the last value\n",
        "- `kind`: 1, 3; in a gap 3\n",
        "- `kind_missing`: 1 where `kind` has a gap, else 0\n",
        "- `load_24`: `load` of 24 steps before\n",
        "| this model, streamed | 0.2500 | 7 |\n| persistence (the value of the step before) | 0.5000 | 250 |",
        "## Data and licence\n\nCC0\n",
        "`carousel-train fit load`, cell `gru`, with torch 2;",
    ):
        assert line in text


def test_what_has_no_text_has_no_heading() -> None:
    text = card(METADATA, "Load", Notes(), "command")
    assert "Data and licence" not in text
    assert "Memory" not in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("horizon", "says"),
    [
        (31, "It listens 31 steps back"),
        (None, "It listens further back than was measured"),
        (0, "Each step is answered by itself"),
    ],
)
def test_the_card_says_how_much_history_warms_a_session_up(horizon: int | None, says: str) -> None:
    text = card(METADATA | {"memory_horizon": horizon}, "Load", Notes(), "command")
    assert f"## Memory\n\n{says}" in text
