import hashlib
from datetime import datetime
from pathlib import Path

import numpy as np
import onnxruntime as ort
import polars as pl
import pytest

from training.contract import read_metadata
from training.dataset import read_table
from training.fit import Schedule
from training.recipes import metro_traffic as recipe
from training.verify import Exported

SHIPPED = Path(__file__).parents[2] / "models" / "metro-traffic" / "1" / "model.onnx"


def hours(*times: str) -> list[np.datetime64]:
    return [np.datetime64(time) for time in times]


def test_the_parts_forecast_the_hours_they_say() -> None:
    rows = recipe.load()
    forecast = rows.times + np.timedelta64(1, "h")
    training, validation, test = recipe.split(rows)
    assert list(forecast[training][[0, -1]]) == hours("2016-10-01T01", "2018-01-31T23")
    assert list(forecast[validation][[0, -1]]) == hours("2018-02-01T00", "2018-03-31T23")
    assert list(forecast[test][[0, -1]]) == hours("2018-04-01T00", "2018-09-30T23")


def test_nothing_from_february_2018_on_reaches_scaling_or_training() -> None:
    table = read_table(recipe.TABLE, "datetime")
    later = pl.col("datetime") >= datetime(2018, 2, 1)
    numbers = ("clouds_all", "rain_1h", "snow_1h", "temp", "traffic_volume")
    changed = table.with_columns(pl.when(later).then(pl.col(name) * 3 + 1).otherwise(pl.col(name)) for name in numbers)
    results = []
    for rows in (recipe.prepare(table), recipe.prepare(changed)):
        training = recipe.split(rows).training
        results.append((rows.inputs[training], rows.targets[training], *recipe.scalings(rows, training)))
    for before, after in zip(*results, strict=True):
        np.testing.assert_array_equal(before, after)


def test_codes_are_what_the_metadata_says_they_are() -> None:
    rows = recipe.load()
    names = [feature.name for feature in recipe.FEATURES]
    first = dict(zip(names, rows.inputs[0].tolist(), strict=True))  # Saturday 2016-10-01 00:00, Clouds
    assert first == pytest.approx(
        {
            "traffic_volume": 1195,
            "temp": 286.22,
            "rain_1h": 0,
            "snow_1h": 0,
            "clouds_all": 20,
            "hour": 0,
            "weekday": recipe.WEEKDAYS.index("Saturday"),
            "month": 10,
            "weather_main": recipe.WEATHER.index("Clouds"),
        }
    )
    for column, feature in enumerate(recipe.FEATURES):
        if feature.codes:
            assert set(rows.inputs[:, column].tolist()) <= set(feature.codes)


def test_the_unseen_part_is_six_months_with_its_baselines() -> None:
    unseen = recipe.held_out()
    assert unseen.inputs.shape == (4392, 9)
    assert unseen.history.shape == (336, 9)
    assert (unseen.filled.sum(), (~unseen.measured).sum()) == (6, 6)
    np.testing.assert_array_equal(unseen.targets[:-1], unseen.inputs[1:, 0])
    np.testing.assert_array_equal(unseen.baselines["last_week"][168:], unseen.targets[:-168])
    assert unseen.score(unseen.baselines["persistence"]).mse_z == pytest.approx(0.1717, abs=2e-3)
    assert unseen.score(unseen.baselines["last_week"]).mse_z == pytest.approx(0.0975, abs=2e-3)


def test_a_short_run_writes_a_model_and_its_card(tmp_path: Path) -> None:
    path = recipe.train(tmp_path / "models", "7", seed=1, schedule=Schedule(epochs=1), runs=tmp_path / "runs")
    assert path == tmp_path / "models" / "metro-traffic" / "7" / "model.onnx"
    card = path.with_name("card.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in card
    assert "carousel-train fit metro-traffic --version 7 --seed 1" in card
    assert f"| this model, one stream | {read_metadata(path)['metrics']['test_mse_z']:.4f} |" in card


def test_the_shipped_model_forecasts_the_unseen_months_as_one_stream_of_single_steps() -> None:
    unseen = recipe.held_out()
    run = Exported(SHIPPED.read_bytes())
    one = np.ones(1, np.int32)
    state = {name: np.zeros((1, recipe.HIDDEN), np.float32) for name in run.state_names}
    zero = dict(state)
    _, state = run(unseen.history[None], one * len(unseen.history), state)
    streamed, dropped = [], []
    for row in unseen.inputs:
        output, state = run(row[None, None], one, state)
        streamed.append(output[0, 0, 0])
        dropped.append(run(row[None, None], one, zero)[0][0, 0, 0])
    scores = unseen.score(np.array(streamed)), unseen.score(np.array(dropped))
    assert scores[0].mse_z <= 0.03
    assert scores[1].mse_z > 0.08
    metrics = read_metadata(SHIPPED)["metrics"]
    assert scores[0].mse_z == pytest.approx(metrics["test_mse_z"], abs=1e-4)
    assert scores[1].mse_z == pytest.approx(metrics["state_dropped_mse_z"], abs=1e-4)


def test_the_shipped_model_is_small_and_names_the_committed_data() -> None:
    assert SHIPPED.stat().st_size < 1_000_000
    assert read_metadata(SHIPPED)["data_sha256"] == hashlib.sha256(recipe.TABLE.read_bytes()).hexdigest()
    assert ort.InferenceSession(SHIPPED).get_modelmeta().custom_metadata_map.keys() == {"carousel"}
