"""Objects between two processes: a pickle, and arrays and bytes beside it, which are never copied into it. Pure."""

import pickle
import struct
from collections.abc import Callable, Generator
from typing import Any

Receiving = Generator[int, bytearray, None]  # says how many bytes come next, and is sent them


def packed(value: Any) -> list[bytes | memoryview]:
    """What to send, one piece behind the other; bytes that shall lie beside the pickle are a `PickleBuffer`."""
    beside: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, 5, buffer_callback=beside.append)
    pieces = [memoryview(pickled), *(buffer.raw() for buffer in beside)]
    return [struct.pack(f"<I{len(pieces)}Q", len(pieces), *(piece.nbytes for piece in pieces)), *pieces]


def unpacking(take: Callable[[Any], None]) -> Receiving:
    """Hands on each object that was received."""
    while True:
        (count,) = struct.unpack("<I", (yield 4))
        sizes = struct.unpack(f"<{count}Q", (yield 8 * count))
        pieces = []
        for size in sizes:
            pieces.append((yield size) if size else bytearray())
        take(pickle.loads(pieces[0], buffers=pieces[1:]))
