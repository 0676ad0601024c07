from pathlib import Path

import pytest

from tests.training import tables
from training.data.dataset import Dataset
from training.data.feature import Feature, Lag, Missing
from training.errors import TableError

LOAD = [float(i) for i in range(20)]
REGRESSION = 'kind = "regression"\ntargets = ["x"]'
MODE = ["idle", "busy"] * 10


def data(folder: Path, features: str, *columns: list[object], header: str, **task: str) -> Dataset:
    """The tiny table with more columns and features; x stays the first feature."""
    table = tables.csv(tables.hours(20), LOAD, *columns, header=f"time,x,{header}")
    text = tables.RECIPE.replace("[task]", features + "\n\n[task]")
    return tables.data(folder, text, table, **task)


def one(**keys: str) -> str:
    return "\n".join(["[[features]]", *(f"{key} = {value}" for key, value in keys.items())])


def test_a_category_is_coded_in_the_order_of_its_labels(tmp_path: Path) -> None:
    feature = one(kind='"category"', name='"mode"', labels='["idle", "busy", "off"]')
    result = data(tmp_path, feature, MODE, header="mode")
    assert result.features[1] == Feature("mode", "code", (0, 1, 2), ("idle", "busy", "off"))
    assert result.training[0].sequence.inputs[:2, 1].tolist() == [0, 1]


def test_codes_are_learnt_from_the_training_part_only(tmp_path: Path) -> None:
    feature = one(kind='"category"', name='"mode"')
    assert data(tmp_path, feature, MODE, header="mode").features[1].labels == ("busy", "idle")
    late = [*MODE[:-1], "off"]
    with pytest.raises(
        TableError, match=r"line 21: mode is 'off', which is not among the known ones; list it in `labels`"
    ):
        data(tmp_path, feature, late, header="mode")


def test_the_rules_for_gaps_carry_what_a_caller_needs(tmp_path: Path) -> None:
    features = "\n".join(
        [
            one(name='"a"', missing='"hold"'),
            one(name='"b"', missing="{ constant = -1 }"),
            one(name='"c"', missing='"mask"'),
            one(kind='"category"', name='"d"', missing='"hold"'),
            one(kind='"category"', name='"e"', missing='{ constant = "none" }'),
        ]
    )
    numbers, words = [None, *[4.0] * 19], [None, *MODE[1:]]
    result = data(tmp_path, features, numbers, numbers, numbers, words, words, header="a,b,c,d,e")
    assert result.features[1:] == (
        Feature("a", missing=Missing("hold"), initial=4.0),
        Feature("b", missing=Missing("constant", -1.0)),
        Feature("c", missing=Missing("mask", 4.0, "c_missing")),
        Feature("c_missing", mask_of="c", scale=False),
        Feature("d", "code", (0, 1), ("busy", "idle"), missing=Missing("hold"), initial=-1.0),
        Feature("e", "code", (0, 1, 2), ("busy", "idle", "none"), missing=Missing("constant", 2.0)),
    )
    assert result.training[0].sequence.inputs[0].tolist() == [0, 4, -1, 4, 1, -1, 2]


def test_a_lag_repeats_a_number_some_steps_later(tmp_path: Path) -> None:
    result = data(tmp_path, one(kind='"lag"', name='"x_2"', of='"x"', steps="2"), MODE, header="mode")
    assert result.features == (Feature("x", initial=5.5), Feature("x_2", lag=Lag("x", 2)))
    assert result.training[0].sequence.inputs[:4, 1].tolist() == [5.5, 5.5, 0, 1]


def test_calendar_codes_are_read_off_the_time(tmp_path: Path) -> None:
    features = "\n".join(one(kind='"calendar"', name=f'"{name}"') for name in ("hour", "weekday", "month"))
    inputs = data(tmp_path, features, MODE, header="mode").training[0].sequence.inputs
    assert inputs[3, 1:].tolist() == [3, 0, 1]  # Monday 2024-01-01 03:00


def test_a_name_with_a_star_is_every_column_that_it_matches(tmp_path: Path) -> None:
    result = data(tmp_path, one(name='"s_*"', unit='"bar"'), LOAD, LOAD, header="s_2,s_1")
    assert result.features[1:] == (Feature("s_2", "bar"), Feature("s_1", "bar"))


