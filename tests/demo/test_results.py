from dataclasses import replace
from pathlib import Path

import pytest

from demo.page import page
from demo.results import _failure, _fresh
from demo.rows import CODE, ROWS, Result, Row, asked, on_file

ROW = Row("reber", "lstm", 0)


def result(row: Row = ROW, **figures: float) -> Result:
    """What a row might have come to."""
    told = {"test": figures, "state_dropped": figures, "prior": {}}
    return Result(asked(row.told()), "data", "code", told, 12.3, 10.1, "a machine", "2026-01-01")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def on_disk(row: Row = ROW) -> Result:
    row.folder.mkdir(parents=True)
    found = result(row, strings_right=1.0)
    found.write(row)
    return found


def test_a_result_is_read_as_it_was_written() -> None:
    assert on_file(ROW) is None
    assert on_disk() == on_file(ROW)


def test_a_row_is_measured_again_when_its_data_or_its_recipe_change() -> None:
    found = on_disk()
    assert _fresh(ROW, "data")
    assert not _fresh(ROW, "other data")
    replace(found, recipe=found.recipe | {"name": "other"}).write(ROW)
    assert not _fresh(ROW, "data")
    assert not _fresh(Row("reber", "lstm", 1), "data")


def test_a_change_of_prose_measures_nothing_again() -> None:
    recipe = ROW.told()
    assert asked(recipe) == asked(recipe.model_copy(update={"title": "other", "folder": Path("elsewhere")}))
    assert asked(recipe) != asked(recipe.model_copy(update={"name": "other"}))


def test_the_code_that_is_told_of_is_there() -> None:
    assert all(list(room.glob("*.py")) for room in CODE)


def test_a_row_that_fails_says_why_and_leaves_no_result() -> None:
    lost = Row("no-such-recipe", "lstm", 0)
    why = _failure(lost)
    assert why is not None and "no-such-recipe: no such file" in why and "measure.log" in why
    assert on_file(lost) is None


def test_every_row_is_another_file_of_a_recipe_that_ships() -> None:
    assert len({row.folder for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert (row.told().network.cell, row.told().name) == (row.cell, row.model)


def test_the_page_holds_each_bound_against_the_seeds() -> None:
    rows = [Row("reber", "lstm", seed) for seed in range(3)]
    right = {row: result(row, strings_right=share) for row, share in zip(rows, (1.0, 1.0, 1.0), strict=True)}
    assert "| 100.0 % | solved [1] | 100 % in ≤ 30 s, each seed | yes | 12 (10) |" in page(right, {})
    wrong = right | {rows[1]: result(strings_right=0.998)}
    assert "| 100.0 % (99.8 % – 100.0 %) | solved [1] | 100 % in ≤ 30 s, each seed | **no** |" in page(wrong, {})
    slow = right | {rows[1]: replace(right[rows[1]], seconds=31.0)}
    assert "| 100 % in ≤ 30 s, each seed | **no**: too slow |" in page(slow, {})


def test_the_median_seed_decides_where_the_claim_says_so() -> None:
    rows = [Row("engine-life", "lstm", seed) for seed in range(5)]
    values = (15.0, 16.14, 19.0, 15.0, 19.0)
    found = {row: result(row, capped_rmse=value, rmse=20.0) for row, value in zip(rows, values, strict=True)}
    assert "| 16.14 (15.00 – 19.00) | 16.14 [2] | ≤ 16.14, median, in ≤ 180 s each | yes |" in page(found, {})
    del found[rows[2]]
    assert "| 15.57 (15.00 – 19.00) | 16.14 [2] | ≤ 16.14, median, in ≤ 180 s each | 4 of 5 run |" in page(found, {})


def test_the_page_names_what_was_not_run() -> None:
    told = page({ROW: result(strings_right=1.0)}, {Row("chorales", "gru", 0): "nothing says where it is"})
    assert "- chorales, gru, seed 0: nothing says where it is" in told
    assert "{" not in told
