"""Hourly road traffic: at each hour, how many vehicles will the next hour bring? Many-to-many.

The six test months are looked at by `held_out` only, after the network is chosen.
"""

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from training.contract import Description, Feature, Output
from training.dataset import Series, fit_scaling, forward_fill, read_table, series, windows
from training.evaluate import HeldOut, metrics
from training.export import export
from training.fit import Schedule, fit
from training.networks import Encoder, Head, Lstm, Scaling
from training.report import Notes, write_card

NAME = "metro-traffic"
TABLE = Path(__file__).parent / "metro-traffic.csv.gz"
WEATHER = ("Clear", "Clouds", "Drizzle", "Fog", "Haze", "Mist", "Rain", "Smoke", "Snow", "Thunderstorm")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TARGET = Output("traffic_volume", "vehicles/h")
FEATURES = (
    Feature("traffic_volume", "vehicles/h"),
    Feature("temp", "K"),
    Feature("rain_1h", "mm/h"),
    Feature("snow_1h", "mm/h"),
    Feature("clouds_all", "%"),
    Feature("hour", "code", tuple(range(24))),
    Feature("weekday", "code", tuple(range(7)), WEEKDAYS),
    Feature("month", "code", tuple(range(1, 13))),
    Feature("weather_main", "code", tuple(range(len(WEATHER))), WEATHER),
)
HORIZON = 1  # hours
WEEK = 168  # hours
VALIDATION, TEST, END = datetime(2018, 2, 1), datetime(2018, 4, 1), datetime(2018, 10, 1)  # by the hour forecast
WARM_UP = 2 * WEEK  # hours of history before the first validation or test forecast
HIDDEN, TABLE_WIDTH = 64, 8
LIMIT = 3.0  # deviations: volume and temperature stay inside; rain fell in 11 training hours only, at up to 90
WINDOW, STRIDE, UNCOUNTED = WEEK, 24, 24  # hours; the first day of a window only warms the state up
SCHEDULE = Schedule()

NOTES = Notes(
    title="Metro traffic, next hour",
    summary="""From what is known at an hour (traffic volume, weather, calendar) the volume of the next hour on
Interstate 94 westbound, between Minneapolis and St Paul. One row an hour goes in, one forecast comes out; the state
carries the past. Warm a session up with a day of history or more: the first day of a training window was not counted.
`snow_1h` is 0 in every row of the table, so the network has learnt nothing from it and ignores it. Numbers are held
within 3 deviations of their mean in the training part; rain fell in 11 of its hours only, so expect little from it.""",
    data="""UCI "Metro Interstate Traffic Volume", J. Hogue 2019, doi 10.24432/C5X60B, licence CC BY 4.0; hourly rows
from 2016-10-01 to 2018-09-30 as shipped in the Python package autots 1.0.4. 104 of 17 520 rows are empty: they are fed
with the values of the row before, and not counted as targets, neither in training nor, unless said, in the metrics.""",
    split="""Training: hours before 2018-02-01; validation (early stopping): 2018-02-01 to 2018-03-31; test:
2018-04-01 00:00 to 2018-09-30 23:00, one stream of 4 392 hours warmed up with the 336 hours before it.
The network's sizes and its treatment of inputs were chosen on blocks of hours before the test part. Two designs met the
test part: a first one, whose inputs were not limited and whose tables started at random, had 0.053 there.""",
)


class Parts(NamedTuple):
    """Rows of the series by the hour they forecast."""

    training: slice
    validation: slice
    test: slice


def train(
    models_dir: Path, version: str = "1", seed: int = 0, *, schedule: Schedule = SCHEDULE, runs: Path = Path("runs")
) -> Path:
    """Train, verify, write metro-traffic/`version`/{model.onnx,card.md} under `models_dir`; return the model's path."""
    rows = load()
    parts = split(rows)
    inputs, target = scalings(rows, parts.training)

    def build() -> Lstm:
        return Lstm(
            Encoder(FEATURES, inputs, table_width=TABLE_WIDTH, limit=LIMIT), Head(HIDDEN, target), hidden=HIDDEN
        )

    training = windows(rows, parts.training, length=WINDOW, stride=STRIDE, uncounted=UNCOUNTED)
    stream = slice(
        parts.validation.start - WARM_UP, parts.validation.stop
    )  # one window: the validation part, warmed up
    validation = windows(rows, stream, length=stream.stop - stream.start, stride=1, uncounted=WARM_UP)
    network = fit(build, training, validation, schedule=schedule, seed=seed, runs=runs / NAME)
    path = models_dir / NAME / version / "model.onnx"
    export(network, describe(network, metrics(network, held_out())), rows.inputs[parts.validation], path)
    write_card(path, NOTES, f"carousel-train fit {NAME} --version {version} --seed {seed}")
    return path


def load() -> Series:
    """Return the whole table as one series."""
    return prepare(read_table(TABLE, "datetime"))


def prepare(table: pl.DataFrame) -> Series:
    """Return a table, filled and coded, as one series of hourly rows and next-hour targets."""
    time = pl.col("datetime")
    coded = forward_fill(table).with_columns(
        hour=time.dt.hour(),
        weekday=time.dt.weekday() - 1,  # polars counts Monday as 1
        month=time.dt.month(),
        weather_main=pl.col("weather_main").replace_strict({name: code for code, name in enumerate(WEATHER)}),
    )
    return series(coded, time="datetime", features=[f.name for f in FEATURES], target=TARGET.name, horizon=HORIZON)


def describe(network: Lstm, measured: dict[str, float]) -> Description:
    """Return what the file says of itself."""
    return Description(
        task="regression",
        recipe=NAME,
        cell=network.cell,
        features=FEATURES,
        outputs=(TARGET,),
        data_sha256=hashlib.sha256(TABLE.read_bytes()).hexdigest(),
        metrics=measured,
    )


def split(rows: Series) -> Parts:
    """Return the training, validation and test part."""
    return Parts(rows.part(datetime.min, VALIDATION), rows.part(VALIDATION, TEST), rows.part(TEST, END))


def scalings(rows: Series, training: slice) -> tuple[Scaling, Scaling]:
    """Return the scaling of inputs and target, fitted on the training part only."""
    return fit_scaling(rows.inputs[training]), fit_scaling(rows.targets[training])


def held_out() -> HeldOut:
    """Return the test part with the history before it and the two baselines."""
    rows = load()
    training, _, test = split(rows)
    volume = rows.inputs[:, 0]
    target = scalings(rows, training)[1]
    return HeldOut(
        history=rows.inputs[test.start - WARM_UP : test.start],
        inputs=rows.inputs[test],
        times=rows.times[test],
        target_times=rows.times[test] + np.timedelta64(timedelta(hours=HORIZON)),
        targets=rows.targets[test, 0],
        filled=rows.filled[test],
        measured=rows.measured[test],
        baselines={
            "persistence": volume[test],
            "last_week": volume[test.start + HORIZON - WEEK : test.stop + HORIZON - WEEK],
        },
        mean=float(target.mean[0]),
        std=float(target.std[0]),
    )
