"""Work of one of several processes (`torchrun … -m tests.training.net.shares FOLDER`), read by test_processes."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from tests.training import tiny
from training.data.batches import carried, loader, windows
from training.data.dataset import Sequence, Stretch
from training.net.fit import fit
from training.net.hardware import PLAIN, Hardware
from training.net.networks import Network
from training.recipe.read import read_recipe
from training.recipe.recipe import Training
from training.train import train

ALONE = Training(epochs=2, batch=8)
LANES = Training(epochs=2, batch=3, window=8, carry=True)


def series(count: int, seed: int) -> list[Stretch]:
    """Series of different lengths that forecast themselves, with gaps in what is asked."""
    made = []
    for i in range(count):
        x = tiny.rows(9 + 5 * (i % 4), seed + i)
        y = np.where(np.arange(len(x)) % (i + 2), x[:, 0], np.float32(np.nan))[:, None]
        made.append(Stretch(Sequence(str(i), np.arange(len(x)), x, y), 0, len(x), (1,)))
    return made


def fitted(how: Training, folder: Path, build: Callable[[], Network], hardware: Hardware = PLAIN) -> Network:
    """Fit 17 series: in batches of 8 the last has one, so that only one of two processes has something to learn."""
    stretches = series(17, 0)
    batches: DataLoader[Any] = (
        carried(stretches, how) if how.carry else loader(windows(stretches, how), how.batch, shuffle=True)
    )
    validation = loader(windows(series(3, 100), ALONE), how.batch)
    return fit(build, batches, validation, how=how, seed=1, folder=folder, hardware=hardware)


def keeping(left: Path) -> Network:
    """Return a network that keeps the weights which its training ended with, before the best ones are put back."""
    network = tiny.network()
    network.register_load_state_dict_pre_hook(lambda module, *_: torch.save(dict(module.named_parameters()), left))
    return network


def main(folder: Path) -> None:
    rank = os.environ.get("RANK", "alone")
    for name, how in (("alone", ALONE), ("lanes", LANES)):
        fitted(how, folder / "runs" / name, partial(keeping, folder / f"{name}-{rank}.pt"))
    path = train(read_recipe(folder / "tiny.toml"), folder / "models", runs=folder / "runs")
    (folder / f"{rank}.txt").write_text(str(path), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
