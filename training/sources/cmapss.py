"""NASA's simulated turbofan engines, C-MAPSS FD001. Knows what its columns are; not what is learnt of them.

A. Saxena, K. Goebel, D. Simon, N. Eklund 2008, Damage Propagation Modeling for Aircraft Engine Run-to-Failure
Simulation. 100 engines run until they fail; 100 others, the test part, stop some time before.
"""

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.errors import TableError
from training.sources.published import Published, sha256
from training.sources.table import Table
from training.values import Value

TRAIN, TEST, RUL = "train_FD001.txt", "test_FD001.txt", "RUL_FD001.txt"
FILES = Published(
    "cmapss_fd001.zip",
    (TRAIN, TEST, RUL),
    "NASA's Prognostics Center of Excellence as the Turbofan Engine Degradation Simulation Data Set (CMAPSSData.zip)",
)
COLUMNS = (  # in the order of the files; sensors as Saxena 2008, table 2, names them
    "unit",
    "cycle",
    "altitude",
    "mach",
    "throttle",
    "T2",  # °R, total temperature at the fan inlet
    "T24",  # °R, at the outlet of the low-pressure compressor
    "T30",  # °R, at the outlet of the high-pressure compressor
    "T50",  # °R, at the outlet of the low-pressure turbine
    "P2",  # psia, pressure at the fan inlet
    "P15",  # psia, total pressure in the bypass duct
    "P30",  # psia, total pressure at the outlet of the high-pressure compressor
    "Nf",  # rpm, fan speed
    "Nc",  # rpm, core speed
    "epr",  # engine pressure ratio
    "Ps30",  # psia, static pressure at the outlet of the high-pressure compressor
    "phi",  # pps/psi, fuel flow to Ps30
    "NRf",  # rpm, corrected fan speed
    "NRc",  # rpm, corrected core speed
    "BPR",  # bypass ratio
    "farB",  # fuel-air ratio of the burner
    "htBleed",  # bleed enthalpy
    "Nf_dmd",  # rpm, demanded fan speed
    "PCNfR_dmd",  # rpm, demanded corrected fan speed
    "W31",  # lbm/s, coolant bleed of the high-pressure turbine
    "W32",  # lbm/s, coolant bleed of the low-pressure turbine
)


class Cmapss(Value):
    """One row a cycle; `rul` is how many more cycles the engine will run. The test engines are NASA's."""

    source: Literal["cmapss"]
    path: Path | None = None  # a zip or a folder; left out: the folder that CAROUSEL_DATA names

    def read(self, folder: Path) -> Table:
        """Read both files; engines are `train-1` … `test-100`."""
        contents = FILES.read(self.path, folder)
        after = _numbers(contents, RUL, 1)[:, 0]
        train, test = (_numbers(contents, file, len(COLUMNS)) for file in (TRAIN, TEST))
        units = len(np.unique(test[:, 0]))
        if units != len(after):
            raise TableError(f"{RUL}: it has {len(after)} engines, and {TEST} {units}; take both from one archive")
        whole = _engines(train, "train", None, np.zeros(int(train[:, 0].max())))
        frame = pl.concat([whole, _engines(test, "test", "test", after)])
        return Table(frame, "cmapss", sha256(contents), time="cycle", sequence="engine", part="part")


def _engines(values: NDArray[Any], prefix: str, part: str | None, after: NDArray[Any]) -> pl.DataFrame:
    """Return rows [N, 26] as columns; `after` [units] is what each unit had left at its last cycle."""
    unit = values[:, 0].astype(np.int64)
    last = np.zeros(len(after) + 1)
    np.maximum.at(last, unit, values[:, 1])
    columns = {name: values[:, index] for index, name in enumerate(COLUMNS) if name != "unit"}
    return pl.DataFrame(
        {
            "engine": [f"{prefix}-{number}" for number in unit],
            **columns,
            "rul": last[unit] - values[:, 1] + after[unit - 1],
            "part": pl.Series([part] * len(unit), dtype=pl.String),
        }
    )


def _numbers(contents: dict[str, bytes], file: str, columns: int) -> NDArray[np.float64]:
    """Return the numbers of a file [N, columns]."""
    try:
        values = np.loadtxt(io.BytesIO(contents[file]), ndmin=2)
    except ValueError as error:
        raise TableError(f"{file}: {error}") from None
    if values.shape[1] != columns:
        raise TableError(f"{file}: {values.shape[1]} columns, and FD001 has {columns}; fetch it again")
    return values
