"""Two weeks of truth against forecast, as one picture."""

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
from matplotlib import dates
from matplotlib import pyplot as plt

Hours = NDArray[np.datetime64]
Volume = NDArray[np.floating]

_INK, _TRUTH, _FORECAST, _DROPPED = "#22303c", "#9aa7b1", "#d1495b", "#e9b44c"


def two_weeks(hours: Hours, truth: Volume, forecast: Volume, dropped: Volume, path: Path) -> None:
    """Draw truth, the streamed forecast and that of the model without its state, in vehicles an hour, [n] each."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(12, 5.6), sharex=True, height_ratios=(3, 1), layout="constrained", dpi=120
    )
    top.fill_between(hours, truth, color=_TRUTH, alpha=0.35, linewidth=0, label="truth")
    top.plot(hours, dropped, color=_DROPPED, linewidth=1.1, label="forecast, state dropped every hour")
    top.plot(hours, forecast, color=_FORECAST, linewidth=1.8, label="forecast, one hour ahead, state kept")
    top.set_ylabel("vehicles / h")
    top.set_ylim(0)
    top.legend(loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=3, frameon=False)
    bottom.axhline(0, color=_INK, linewidth=0.8)
    bottom.plot(hours, dropped - truth, color=_DROPPED, linewidth=1.0)
    bottom.plot(hours, forecast - truth, color=_FORECAST, linewidth=1.4)
    bottom.set_ylabel("error")
    bottom.xaxis.set_major_locator(dates.DayLocator())
    bottom.xaxis.set_major_formatter(dates.DateFormatter("%a\n%-d %b"))
    bottom.set_xlim(hours[0], hours[-1])
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color=_TRUTH, alpha=0.3)
    figure.savefig(path)
    plt.close(figure)
