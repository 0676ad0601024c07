"""Binary frames of the stream: many sessions of one model in one message, little-endian, no padding. Pure.

request  u32 id | u32 n | u32 channel[n] | u32 length[n] | u64 step[n]      | f32 inputs [sum(length), F]
answer   u32 id | u32 n | u32 channel[n] | u32 length[n] | u64 next_step[n] | f32 outputs[sum(length), K]
"""

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from service.errors import InvalidInput, InvalidRequest
from service.model import Column
from service.rows import Array, Index, finite
from service.work import LAST, UNCHECKED

HEAD = 8  # bytes of id and n

Blame: TypeAlias = Callable[[int], None]  # is told the channel that is at fault, where it is one


class Frame(NamedTuple):
    """The head of a request, [N] each; its inputs are read once it is known how wide they are."""

    id: int
    channels: Index
    lengths: Index
    asked: Index
    content: bytes

    def inputs(self, features: Sequence[Column], blame: Blame) -> Array:
        """The inputs [ΣT, F].

        Raises:
            InvalidRequest: there are more or fewer bytes.
            InvalidInput: a number is not finite; `detail` names the place.

        """
        F, steps = len(features), int(self.lengths.sum())
        begin, size = HEAD + 16 * len(self.channels), HEAD + 16 * len(self.channels) + 4 * F * steps
        if len(self.content) != size:
            raise InvalidRequest(
                f"frame: {len(self.content)} bytes; {len(self.channels)} channels and {steps} steps of {F} features"
                f" are {size}"
            )
        inputs: Array = np.frombuffer(self.content, "<f4", offset=begin).reshape(steps, F)
        if not finite(inputs):
            step, column = divmod(int(np.flatnonzero(~np.isfinite(inputs))[0]), F)
            index = int(np.searchsorted(np.cumsum(self.lengths), step, side="right"))
            step -= int(self.lengths[:index].sum())
            blame(int(self.channels[index]))
            raise InvalidInput(f"inputs[{index}][{step}][{column}] ({features[column].name}): not finite")
        return inputs

    def answer(self, starts: Index, outputs: Array) -> bytes:
        """The answer to this request: its sessions began at `starts`, [N], and answered outputs [ΣT, K]."""
        head = self.content[: HEAD + 8 * len(self.channels)]
        return b"".join(
            (head, (starts + self.lengths).astype("<u8").tobytes(), outputs.astype("<f4", copy=False).tobytes())
        )


def id_of(content: bytes) -> int | None:
    """The id of a frame, if it is long enough to have one."""
    return int.from_bytes(content[:4], "little") if len(content) >= 4 else None


def read(content: bytes, blame: Blame) -> Frame:
    """The head of a request.

    Raises:
        InvalidRequest: it is cut off, or names a channel twice.
        InvalidInput: no channel, or no step for one.

    """
    if len(content) < HEAD:
        raise InvalidRequest(f"frame: {len(content)} bytes are no id and count")
    id, n = struct.unpack_from("<II", content)
    if n == 0:
        raise InvalidInput("frame: no channels")
    if len(content) < HEAD + 16 * n:
        raise InvalidRequest(f"frame: {len(content)} bytes; the head of {n} channels is {HEAD + 16 * n}")
    channels = np.frombuffer(content, "<u4", n, HEAD).astype(np.int64)
    lengths = np.frombuffer(content, "<u4", n, HEAD + 4 * n).astype(np.int64)
    asked = np.frombuffer(content, "<u8", n, HEAD + 8 * n).astype(np.int64)  # 0xFFFFFFFFFFFFFFFF becomes UNCHECKED
    if n > 1 and len(set(channels.tolist())) < n:
        known, counts = np.unique(channels, return_counts=True)
        blame(int(known[counts > 1][0]))
        raise InvalidRequest(f"frame: channel {known[counts > 1][0]} occurs twice")
    if not lengths.all():
        index = int(np.flatnonzero(lengths == 0)[0])
        blame(int(channels[index]))
        raise InvalidInput(f"inputs[{index}]: empty")
    if int(asked.min()) < UNCHECKED:
        asked[asked < UNCHECKED] = LAST
    return Frame(id, channels, lengths, asked, content)
