"""What a session sends at a step: a row of a seeded pool, chosen by a formula that load/pool.c computes too."""

from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

Array = NDArray[np.float32]
ROWS = 1024  # a power of two


def pool(features: int) -> Array:
    """The rows that are sent, [ROWS, F]."""
    return np.random.default_rng(features).normal(0, 1, (ROWS, features)).astype(np.float32)


def rows_of(session: int, first: int, count: int) -> NDArray[np.uint32]:
    """Which rows a session sends at the steps first … first + count - 1."""
    steps = (first + np.arange(count)).astype(np.uint32)
    x = np.uint32(session * 0x9E3779B1 & 0xFFFFFFFF) + steps * np.uint32(0x85EBCA77)
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
    return (x ^ x >> np.uint32(16)) & np.uint32(ROWS - 1)


def write(path: Path, features: int) -> Path:
    """Write the pool as load/pool.c reads it: as float32 and as JSON."""
    values = pool(features)
    texts = [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in values]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.uint32)
    head = np.array([ROWS, features], np.uint32)
    path.write_bytes(head.tobytes() + values.tobytes() + offsets.tobytes() + b"".join(texts))
    return path
