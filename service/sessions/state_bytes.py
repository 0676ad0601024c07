"""A session's state as bytes: bound to model, version, step and shapes, and refused when damaged. Pure.

Layout, little-endian: 8 bytes magic | u32 length of the header | header (JSON) | float32 arrays in the header's order |
32 bytes seal of everything before: SHA-256, which proves nothing but that it is undamaged, or HMAC-SHA256 with a key.
"""

from __future__ import annotations

import hashlib
import hmac
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
class StateBytes:
    """The state [1, …] that a session of `model`/`version`, whose file has `digest`, had at `step`."""

    model: str
    version: str
    digest: str
    step: int
    state: State

    def encode(self, seals: Seals) -> bytes:
        """The bytes that `decode` reads."""
        told = {"model": self.model, "version": self.version, "digest": self.digest, "step": self.step}
        shapes = {name: array.shape[1:] for name, array in self.state.items()}
        header = orjson.dumps({**told, "key": seals.key, "state": shapes})
        arrays = b"".join(array.astype("<f4").tobytes() for array in self.state.values())
        body = _MAGIC + struct.pack("<I", len(header)) + header + arrays
        return body + seals.seal(body, seals.key)


class Seals:
    """Keys that seal states: the first one seals, all of them open. Without keys a seal is SHA-256."""

    def __init__(self, keys: str = "") -> None:
        named = (one.partition(":") for one in keys.split(",") if one)
        self._secrets = {id: secret.encode() for id, _, secret in named}
        self.key = next(iter(self._secrets), None)  # by which states are sealed

    def __repr__(self) -> str:
        return f"<Seals by {', '.join(self._secrets) or 'SHA-256'}>"

    def seal(self, body: bytes, key: object) -> bytes:
        """The seal by a key. Raises StateMismatch: there is no such key here."""
        if key is None and not self._secrets:
            return hashlib.sha256(body).digest()
        if not isinstance(key, str) or key not in self._secrets:
            raise StateMismatch("the state is not sealed by a key of this service")
        return hmac.digest(self._secrets[key], body, "sha256")


def decode(blob: bytes, seals: Seals) -> StateBytes:
    """Read what `encode` wrote. A caller bounds the size of the blob.

    Raises:
        StateMismatch: the bytes are not such a state, damaged, or not sealed by a key of this service.

    """
    body, seal = blob[:-_HASH], blob[-_HASH:]
    if not blob.startswith(_MAGIC):
        raise StateMismatch("not a state written by this service")
    try:
        start = len(_MAGIC) + 4
        (length,) = struct.unpack_from("<I", body, len(_MAGIC))
        header = orjson.loads(body[start : start + length])
        if not hmac.compare_digest(seals.seal(body, header.get("key")), seal):
            raise StateMismatch("the state is damaged, or was sealed by another key")
        state = _arrays(body[start + length :], header["state"])
        return _checked(StateBytes(header["model"], header["version"], header["digest"], header["step"], state))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error) as error:  # not sealed by us
        raise StateMismatch(f"not a state written by this service: {error}") from error


def _checked(snapshot: StateBytes) -> StateBytes:
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
