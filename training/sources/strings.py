"""Generated strings → a table: a row is a symbol, with its string, its step there and the part of the string."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from training.sources.table import Table


def spelt(name: str, parts: Mapping[str, Sequence[str]]) -> Table:
    """Spell the strings of each part, in order; the name is that of the source."""
    rows = [(part, text) for part, texts in parts.items() for text in texts]
    frame = pl.DataFrame(
        {
            "string": np.repeat(np.arange(len(rows)), [len(text) for _, text in rows]),
            "step": np.concatenate([np.arange(len(text)) for _, text in rows]),
            "symbol": list("".join(text for _, text in rows)),
            "part": [part for part, text in rows for _ in text],
        }
    )
    told = "\n".join(f"{part} {text}" for part, text in rows)
    sha256 = hashlib.sha256(told.encode()).hexdigest()
    return Table(frame, name, sha256, time="step", sequence="string", part="part")
