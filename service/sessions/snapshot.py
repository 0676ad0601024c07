"""A session's state as bytes: bound to model, version, step and shapes, and refused when damaged. Pure.

Layout, little-endian: 8 bytes magic | u32 length of the header | header (JSON) | float32 arrays in the header's order |
32 bytes SHA-256 of everything before.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import orjson

from service.errors import StateMismatch

if TYPE_CHECKING:
    from service.models.model import State

_MAGIC = b"CRSLST\x00\x01"
_HASH = 32
_STEPS = 2**62  # no session gets that far, nor from there to where 64 bits end


@dataclass(frozen=True)
class Snapshot:
    """The state [1, …] that a session of `model`/`version`, whose file has `digest`, had at `step`."""

    model: str
    version: str
    digest: str
    step: int
    state: State

    def encode(self) -> bytes:
        """The bytes that `decode` reads."""
        header = orjson.dumps(
            {
                "model": self.model,
                "version": self.version,
                "digest": self.digest,
                "step": self.step,
                "state": {name: array.shape[1:] for name, array in self.state.items()},
            }
        )
        arrays = b"".join(array.astype("<f4").tobytes() for array in self.state.values())
        body = _MAGIC + struct.pack("<I", len(header)) + header + arrays
        return body + hashlib.sha256(body).digest()


def decode(blob: bytes) -> Snapshot:
    """Read what `encode` wrote.

    Raises:
        StateMismatch: the bytes are not such a state, or damaged.

    """
    body, seal = blob[:-_HASH], blob[-_HASH:]
    if not blob.startswith(_MAGIC) or hashlib.sha256(body).digest() != seal:
        raise StateMismatch("not a state written by this service, or damaged")
    try:
        start = len(_MAGIC) + 4
        (length,) = struct.unpack_from("<I", body, len(_MAGIC))
        header = orjson.loads(body[start : start + length])
        state = _arrays(body[start + length :], header["state"])
        return _checked(Snapshot(header["model"], header["version"], header["digest"], header["step"], state))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error) as error:  # not sealed by us
        raise StateMismatch(f"not a state written by this service: {error}") from error


def _checked(snapshot: Snapshot) -> Snapshot:
    if not all(isinstance(name, str) for name in (snapshot.model, snapshot.version, snapshot.digest)):
        raise ValueError("model, version and digest are strings")
    if type(snapshot.step) is not int or not 0 <= snapshot.step < _STEPS:
        raise ValueError(f"step {snapshot.step!r}")
    return snapshot


def _arrays(content: bytes, shapes: Mapping[str, list[int]]) -> State:
    state: State = {}
    offset = 0
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        state[name] = np.frombuffer(content, "<f4", count, offset).reshape(1, *shape).astype(np.float32)
        offset += 4 * count
    if offset != len(content):
        raise ValueError("trailing bytes")
    return state
