"""Tiny data sets in the format of the published ones."""

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.sources.cmapss import COLUMNS, RUL, TEST, TRAIN

TRAIN_CYCLES, TEST_CYCLES, LEFT = (5, 3, 4, 6), (2, 4), (7, 1)


def engines(folder: Path) -> Path:
    """Write the three files of FD001 for a handful of engines, whose every value tells its engine and cycle."""
    for file, cycles in ((TRAIN, TRAIN_CYCLES), (TEST, TEST_CYCLES)):
        rows = [
            f"{unit} {cycle} "
            + " ".join(f"{100 * unit + cycle + column / 100:.2f}" for column in range(2, len(COLUMNS)))
            for unit, count in enumerate(cycles, 1)
            for cycle in range(1, count + 1)
        ]
        (folder / file).write_text("  \n".join([*rows, ""]))
    (folder / RUL).write_text("".join(f"{left} \n" for left in LEFT))
    return folder


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def matlab(arrays: dict[str, list[NDArray[np.uint8]]], *, compressed: bool = True) -> bytes:
    """Return a MATLAB file of level 5 that holds cell arrays of bytes."""
    parts = [_matrix(1, name, (1, len(cells)), [_matrix(6, "", c.shape, [_element(2, c.tobytes("F"))]) for c in cells])
             for name, cells in arrays.items()]  # fmt: skip
    if compressed:
        packed = [zlib.compress(part) for part in parts]
        parts = [struct.pack("<II", 15, len(part)) + part for part in packed]
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(parts)


def _matrix(kind: int, name: str, shape: tuple[int, ...], contents: list[bytes]) -> bytes:
    flags, sizes = struct.pack("<II", kind, 0), struct.pack(f"<{len(shape)}i", *shape)
    return _element(14, b"".join([_element(6, flags), _element(5, sizes), _element(1, name.encode()), *contents]))


def _element(kind: int, content: bytes) -> bytes:
    if 0 < len(content) <= 4:
        return struct.pack("<I", len(content) << 16 | kind) + content.ljust(4, b"\x00")
    return struct.pack("<II", kind, len(content)) + content + b"\x00" * (-len(content) % 8)
