"""The recipe metro-traffic by darts: `PYTHON bench/darts_peer.py ARRAYS.npz SEED ANSWERS.npz`, in a venv with darts.

`bench.darts` writes the arrays and starts it. Of this project it imports nothing.
"""

import sys
import time

import numpy as np
import pandas as pd
import torch
from darts import TimeSeries
from darts.models import RNNModel
from pytorch_lightning.callbacks import EarlyStopping

WINDOW, STRIDE = 168, 24  # steps, as in the recipe


def main() -> None:
    """Train, forecast the validation and the test part one step ahead, and write forecasts and CPU seconds."""
    torch.set_num_threads(1)
    given, seed = np.load(sys.argv[1]), int(sys.argv[2])
    hours = pd.date_range("2000-01-01", periods=len(given["y"]) + 1, freq="h")
    target = TimeSeries.from_times_and_values(hours[:-1], given["y"].astype(np.float32))
    known = TimeSeries.from_times_and_values(hours[1:], given["x"].astype(np.float32))  # of the hour before
    counted = TimeSeries.from_times_and_values(hours[:-1], given["counted"].astype(np.float32))
    validation, test, end = (int(one) for one in given["parts"])
    model = RNNModel(
        model="LSTM",
        input_chunk_length=WINDOW,
        training_length=WINDOW,
        hidden_dim=64,
        n_rnn_layers=1,
        batch_size=16,
        n_epochs=24,
        optimizer_kwargs={"lr": 0.01},
        lr_scheduler_cls=torch.optim.lr_scheduler.CosineAnnealingLR,
        lr_scheduler_kwargs={"T_max": 24},
        random_state=seed,
        save_checkpoints=True,
        force_reset=True,
        work_dir=sys.argv[3] + ".darts",
        model_name=f"seed-{seed}",
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "gradient_clip_val": 1.0,
            "enable_progress_bar": False,
            "callbacks": [EarlyStopping("val_loss", patience=6)],
        },
    )
    begin = time.process_time()
    model.fit(
        target[:validation],
        future_covariates=known,
        sample_weight=counted,
        val_series=target[validation - WINDOW : test],
        val_future_covariates=known,
        val_sample_weight=counted,
        stride=STRIDE,
        load_best=True,
        verbose=False,
    )
    trained = time.process_time()
    forecast = model.historical_forecasts(
        target[:end], future_covariates=known, start=hours[validation], forecast_horizon=1, retrain=False
    )
    np.savez(
        sys.argv[3],
        y=np.concatenate([one.values()[:, 0] for one in forecast]) if isinstance(forecast, list) else forecast.values(),
        seconds=[trained - begin, time.process_time() - trained],
    )


if __name__ == "__main__":
    main()
