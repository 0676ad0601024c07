"""Steps of many sessions as one array whose rows have the bytes of an `Operation`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_64_digest

from service.store.redis.operations import HEAD_FORM

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FENCE = np.dtype([("owner", "V16"), ("epoch", "<u8"), ("step", "<u8")])
_HEAD = [("clear", "u1"), ("score", "<f8"), ("told", "<u4"), ("old", _FENCE)]
_STATE = [("fence", "S5"), ("new", _FENCE), ("name", "S5"), ("deadline", "<f8"), ("ttl", "<f8")]
_ANSWER = [("number", "<u8"), ("start", "<u8"), ("digest", "<u8", 2)]
_SEAL = ("seal", "V8")


class Layout:
    """Columns of an operation that writes state and answers of a session."""

    def __init__(self, state: int, outputs: int, places: int, calls: int) -> None:
        """`state` and `outputs` are float32 numbers per session; `calls` answers are written to `places` fields."""
        digits = len(str(places - 1))
        self.names = np.array([b"a%0*d" % (digits, place) for place in range(places)])
        answer = np.dtype([("name", self.names.dtype), *_ANSWER, ("outputs", "<f4", outputs), _SEAL])
        answers = [(f"a{call}", answer) for call in range(calls)]
        self.kind = np.dtype([*_HEAD, *_STATE, ("state", "<f4", state), _SEAL, *answers])
        self.form = HEAD_FORM + b"c5c32c5c%d" % (24 + 4 * state)
        self.form += b"c%dc%d" % (self.names.itemsize, 40 + 4 * outputs) * calls
        # what is sealed: column of an answer, first byte, and byte of the seal
        self._sealed: list[tuple[str, int, int]] = [("", _at(self.kind, "new") + 16, _at(self.kind, "seal"))]
        for name, _ in answers:
            self._sealed.append((name, _at(self.kind, name), _at(self.kind, name) + _at(answer, "seal")))
        self._blank = np.zeros(1, self.kind)
        self._blank["fence"], self._blank["name"] = b"fence", b"state"

    def rows(self, count: int) -> NDArray[Any]:
        """Allocate operations; constant columns are set."""
        return np.repeat(self._blank, count)

    def seal(self, rows: NDArray[Any], seeds: Sequence[int]) -> memoryview:
        """Compute the seals → all operations as bytes."""
        content, width = rows.view(np.uint8).data, self.kind.itemsize
        for name, first, end in self._sealed:
            places = zip(range(first, len(content), width), range(end, len(content), width), seeds, strict=True)
            seals = [xxh3_64_digest(content[begin:stop], seed) for begin, stop, seed in places]
            (rows[name] if name else rows)["seal"] = np.frombuffer(b"".join(seals), "V8")
        return content


@lru_cache(64)
def layout(state: int, outputs: int, places: int, calls: int) -> Layout:
    """See Layout."""
    return Layout(state, outputs, places, calls)


def _at(kind: np.dtype[Any], name: str) -> int:
    """Byte offset of a column."""
    assert kind.fields is not None
    return kind.fields[name][1]
