"""Generated strings in which the network must remember one symbol for `lag` steps.

Up to ten symbols, then `!`, then the symbol to remember, then more symbols, then `?`. Only the `!` marks the symbol,
and later symbols must not overwrite it: a plain form of the long lag of Hochreiter & Schmidhuber 1997, Long Short-Term
Memory, Neural Computation 9(8).
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import PositiveInt

from training.data.sources.strings import spelt
from training.data.sources.table import Table
from training.value import Value

SYMBOLS = "abcd"
BEFORE = 10  # most symbols before the `!`


def answer(text: str) -> str:
    """Return the symbol to remember."""
    return text[text.index("!") + 1]


class Recall(Value):
    """Random strings. Training strings have lags from 1 to `lag`; validation and test strings have exactly `lag`."""

    source: Literal["recall"]
    lag: PositiveInt = 100  # steps from the symbol to the `?`
    strings: PositiveInt = 4000  # for training
    validation: PositiveInt = 500
    test: PositiveInt = 2000
    seed: int = 0

    def read(self, folder: Path) -> Table:
        """Generate the strings; only the last row of each has an answer."""
        del folder  # no file is read
        parts = self.parts()
        texts = [text for part in parts.values() for text in part]
        table = spelt("recall", parts)
        answers = pl.Series("answer", [known for text in texts for known in [*[None] * len(text[1:]), answer(text)]])
        return replace(table, frame=table.frame.with_columns(answers))

    def parts(self) -> dict[str, list[str]]:
        """Return the strings of each part."""
        random = np.random.default_rng(self.seed)
        return {
            "training": [self._drawn(random, int(random.integers(1, self.lag + 1))) for _ in range(self.strings)],
            "validation": [self._drawn(random, self.lag) for _ in range(self.validation)],
            "test": [self._drawn(random, self.lag) for _ in range(self.test)],
        }

    def _drawn(self, random: np.random.Generator, lag: int) -> str:
        before = int(random.integers(BEFORE + 1))
        symbols = "".join(random.choice(list(SYMBOLS), before + lag))
        return f"{symbols[:before]}!{symbols[before:]}?"
