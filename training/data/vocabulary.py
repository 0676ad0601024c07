"""Words of a category and their codes. Whole numbers are their own codes; other words are numbered from 0."""

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from training.arrays import Floats
from training.data.columns import whole, words
from training.data.feature import Feature
from training.data.sources import Table

EXACT = 2**24  # float32 represents whole numbers exactly up to here, so they can be their own codes
LISTED = 20  # most unknown words in one message


class Vocabulary:
    """Known `words`, the code of each, and the `labels` that a file keeps of them: none for numbers."""

    def __init__(self, known: Sequence[str]) -> None:
        self.words = tuple(whole(pl.Series(known, dtype=pl.String)))
        numbered = bool(known) and all(map(_is_code, self.words))
        self.codes = tuple(map(int, self.words)) if numbered else tuple(range(len(known)))
        self.labels = () if numbered else self.words

    @classmethod
    def learnt(cls, seen: pl.Series, *, often: int = 1) -> "Vocabulary":
        """Return the vocabulary of the words that a column has at least `often` times, by number or by alphabet."""
        counted = seen.drop_nulls().alias("word").value_counts()
        known = counted.filter(counted["count"] >= often)["word"].to_list()
        return cls(sorted(known, key=int if all(map(_is_code, known)) else None))

    @classmethod
    def of(cls, feature: Feature) -> "Vocabulary":
        """Return the vocabulary of a category."""
        return cls(feature.labels or tuple(map(str, feature.codes)))

    def encode(self, table: Table, name: str, values: Sequence[int], *, fix: str, unknown: int | None = None) -> Floats:
        """Return a column with `values` (one for each word) in place of the words, NaN where it is empty.

        Another word gets `unknown`; without it, it is an error, which names all such words and gives the advice `fix`.
        """
        text = words(table, name)
        codes = text.replace_strict(self.words, list(values), default=unknown, return_dtype=pl.Float64)
        wrong = text.is_not_null() & codes.is_null()
        if wrong.any():
            raise table.error(f"{name} is {_listed(text.filter(wrong))}; {fix}", row=int(wrong.arg_true()[0]))
        return codes.set(text.is_null(), None).to_numpy().astype(np.float32)


def _listed(wrong: pl.Series) -> str:
    """Return unknown words as a part of a message, the first one first."""
    first, *others = wrong.unique(maintain_order=True).to_list()
    if not others:
        return f"{first!r}, which is not among the known ones"
    more = ", ".join(map(repr, others[:LISTED])) + (f" and {len(others) - LISTED} more" if len(others) > LISTED else "")
    return f"{first!r}, and in other rows {more}, which are not among the known ones"


def _is_code(word: str) -> bool:
    """Return whether a word is a whole number, written plainly."""
    return bool(re.fullmatch(r"-?(0|[1-9]\d{0,8})", word, re.ASCII)) and word != "-0" and abs(int(word)) <= EXACT
