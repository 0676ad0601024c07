import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from training.data.clock import WEEKDAYS
from training.data.dataset import Dataset, load
from training.file.contract import read_metadata
from training.file.verify import Exported
from training.net.evaluate import Unseen, unseen
from training.recipe.read import SHIPPED as RECIPES
from training.recipe.read import read_recipe
from training.recipe.recipe import Recipe
from training.tasks import task_of
from training.train import train

SHIPPED = Path(__file__).parents[3] / "models" / "metro-traffic" / "1" / "model.onnx"


@cache
def recipe() -> Recipe:
    return read_recipe("metro-traffic")


@cache
def data() -> Dataset:
    return load(recipe())


@cache
def stream() -> Unseen:
    (only,) = unseen(recipe(), data(), data().test)
    return only


def hours(*times: str) -> list[np.datetime64]:
    return [np.datetime64(time) for time in times]


def test_the_parts_forecast_the_hours_they_say() -> None:
    ends = []
    for (stretch,) in (data().training, data().validation, data().test):
        forecast = stretch.sequence.times[stretch.steps] + np.timedelta64(1, "h")
        ends.append(list(forecast[[0, -1]]))
    assert ends == [
        hours("2016-10-01T01", "2018-01-31T23"),
        hours("2018-02-01T00", "2018-03-31T23"),
        hours("2018-04-01T00", "2018-09-30T23"),
    ]


def test_codes_are_what_the_metadata_says_they_are() -> None:
    inputs = data().training[0].sequence.inputs
    names = [feature.name for feature in data().features]
    first = dict(zip(names, inputs[0].tolist(), strict=True))  # Saturday 2016-10-01 00:00, Clouds
    weather = data().features[-1].labels
    assert first == pytest.approx(
        {
            "traffic_volume": 1195,
            "temp": 286.22,
            "rain_1h": 0,
            "snow_1h": 0,
            "clouds_all": 20,
            "hour": 0,
            "weekday": WEEKDAYS.index("Saturday"),
            "month": 10,
            "weather_main": weather.index("Clouds"),
        }
    )
    for column, feature in enumerate(data().features):
        if feature.codes:
            assert set(inputs[:, column].tolist()) <= set(feature.codes)


def test_the_unseen_part_is_six_months_with_its_baselines() -> None:
    one, task = stream(), task_of(recipe(), data())
    assert one.inputs.shape == (4392, 9)
    assert one.history.shape == (336, 9)
    assert np.isnan(one.answers).sum() == 6
    measured = ~np.isnan(one.answers[:-1, 0])
    np.testing.assert_array_equal(one.answers[:-1, 0][measured], one.inputs[1:, 0][measured])
    scores = {name: task.figures(forecast, one.answers)["mse_z"] for name, forecast in one.baselines.items()}
    assert scores == pytest.approx({"persistence": 0.172, "season": 0.098}, abs=2e-3)


def test_a_short_run_writes_a_model_and_its_card(tmp_path: Path) -> None:
    short = recipe().model_copy(update={"training": recipe().training.model_copy(update={"epochs": 1})})
    path = train(short, tmp_path / "models", "7", seed=1, runs=tmp_path / "runs")
    assert path == tmp_path / "models" / "metro-traffic" / "7" / "model.onnx"
    card = path.with_name("card.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in card
    assert "carousel-train fit metro-traffic --version 7 --seed 1" in card
    assert f"| this model, streamed | {read_metadata(path)['metrics']['test_mse_z']:.4f} |" in card


def test_the_shipped_model_forecasts_the_unseen_months_as_one_stream_of_single_steps() -> None:
    one, task = stream(), task_of(recipe(), data())
    run = Exported(SHIPPED.read_bytes())
    length = np.ones(1, np.int32)
    state = {name: np.zeros((1, recipe().network.hidden), np.float32) for name in run.state_shapes}
    zero = dict(state)
    _, state = run(one.history[None], length * len(one.history), state)
    streamed, dropped = [], []
    for row in one.inputs:
        output, state = run(row[None, None], length, state)
        streamed.append(output[0, 0])
        dropped.append(run(row[None, None], length, zero)[0][0, 0])
    scores = [task.figures(np.array(said), one.answers)["mse_z"] for said in (streamed, dropped)]
    assert scores[0] <= 0.03
    assert scores[1] > 0.08
    metrics = read_metadata(SHIPPED)["metrics"]
    assert scores == pytest.approx([metrics["test_mse_z"], metrics["state_dropped_mse_z"]], abs=1e-4)


def test_the_shipped_model_is_small_and_names_the_committed_data() -> None:
    table = RECIPES / "metro-traffic.csv.gz"
    assert SHIPPED.stat().st_size < 1_000_000
    assert read_metadata(SHIPPED)["data_sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert ort.InferenceSession(SHIPPED).get_modelmeta().custom_metadata_map.keys() == {"carousel"}
