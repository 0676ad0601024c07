"""A frame of the service as it is read. Text frames are JSON: {"id", "opened" | "closed" | "rewound" | "error", …}."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from carousel_client.answers import SessionObject
from carousel_client.checks import Count, Rows, check, read

U32: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Size: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class _Opened(Struct):
    channel: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    session: str
    created: bool
    step: Count
    replay: Size
    feature_count: Size
    output_count: Size
    version: str
    behind_ms: Count = 0


class _Closed(Struct):
    channel: U32


class _Failed(Struct):
    channel: U32
    error: dict[str, Any]


class Frame(Struct):
    """A frame of the service. Of the keys of a text one is there, or two with `channel`, `step` or `failed`."""

    id: U32
    opened: _Opened | None = None
    closed: _Closed | None = None
    rewound: SessionObject | None = None
    outputs: Rows | None = None
    step: Count | None = None
    error: dict[str, Any] | None = None
    channel: U32 | None = None
    failed: list[_Failed] = []
    binary: bytes = b""  # the whole of a binary frame

    @classmethod
    def of(cls, message: str | bytes) -> Frame:
        """Read a frame. Raises ForeignAnswer."""
        if isinstance(message, str):
            return read(message, Frame)
        check(len(message) >= 8, f"a binary frame of {len(message)} bytes")
        return cls(int.from_bytes(message[:4], "little"), binary=message)
