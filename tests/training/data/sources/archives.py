"""Tiny data sets in the format of the published ones."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from training.data.sources.cmapss import COLUMNS, RUL, TEST, TRAIN

TRAIN_CYCLES, TEST_CYCLES, LEFT = (5, 3, 4, 6), (2, 4), (7, 1)


def engines(folder: Path) -> Path:
    """Write the three files of FD001 for a handful of engines, whose every value tells its engine and cycle."""
    for file, cycles in ((TRAIN, TRAIN_CYCLES), (TEST, TEST_CYCLES)):
        rows = [
            f"{unit} {cycle} "
            + " ".join(f"{100 * unit + cycle + column / 100:.2f}" for column in range(2, len(COLUMNS)))
            for unit, count in enumerate(cycles, 1)
            for cycle in range(1, count + 1)
        ]
        (folder / file).write_text("  \n".join([*rows, ""]))
    (folder / RUL).write_text("".join(f"{left} \n" for left in LEFT))
    return folder


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def matlab(arrays: dict[str, list[NDArray[np.uint8]]]) -> bytes:
    """Return a MATLAB file of cell arrays."""
    cells = {}
    for name, matrices in arrays.items():
        cells[name] = np.empty((1, len(matrices)), object)
        for place, matrix in enumerate(matrices):
            cells[name][0, place] = matrix
    file = BytesIO()
    savemat(file, cells)
    return file.getvalue()
