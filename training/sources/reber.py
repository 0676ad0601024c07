"""Strings of the embedded Reber grammar, drawn with a seed. Knows the grammar; not what is learnt of it.

Hochreiter & Schmidhuber 1997, Long Short-Term Memory, Neural Computation 9(8), experiment 1: B, then T or P, then a
string of the Reber grammar (itself B … E), then the same T or P again, then E. To know the last symbol but one, one has
to remember the second across the whole string between them.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import PositiveInt

from training.sources.strings import spelt
from training.sources.table import Table
from training.values import Value

SYMBOLS = "BTPSXVE"
END = "end"
# node → its edges: a symbol and the node behind it. Every edge of a node is as likely as another.
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
    """Return the grammar with the Reber grammar in it twice, so that a node knows the letter that has to come again."""
    grammar = {"start": {"B": "outer"}, "outer": {letter: f"{letter}0" for letter in "TP"}, "last": {"E": END}, END: {}}
    for letter in "TP":
        for node, edges in INNER.items():
            grammar[f"{letter}{node}"] = {symbol: f"{letter}{to}" for symbol, to in edges.items()}
        grammar[f"{letter}out"] = {letter: "last"}
    return grammar


GRAMMAR = _embedded()


def legal(prefix: str) -> frozenset[str]:
    """Return the symbols that may follow the beginning of a string; none after its end.

    Raises:
        ValueError: no string begins so.

    """
    node = "start"
    for symbol in prefix:
        if symbol not in GRAMMAR[node]:
            raise ValueError(f"no string of the embedded Reber grammar begins with {prefix!r}")
        node = GRAMMAR[node][symbol]
    return frozenset(GRAMMAR[node])


def drawn(random: np.random.Generator) -> str:
    """Return a string, each edge as likely as the others of its node."""
    text, node = "", "start"
    while edges := GRAMMAR[node]:
        symbol = sorted(edges)[random.integers(len(edges))]
        text, node = text + symbol, edges[symbol]
    return text


class Reber(Value):
    """`strings` to learn from, as they are drawn; those to validate and to test with are new and all different."""

    source: Literal["reber"]
    strings: PositiveInt = 2000
    validation: PositiveInt = 200
    test: PositiveInt = 500
    seed: int = 0

    def read(self, folder: Path) -> Table:
        """Draw the strings."""
        del folder  # nothing is read
        return spelt("reber", self.parts())

    def parts(self) -> dict[str, list[str]]:
        """Return the strings of each part; none of one part occurs in another."""
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
