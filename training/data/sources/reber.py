"""Generated strings of the embedded Reber grammar.

Hochreiter & Schmidhuber 1997, Long Short-Term Memory, Neural Computation 9(8), experiment 1: B, then T or P, then a
string of the Reber grammar (itself B … E), then the same T or P again, then E. To predict the last symbol but one, the
network must remember the second symbol across the string between them.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import PositiveInt

from training.data.sources.strings import spelt
from training.data.sources.table import Table
from training.value import Value

SYMBOLS = "BTPSXVE"
END = "end"
# Node → its edges: symbol and next node. All edges of a node are equally likely.
INNER = {
    "0": {"B": "1"},
    "1": {"T": "2", "P": "3"},
    "2": {"S": "2", "X": "4"},
    "3": {"T": "3", "V": "5"},
    "4": {"X": "3", "S": "6"},
    "5": {"P": "4", "V": "6"},
    "6": {"E": "out"},
}


def _embedded() -> dict[str, dict[str, str]]:
    """Return the embedded grammar. It contains the Reber grammar twice, so that nodes know the letter to repeat."""
    grammar = {"start": {"B": "outer"}, "outer": {letter: f"{letter}0" for letter in "TP"}, "last": {"E": END}, END: {}}
    for letter in "TP":
        for node, edges in INNER.items():
            grammar[f"{letter}{node}"] = {symbol: f"{letter}{to}" for symbol, to in edges.items()}
        grammar[f"{letter}out"] = {letter: "last"}
    return grammar


GRAMMAR = _embedded()


def legal(prefix: str) -> frozenset[str]:
    """Return the symbols that may follow the beginning of a string; empty after its end.

    Raises:
        ValueError: no string begins with `prefix`.

    """
    node = "start"
    for symbol in prefix:
        if symbol not in GRAMMAR[node]:
            raise ValueError(f"no string of the embedded Reber grammar begins with {prefix!r}")
        node = GRAMMAR[node][symbol]
    return frozenset(GRAMMAR[node])


def drawn(random: np.random.Generator) -> str:
    """Return a random string."""
    text, node = "", "start"
    while edges := GRAMMAR[node]:
        symbol = sorted(edges)[random.integers(len(edges))]
        text, node = text + symbol, edges[symbol]
    return text


class Reber(Value):
    """Random strings. Validation and test strings are all different, and none is a training string."""

    source: Literal["reber"]
    strings: PositiveInt = 2000  # for training
    validation: PositiveInt = 200
    test: PositiveInt = 500
    seed: int = 0

    def read(self, folder: Path) -> Table:
        """Generate the strings."""
        del folder  # no file is read
        return spelt("reber", self.parts())

    def parts(self) -> dict[str, list[str]]:
        """Return the strings of each part."""
        random = np.random.default_rng(self.seed)
        training = [drawn(random) for _ in range(self.strings)]
        seen = set(training)
        new: list[str] = []
        while len(new) < self.validation + self.test:
            text = drawn(random)
            if text not in seen:
                seen.add(text)
                new.append(text)
        return {"training": training, "validation": new[: self.validation], "test": new[self.validation :]}
