"""The whole line on real data: train → export → serve → stream six unseen months → table and picture.

`python -m demo.metro_traffic` (or `make demo`). Everything it makes is under runs/demo.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from carousel_client import Client
from demo.plot import two_weeks
from demo.server import server
from demo.stream import state_dropped
from demo.trained import trained
from training.data.dataset import load
from training.net.evaluate import Unseen, unseen
from training.recipe.read import read_recipe
from training.tasks import Task, task_of

_FOLDER = Path("runs/demo")
_RECIPE = read_recipe("metro-traffic")
_MODEL, _VERSION = _RECIPE.name, "1"
_GOOD, _FORGETFUL = 0.03, 0.08  # z-scored MSE: the model must be below, the same one without state above
_DRAWN = slice(49 * 24, 63 * 24)  # two weeks of May and June, Memorial Day among them

Volume = NDArray[np.floating]  # vehicles/h

_console = Console()


def main() -> None:
    """Run the demonstration; exit with 1 if the result is not what the README claims."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    models = trained(_RECIPE, _VERSION, 0, _FOLDER, _console)
    data = load(_RECIPE)
    (stream,) = unseen(_RECIPE, data, data.test)
    with server(models, _FOLDER / "serve.log") as url:
        _console.print(f"[bold]Serving[/] {models} on {url}")
        with Client(url) as client:
            forecast = _streamed(client, stream)
            (lone,) = state_dropped(client, _MODEL, _VERSION, [stream])
    _console.print("[bold]Stopped[/] the server; it drained and ended with 0.")
    dropped = lone[:, 0]
    good = _compare(task_of(_RECIPE, data), stream, forecast, dropped)
    picture = _FOLDER / "metro-traffic.png"
    two_weeks(stream.answer_times[_DRAWN], stream.answers[_DRAWN, 0], forecast[_DRAWN], dropped[_DRAWN], picture)
    _console.print(f"[bold]Picture[/] of two weeks, truth against forecast: {picture}")
    sys.exit(0 if good else 1)


def _streamed(client: Client, stream: Unseen) -> Volume:
    """The forecast of every hour, one hour sent at a time through one session → [N] vehicles/h."""
    forecast = np.empty(len(stream.inputs))
    columns = (
        TextColumn("[bold]Streaming[/] {task.fields[hour]}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with (
        client.session(_MODEL, history=stream.history) as session,
        Progress(*columns, console=_console) as progress,
    ):
        hours = progress.add_task("", total=len(forecast), hour="", now="")
        for index, row in enumerate(stream.inputs):
            forecast[index] = session.step(row)[0]
            hour = np.datetime_as_string(stream.times[index], "h").replace("T", " ")
            now = f"said {forecast[index]:4.0f}, came {stream.answers[index, 0]:4.0f}"
            progress.update(hours, advance=1, hour=f"{hour}:00", now=now)
    return forecast


def _compare(task: Task, stream: Unseen, forecast: Volume, dropped: Volume) -> bool:
    """Print the table; whether the model is good with its state and poor without."""
    forecasts: dict[str, NDArray[np.floating]] = {
        "LSTM, streamed through one session": forecast,
        "the same LSTM, state dropped at each hour": dropped,
        "persistence (the last hour again)": stream.baselines["persistence"][:, 0],
        "same hour last week": stream.baselines["season"][:, 0],
    }
    figures = {
        name: task.figures(values[:, None].astype(np.float32), stream.answers) for name, values in forecasts.items()
    }
    table = Table(title="Next hour's traffic, 2018-04-01 to 2018-09-30, never seen in training")
    table.add_column("forecast")
    table.add_column("MSE, z-scored", justify="right")
    table.add_column("MAE, vehicles/h", justify="right")
    for name, own in figures.items():
        table.add_row(name, f"{own['mse_z']:.4f}", f"{own['mae']:.0f}")
    _console.print(table)
    mean, std = task.data.answers.mean[0], task.data.answers.std[0]
    _console.print(
        f"The session was warmed up with {len(stream.history)} hours of history. z-scored with the training part's mean"
        f" {mean:.0f} and deviation {std:.0f}. {int(np.isnan(stream.answers).sum())} of {len(forecast)} hours were not"
        " measured: they are fed with the values of the hour before, and not counted as targets."
    )
    with_state, without = (own["mse_z"] for own in list(figures.values())[:2])
    if not with_state <= _GOOD:
        _console.print(f"[red]FAILED: {with_state:.4f} is above {_GOOD}[/]")
    if not without > _FORGETFUL:
        _console.print(f"[red]FAILED: {without:.4f} without state is not above {_FORGETFUL}[/]")
    return with_state <= _GOOD and without > _FORGETFUL


if __name__ == "__main__":
    main()
