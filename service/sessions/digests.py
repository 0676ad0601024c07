"""Digests of inputs, by which a retry is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

if TYPE_CHECKING:
    from service.models.model import Array, Index

Digests: TypeAlias = NDArray[np.uint64]
_ONE = np.ones(1, np.int64)


class Digester:
    """Digests of the float32 bits of inputs, 128 bits each: equal inputs have equal digests, in any batch and process.

    Of one step [F] it is two sums of its words times fixed random odd numbers, modulo 2**64 (multilinear hashing), for
    many steps at once; of longer inputs it is XXH3.
    """

    def __init__(self, features: int) -> None:
        random = np.random.default_rng(features)
        self._factors = random.integers(0, 2**64, (features, 2), dtype=np.uint64) | np.uint64(1)

    def of(self, inputs: Array, lengths: Index) -> Digests:
        """Digests of N sequences that lie in inputs [ΣT, F] one behind the other → [N, 2]."""
        inputs = np.ascontiguousarray(inputs)
        if len(inputs) == 1:  # after a pause `@` takes twice as long
            word: Digests = np.dot(inputs[0].view(np.uint32).astype(np.uint64), self._factors)[None]
            return word
        if len(inputs) == len(lengths):
            words: Digests = inputs.view(np.uint32).astype(np.uint64) @ self._factors
            return words
        ends = np.cumsum(lengths).tolist()
        digests = [self._one(inputs[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]
        return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)

    def _one(self, inputs: Array) -> bytes:
        return self.of(inputs, _ONE).tobytes() if len(inputs) == 1 else xxh3_128_digest(inputs.data)