def test_classes_are_indices_and_named(tmp_path: Path) -> None:
    recipe = tables.RECIPE.replace('kind = "regression"', 'kind = "classification"').replace("targets", "target")
    table = tables.csv(tables.hours(20), LOAD, [3, 1] * 10, header="time,x,y")
    result = tables.data(tmp_path, recipe, table, target='"y"')
    assert result.targets[0].classes == ("1", "3")
    assert result.training[0].answers()[:2, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("features", "task", "complaint"),
    [
        (one(name='"z"'), REGRESSION, "no column 'z'"),
        (one(name='"z*"'), REGRESSION, r"no column matches 'z\*'"),
        (one(name='"*x*"'), REGRESSION, "two features are 'x'"),
        (
            one(name='"void"', missing='"hold"'),
            REGRESSION,
            "void is empty in the whole training part; remove the feature",
        ),
        (one(kind='"category"', name='"void"'), REGRESSION, "void is empty in the whole training part"),
        (one(kind='"lag"', name='"l"', of='"mode"', steps="1"), REGRESSION, "l lags 'mode', which is no number among"),
        (
            one(kind='"category"', name='"mode"', labels='["idle", "busy"]', missing='{ constant = "?" }'),
            REGRESSION,
            "list it",
        ),
        ("", 'kind = "classification"\ntarget = "void"', "void has 0 classes in the training part"),
        ("", 'kind = "next-symbol"\ntarget = "mode"', "must be a feature of kind 'category' too"),
        ("", 'kind = "multilabel"\ntargets = ["x"]\nhorizon = 1', "line 4: x is no label: it is neither 0 nor 1"),
    ],
)
def test_what_the_table_cannot_give_is_an_error(features: str, task: str, complaint: str, tmp_path: Path) -> None:
    text = tables.RECIPE.replace("[task]", features + "\n\n[task]").replace(REGRESSION, task)
    table = tables.csv(tables.hours(20), LOAD, MODE, [None] * 20, header="time,x,mode,void")
    with pytest.raises(TableError, match=complaint):
        tables.data(tmp_path, text, table)


def test_a_calendar_without_dates_is_an_error_that_names_the_fix(tmp_path: Path) -> None:
    text = tables.RECIPE.replace("[task]", one(kind='"calendar"', name='"hour"') + "\n[task]").replace(
        'time = "time"', ""
    )
    with pytest.raises(
        TableError, match=r"the calendar feature 'hour' needs a time column of dates; name it as data\.time"
    ):
        tables.data(tmp_path, text)


def test_all_unknown_words_are_named_at_once(tmp_path: Path) -> None:
    feature = one(kind='"category"', name='"mode"')
    late = [*MODE[:-3], "off", "lost", "off"]
    with pytest.raises(TableError, match=r"line 19: mode is 'off', and in other rows 'lost', .* unknown = true"):
        data(tmp_path, feature, late, header="mode")


def test_rare_words_count_as_one_unknown_word_if_the_recipe_wants_it(tmp_path: Path) -> None:
    feature = one(kind='"category"', name='"mode"', unknown="true")
    mode = ["rare", *MODE[1:-1], "new"]
    result = data(tmp_path, feature, mode, header="mode")
    assert result.features[1].labels == ("busy", "idle")
    column = result.training[0].sequence.inputs[:, 1]
    assert (column[:3].tolist(), column[-1]) == ([-1, 0, 1], -1)
    listed = one(kind='"category"', name='"mode"', labels='["idle"]', unknown="true")
    assert data(tmp_path, listed, mode, header="mode").training[0].sequence.inputs[:3, 1].tolist() == [-1, -1, 0]


def test_a_name_with_a_star_that_is_a_column_is_that_column(tmp_path: Path) -> None:
    result = data(tmp_path, one(name='"co2*"') + "\n\n" + one(name='"co2"'), LOAD, LOAD, header="co2*,co2")
    assert [feature.name for feature in result.features] == ["x", "co2*", "co2"]


def test_a_mask_that_is_named_like_another_feature_is_an_error(tmp_path: Path) -> None:
    features = one(name='"a"', missing='"mask"') + "\n\n" + one(name='"a_missing"')
    with pytest.raises(TableError, match="two features are 'a_missing'; rename one"):
        data(tmp_path, features, LOAD, LOAD, header="a,a_missing")


def test_codes_written_as_fractions_are_those_codes(tmp_path: Path) -> None:
    feature = one(kind='"category"', name='"mode"', labels='["1.0", "2", "5.0"]', missing='"hold"')
    result = data(tmp_path, feature, ["1.0", None, *["2.0", "5.0"] * 9], header="mode")
    assert result.features[1].codes == (1, 2, 5)
    assert result.training[0].sequence.inputs[:4, 1].tolist() == [1, 1, 2, 5]
