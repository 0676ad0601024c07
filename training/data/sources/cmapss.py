"""NASA's simulated turbofan engines, C-MAPSS FD001.

A. Saxena, K. Goebel, D. Simon, N. Eklund 2008, Damage Propagation Modeling for Aircraft Engine Run-to-Failure
Simulation. 100 engines run until they fail; the records of 100 others, the test part, end some time before failure.
"""

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.arrays import Doubles
from training.data.sources.published import Published, sha256
from training.data.sources.table import Table
from training.errors import TableError
from training.value import Value

TRAIN, TEST, RUL = "train_FD001.txt", "test_FD001.txt", "RUL_FD001.txt"
FILES = Published(
    "cmapss_fd001.zip",
    (TRAIN, TEST, RUL),
    "NASA's Prognostics Center of Excellence as the Turbofan Engine Degradation Simulation Data Set (CMAPSSData.zip)",
)
# In the order of the files; sensors as in Saxena 2008, table 2. Units: T °R, P psia, N rpm, W lbm/s.
COLUMNS = (
    *("unit", "cycle", "altitude", "mach", "throttle"),
    *("T2", "T24", "T30", "T50", "P2", "P15", "P30", "Nf", "Nc", "epr", "Ps30", "phi", "NRf", "NRc", "BPR", "farB"),
    *("htBleed", "Nf_dmd", "PCNfR_dmd", "W31", "W32"),
)


class Cmapss(Value):
    """One row per cycle; `rul` is the number of remaining cycles. The test engines are NASA's."""

    source: Literal["cmapss"]
    path: Path | None = None  # zip or folder; default: the folder that CAROUSEL_DATA names

    def read(self, folder: Path) -> Table:
        """Read the three files; engines are named `train-1` … `test-100`."""
        contents = FILES.read(self.path, folder)
        left = _numbers(contents, RUL, 1)[:, 0]
        train, test = (_numbers(contents, file, len(COLUMNS)) for file in (TRAIN, TEST))
        units = len(np.unique(test[:, 0]))
        if units != len(left):
            raise TableError(f"{RUL}: it has {len(left)} engines, and {TEST} {units}; take both from one archive")
        frame = pl.concat([_engines(train, "train", np.zeros(int(train[:, 0].max()))), _engines(test, "test", left)])
        return Table(frame, "cmapss", sha256(contents), time="cycle", sequence="engine", part="part")


def _engines(values: NDArray[Any], name: str, left: NDArray[Any]) -> pl.DataFrame:
    """Return rows [N, 26] as columns; `left` [units] is the number of cycles after each unit's last row."""
    unit = values[:, 0].astype(np.int64)
    last = pl.col("cycle").max().over("unit")
    return pl.DataFrame(values, list(COLUMNS)).select(
        pl.Series("engine", [f"{name}-{number}" for number in unit]),
        pl.exclude("unit"),
        (last - pl.col("cycle") + left[unit - 1]).alias("rul"),
        pl.lit("test" if name == "test" else None, pl.String).alias("part"),
    )


def _numbers(contents: dict[str, bytes], file: str, columns: int) -> Doubles:
    """Return the numbers [N, columns] of a file."""
    try:
        values = np.loadtxt(io.BytesIO(contents[file]), ndmin=2)
    except ValueError as error:
        raise TableError(f"{file}: {error}") from None
    if values.shape[1] != columns:
        raise TableError(f"{file}: {values.shape[1]} columns, and FD001 has {columns}; fetch it again")
    return values
