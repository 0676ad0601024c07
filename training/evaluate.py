"""How good forecasts are: a network streamed, the same one with its state dropped, and the error of any forecast."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.networks import Lstm


@dataclass(frozen=True)
class HeldOut:
    """The unseen part as a caller would live it: row i, known at `times[i]`, forecasts `target_times[i]`."""

    history: NDArray[np.float32]  # [H, F] the rows just before, to warm a session up
    inputs: NDArray[np.float32]  # [N, F] raw caller values, in the order of the model's features
    times: NDArray[np.datetime64]  # [N] of the input rows
    target_times: NDArray[np.datetime64]  # [N]
    targets: NDArray[np.float32]  # [N] in the target's unit; one that was not measured repeats the one before
    filled: NDArray[np.bool_]  # [N] the input row was empty in the table
    measured: NDArray[np.bool_]  # [N] the target was not
    baselines: Mapping[str, NDArray[np.float32]]  # name → forecasts [N] that need no model
    mean: float  # of the target in the training part
    std: float

    def score(self, forecast: NDArray[np.floating], *, filled_count: bool = False) -> "Score":
        """Return the errors of forecast [N] over the measured targets, or over all of them if `filled_count`."""
        counts = self.measured | filled_count
        return score(forecast[counts], self.targets[counts], self.std)


@dataclass(frozen=True)
class Score:
    """The error of one column of forecasts."""

    mse_z: float  # mean squared, in units of the training part's variance of the target
    mae: float  # mean absolute, in the target's unit


def score(forecast: NDArray[np.floating], target: NDArray[np.floating], std: float) -> Score:
    """Return the errors of forecast [n] against target [n]."""
    error = forecast.astype(np.float64) - target.astype(np.float64)
    return Score(mse_z=float(np.square(error / std).mean()), mae=float(np.abs(error).mean()))


def metrics(network: Lstm, unseen: HeldOut) -> dict[str, float]:
    """Return `NAME_mse_z` and `NAME_mae` of the streamed model, of it with its state dropped, and of each baseline."""
    forecast = streamed(network, np.concatenate([unseen.history, unseen.inputs]))[len(unseen.history) :, 0]
    scores = {
        "test": unseen.score(forecast),
        "test_with_filled": unseen.score(forecast, filled_count=True),
        "state_dropped": unseen.score(state_dropped(network, unseen.inputs)[:, 0]),
    }
    scores |= {name: unseen.score(baseline) for name, baseline in unseen.baselines.items()}
    return {f"{name}_{measure}": round(value, 5) for name, s in scores.items() for measure, value in asdict(s).items()}


@torch.no_grad()
def streamed(network: Lstm, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the outputs [N, K] for inputs [N, F] as one stream through one state, from the zero state."""
    outputs, _ = network(torch.from_numpy(inputs)[None], torch.tensor([len(inputs)]), network.zero_state(1))
    return np.asarray(outputs[0].numpy())


@torch.no_grad()
def state_dropped(network: Lstm, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the outputs [N, K] for inputs [N, F], each row alone from the zero state."""
    lengths = torch.ones(len(inputs), dtype=torch.int64)
    outputs, _ = network(torch.from_numpy(inputs)[:, None], lengths, network.zero_state(len(inputs)))
    return np.asarray(outputs[:, 0].numpy())
