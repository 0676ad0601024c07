import re
from datetime import date
from pathlib import Path

import pytest

from tests.training import tables
from training.errors import RecipeError
from training.recipe.features import Number
from training.recipe.read import read_recipe, shipped
from training.recipe.recipe import ByTime


def refused(folder: Path, text: str) -> str:
    with pytest.raises(RecipeError) as error:
        tables.recipe(folder, text)
    return str(error.value)


def test_a_recipe_is_a_frozen_value_with_the_defaults_filled_in(tmp_path: Path) -> None:
    recipe = tables.recipe(tmp_path, validation="2024-01-01")
    assert recipe.features == (Number(name="x"),)
    assert isinstance(recipe.split, ByTime)
    assert recipe.split.validation == date(2024, 1, 1)
    assert recipe.split.test == 0.2
    assert recipe.network.cell == "lstm"
    with pytest.raises(Exception, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]


def test_every_shipped_recipe_is_one() -> None:
    assert "metro-traffic" in shipped()
    for name in shipped():
        assert read_recipe(name).name == name


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("epochs = 1", "epoch = 1", "tiny.toml: training.epoch: unknown key; remove it"),
        ('name = "x"', 'name = "x"\ncolour = 1', "tiny.toml: features[0].colour: unknown key"),
        ('targets = ["x"]', "", "tiny.toml: task.targets: is missing; add it"),
        ('by = "time"', "", "tiny.toml: split.by: is missing; add it"),
        ('kind = "regression"', 'kind = "magic"', "tiny.toml: task.kind: there is no 'magic'; known: 'regression'"),
        ("hidden = 4", "hidden = 0", "tiny.toml: network.hidden: input should be greater than 0, and not 0"),
        ("hidden = 4", 'cell = "cnn"', "tiny.toml: network.cell: input should be 'feedforward', 'rnn'"),
        ("hidden = 4", "bidirectional = true\ncell = 'gru'", "tiny.toml: network: bidirectional is for cell = 'lstm'"),
        ("window = 8", "carry = true", "tiny.toml: training: carry wants a window"),
        ("window = 8", "window = 8\nuncounted = 8", "tiny.toml: training: uncounted = 8 leaves nothing"),
        ('targets = ["x"]', 'targets = ["x"]\nhorizons = [0]', "tiny.toml: 'x' is a target at horizon 0 and a feature"),
        ("[task]", '[[features]]\nname = "x"\n[task]', "tiny.toml: two features are named 'x'"),
        ('name = "tiny"', 'name = "a/b"', "tiny.toml: name: string should match pattern"),
        ('name = "tiny"', 'name = tiny"', "tiny.toml: Invalid value (at line 2"),
        ("[[features]]", "[features]", "tiny.toml: features: should be a list; a list of tables"),
        ("[data]", "[[data]]", "tiny.toml: data: should be a table"),
        (
            "validation = 0.2",
            "validation = 3",
            "tiny.toml: split.validation: input should be less than 1, and not 3; or",
        ),
        ('name = "tiny"', 'folder = "/"', "tiny.toml: folder: unknown key"),
    ],
)
def test_a_fault_is_named_by_file_and_key_with_the_fix(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    assert complaint in refused(tmp_path, tables.RECIPE.replace(old, new))


def test_every_fault_has_a_line_of_its_own(tmp_path: Path) -> None:
    said = refused(tmp_path, tables.RECIPE.replace("hidden = 4", "hiden = 4").replace("epochs", "epoch"))
    assert re.findall(r"tiny\.toml: (\S+): unknown key", said) == ["network.hiden", "training.epoch"]
