"""Binary frames: many sessions of one model in one message, little-endian, no padding. Pure.

request  u32 id | u32 n | u32 channel[n] | u32 length[n] | u64 step[n]      | f32 inputs [sum(length), F]
answer   u32 id | u32 n | u32 channel[n] | u32 length[n] | u64 next_step[n] | f32 outputs[sum(length), K]
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from service.engine.call import LAST, UNCHECKED
from service.errors import CarouselError, InvalidInput, InvalidRequest
from service.sessions.table import every

if TYPE_CHECKING:
    from service.models.description import Column
    from service.models.model import Array, Index

HEAD = 8  # bytes of id and n
F4, U4, I8 = np.dtype("<f4"), np.dtype("<u4"), np.dtype("<i8")

View = dict[str, Any]  # of a JSON answer
Blame: TypeAlias = Callable[[int], None]  # is told the channel at fault, where it is one


class Frame(NamedTuple):
    """The head of a request, [N] each; its inputs are read once it is known how wide they are."""

    channels: bytes  # see `numbers`
    lengths: Index
    asked: Index
    steps: int  # ΣT
    content: bytes

    def inputs(self, features: Sequence[Column], blame: Blame) -> Array:
        """The inputs [ΣT, F].

        Raises:
            InvalidRequest: there are more or fewer bytes.
            InvalidInput: a number is not finite; `detail` names the place.

        """
        F, n, steps = len(features), len(self.lengths), self.steps
        begin, size = HEAD + 16 * n, HEAD + 16 * n + 4 * F * steps
        if len(self.content) != size:
            raise InvalidRequest(
                f"frame: {len(self.content)} bytes; {n} channels and {steps} steps of {F} features are {size}"
            )
        inputs: Array = np.ndarray((steps, F), F4, self.content, begin)
        finite = np.isfinite(inputs)
        if not every(finite):
            step, column = divmod(int(np.flatnonzero(~finite)[0]), F)
            index = int(np.searchsorted(np.cumsum(self.lengths), step, side="right"))
            step -= int(self.lengths[:index].sum())
            blame(numbers(self.channels)[index])
            raise InvalidInput(f"inputs[{index}][{step}][{column}] ({features[column].name}): not finite")
        return inputs

    def answer(self, starts: Index, outputs: Array) -> bytes:
        """The answer to this request: its sessions began at `starts`, [N], and answered outputs [ΣT, K]."""
        head = self.content[: HEAD + 8 * len(self.lengths)]
        steps = (starts + self.lengths).astype(I8, copy=False)
        return b"".join((head, steps.tobytes(), outputs.astype(F4, copy=False).tobytes()))


def read(content: bytes, blame: Blame) -> Frame:
    """The head of a request. That no channel is named twice is seen when they are looked up.

    Raises:
        InvalidRequest: it is cut off.
        InvalidInput: no channel, or no step for one.

    """
    if len(content) < HEAD:
        raise InvalidRequest(f"frame: {len(content)} bytes are no id and count")
    n = int.from_bytes(content[4:HEAD], "little")
    if n == 0:
        raise InvalidInput("frame: no channels")
    lengths_at, steps_at, end = HEAD + 4 * n, HEAD + 8 * n, HEAD + 16 * n
    if len(content) < end:
        raise InvalidRequest(f"frame: {len(content)} bytes; the head of {n} channels is {end}")
    channels, told = content[HEAD:lengths_at], content[lengths_at:steps_at]
    lengths = np.frombuffer(told, U4).astype(np.int64)
    each = lengths.item(0) if told == told[:4] * n else 0  # under load all are as long
    if not each and not lengths.all():
        index = int(np.flatnonzero(lengths == 0)[0])
        blame(numbers(channels)[index])
        raise InvalidInput(f"inputs[{index}]: empty")
    asked: Index = np.frombuffer(content, I8, n, steps_at)  # 2**64 − 1 becomes UNCHECKED
    if not content[steps_at + 7 : end : 8].isascii():  # a sign is set
        asked = named(asked)
    return Frame(channels, lengths, asked, each * n or int(lengths.sum()), content)


def named(steps: Index) -> Index:
    """Steps of which some are negative as int64: those from 2**63 on, but for UNCHECKED, are LAST."""
    return np.where(steps < UNCHECKED, LAST, steps)


def numbers(channels: bytes) -> list[int]:
    """Channels, as they stand in a frame."""
    return [*struct.unpack(f"<{len(channels) // 4}I", channels)]


def id_of(content: bytes) -> int | None:
    """The id of a frame, if it is long enough to have one."""
    return int.from_bytes(content[:4], "little") if len(content) >= 4 else None


def failure(content: bytes, errors: Mapping[int, CarouselError], *, refused: bool) -> View:
    """What is told of a frame that was refused, or of which some channels could not run any more."""
    channel, error = next(iter(errors.items()))
    view: View = {"id": id_of(content), "channel": channel, "error": error.problem()}
    if not refused:
        failed = [{"channel": channel, "error": one.problem()} for channel, one in errors.items()]
        view["failed"] = view["error"]["failed"] = failed  # in the problem too, for clients that pass it on alone
    return view
