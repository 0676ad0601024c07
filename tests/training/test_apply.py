"""Offline use of a model's file: batched over ragged sequences, on tables that training never saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training import tables, tiny
from training.apply import Applied, stream
from training.data.outside import flag, outside
from training.errors import RecipeError, TableError
from training.file.verify import Exported
from training.train import train

RUN = Exported(tiny.model(tiny.network()).SerializeToString())


@given(st.lists(st.integers(1, 40), min_size=1, max_size=70), st.integers(1, 17))
def test_sequences_side_by_side_in_pieces_give_the_bits_of_each_alone(lengths: list[int], longest: int) -> None:
    inputs = [tiny.rows(length, seed) for seed, length in enumerate(lengths)]
    alone = [RUN(x[None], np.array([len(x)], np.int32))[0][0] for x in inputs]
    told: list[int] = []
    found = stream(RUN, inputs, longest, told.append)
    assert [one.tobytes() for one in found] == [one.tobytes() for one in alone]
    assert sum(told) == sum(lengths)


def model(folder: Path) -> Path:
    return train(tables.recipe(folder), folder / "models", runs=folder / "runs")


def test_a_table_without_answers_can_be_predicted_and_not_evaluated(tmp_path: Path) -> None:
    path = model(tmp_path)
    (tmp_path / "one.csv").write_text("time,x\n2030-01-01 00:00,5\n")
    one = Applied.of(path, tmp_path / "one.csv")
    frame = one.predict()
    assert frame.columns == ["time", "x"]
    assert np.isfinite(frame["x"].to_numpy()).all()
    with pytest.raises(TableError, match=r"one\.csv: there is no answer to compare with"):
        one.evaluate()


def test_rows_that_are_left_out_have_no_outputs_and_a_table_may_have_no_time(tmp_path: Path) -> None:
    applied = Applied.of(model(tmp_path), tmp_path / "tiny.csv")
    whole, (rows,) = applied.predict()["x"].to_numpy(), applied.rows
    shorter = replace(rows, index=rows.index[:-1], times=rows.times[:-1])
    frame = replace(applied, table=replace(applied.table, time=None), rows=[shorter]).predict()
    assert frame.columns == ["x"]
    np.testing.assert_array_equal(frame["x"].to_numpy(), [*whole[:-1], np.nan])


def test_what_is_no_model_or_no_fitting_table_is_refused_in_words(tmp_path: Path) -> None:
    path = model(tmp_path)
    with pytest.raises(RecipeError, match=r"no such file; give a model\.onnx"):
        Applied.of(tmp_path, tmp_path / "tiny.csv")
    (tmp_path / "other.csv").write_text("time,y\n2030-01-01 00:00,5\n")
    with pytest.raises(TableError, match=r"other\.csv: no column 'x'"):
        Applied.of(path, tmp_path / "other.csv").predict()
    (tmp_path / "old.onnx").write_bytes(tiny.model(tiny.network()).SerializeToString())
    with pytest.raises(RecipeError, match="does not say how its table was prepared; fit it again"):
        Applied.of(tmp_path / "old.onnx", tmp_path / "tiny.csv")


def test_clipped_and_unknown_inputs_are_counted_and_many_of_them_flag_the_table(tmp_path: Path) -> None:
    applied = Applied.of(model(tmp_path), tmp_path / "tiny.csv")
    low, high = applied.features[0].range or (0, 0)
    x = np.array([[low - 1], [low], [high], [high + 1]], np.float32)
    assert outside(applied.features, x) == {"x": 0.5}
    assert flag({"x": 0.5}) == "Out of range: these inputs are clipped or unknown to the model: x in 50% of the rows."
    assert flag({"x": 0.01}) is None
    codes = np.tile(tiny.rows(4), 1)
    codes[0, tiny.KIND] = 99
    assert outside(tiny.FEATURES, codes) == {"kind": 0.25}
