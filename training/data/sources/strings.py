"""Table of generated strings: one row per symbol, with its string, its step in the string, and the string's part."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from training.data.sources.table import Table


def spelt(name: str, parts: Mapping[str, Sequence[str]]) -> Table:
    """Return the table of the strings of each part; `name` is the source's."""
    rows = [(part, text) for part, texts in parts.items() for text in texts]
    frame = pl.DataFrame(
        {
            "string": np.repeat(np.arange(len(rows)), [len(text) for _, text in rows]),
            "step": np.concatenate([np.arange(len(text)) for _, text in rows]),
            "symbol": list("".join(text for _, text in rows)),
            "part": [part for part, text in rows for _ in text],
        }
    )
    content = "\n".join(f"{part} {text}" for part, text in rows)
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return Table(frame, name, sha256, time="step", sequence="string", part="part")
