"""The numbers of a MATLAB file (level 5): cell arrays of matrices, which is what piano rolls are published as.

Format: "MAT-File Level 5", MathWorks. Knows no text, no structures, no sparse or complex matrices.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

MATRIX, COMPRESSED, CELL = 14, 15, 1
NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}

Cells = list[NDArray[Any]]


def cell_arrays(content: bytes) -> dict[str, Cells]:
    """Return each cell array of a file by its name, as the matrices that it holds.

    Raises:
        ValueError: the file is of another kind, cut short or damaged.

    """
    if content[124:128] != b"\x00\x01IM":
        raise ValueError("it is no MATLAB file of level 5")
    try:
        return dict(_matrix(part) for kind, part in _elements(content[128:]) if kind == MATRIX)
    except (struct.error, zlib.error, LookupError, ValueError) as error:
        raise ValueError(f"it is damaged, or holds more than cell arrays of numbers ({error})") from None


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the bytes of each element; short ones stand inside their own tag."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        begin = at + 8
        if kind >> 16:
            kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
        part = content[begin : begin + size]
        if len(part) < size:
            raise struct.error("it ends too early")
        if kind == COMPRESSED:
            yield from _elements(zlib.decompress(part))
            at = begin + size
        else:
            yield kind, part
            at += 8 if begin == at + 4 else 8 + -(-size // 8) * 8


def _matrix(content: bytes) -> tuple[str, Any]:
    """Return the name of a matrix and its values; of a cell array the values of each cell."""
    (_, flags), (_, shape), (_, name), *parts = _elements(content)
    if flags[0] == CELL:
        return name.decode(), [_matrix(part)[1] for _, part in parts]
    ((kind, values),) = parts
    return name.decode(), np.frombuffer(values, NUMBERS[kind]).reshape(np.frombuffer(shape, "<i4"), order="F")
