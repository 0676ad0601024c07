"""Strings in which one symbol has to be remembered for `lag` steps, drawn with a seed. Knows the strings; no networks.

Up to ten symbols, then `!`, then the symbol to be remembered, then more symbols of the same kind, then `?`. Nothing but
the `!` says what to remember, and what comes after must not be written over it: the long lag of Hochreiter &
Schmidhuber 1997, Long Short-Term Memory, Neural Computation 9(8), in a plain form.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import PositiveInt

from training.sources.strings import spelt
from training.sources.table import Table
from training.values import Value

SYMBOLS = "abcd"
BEFORE = 10  # symbols before the `!`, at most


def answer(text: str) -> str:
    """Return the symbol that a string asks for."""
    return text[text.index("!") + 1]


class Recall(Value):
    """`strings` to learn from, whose lags are drawn from 1 to `lag`; those to validate and to test with have it all."""

    source: Literal["recall"]
    lag: PositiveInt = 100  # steps from the symbol to the `?`
    strings: PositiveInt = 4000
    validation: PositiveInt = 500
    test: PositiveInt = 2000
    seed: int = 0

    def read(self, folder: Path) -> Table:
        """Draw the strings: a row is a symbol; the last one has the answer."""
        del folder  # nothing is read
        parts = self.parts()
        answers = [
            known for texts in parts.values() for text in texts for known in [*[None] * len(text[1:]), answer(text)]
        ]
        table = spelt("recall", parts)
        return replace(table, frame=table.frame.with_columns(pl.Series("answer", answers)))

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
