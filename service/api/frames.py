"""Binary frames: many sessions of one model in one message, little-endian, no padding.

request  u32 id | u32 n | u32 channel[n] | u32 length[n] | u64 step[n]      | f32 inputs [sum(length), F]
answer   u32 id | u32 n | u32 channel[n] | u32 length[n] | u64 next_step[n] | f32 outputs[sum(length), K]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from service.api.channels import Blame, Channels, numbers
from service.engine.call import LAST, UNCHECKED, Call
from service.engine.engine import Engine
from service.errors import CarouselError, InvalidInput, InvalidRequest
from service.sessions.table import every

if TYPE_CHECKING:
    from service.models.model import Array, Column, Index

HEAD = 8  # bytes of id and n
OVERHEAD = 1024  # bytes that any frame counts for, beside its numbers
F4, U4, I8 = np.dtype("<f4"), np.dtype("<u4"), np.dtype("<i8")

View = dict[str, Any]
Send = Callable[[bytes, int], None]  # an answer, and the bytes that its frame had in flight
Tell = Callable[[View, int], None]  # likewise, as JSON
Asked = tuple[Call, int, Engine]  # a call, the bytes that it has in flight until it is told, and its engine


class Frame:
    """A request, read in the order in which its faults are told: layout, channels, inputs. Arrays are [N]."""

    rows: Index
    engine: Engine
    inputs: Array  # [ΣT, F]

    def __init__(self, content: bytes, blame: Blame) -> None:
        self._content, self._blame = content, blame
        if len(content) < HEAD:
            raise InvalidRequest(f"frame: {len(content)} bytes are no id and count")
        n = int.from_bytes(content[4:HEAD], "little")
        if n == 0:
            raise InvalidInput("frame: no channels")
        lengths_at, steps_at, self._end = HEAD + 4 * n, HEAD + 8 * n, HEAD + 16 * n
        if len(content) < self._end:
            raise InvalidRequest(f"frame: {len(content)} bytes; the head of {n} channels is {self._end}")
        self.channels = content[HEAD:lengths_at]
        lengths = content[lengths_at:steps_at]
        self.lengths = np.frombuffer(lengths, U4).astype(np.int64)
        each = self.lengths.item(0) if lengths == lengths[:4] * n else 0  # under load all are as long
        if not each and not self.lengths.all():
            index = int(np.flatnonzero(self.lengths == 0)[0])
            blame(numbers(self.channels)[index])
            raise InvalidInput(f"inputs[{index}]: empty")
        self._steps = each * n or int(self.lengths.sum())
        self.asked = named_steps(np.frombuffer(content, I8, n, steps_at))

    def find(self, channels: Channels) -> None:
        """Look up the sessions of the channels."""
        self.rows, self.engine = channels.rows(self.channels, self._blame)

    def read_inputs(self, columns: Callable[[Engine], Sequence[Column]]) -> None:
        """Read the inputs, once it is known how wide they are."""
        F, n, steps = self.engine.model.features, len(self.lengths), self._steps
        size = self._end + 4 * F * steps
        if len(self._content) != size:
            raise InvalidRequest(
                f"frame: {len(self._content)} bytes; {n} channels and {steps} steps of {F} features are {size}"
            )
        self.inputs = np.ndarray((steps, F), F4, self._content, self._end)
        if every(np.isfinite(self.inputs)):
            return
        step, column = divmod(int(np.flatnonzero(~np.isfinite(self.inputs))[0]), F)
        index = int(np.searchsorted(np.cumsum(self.lengths), step, side="right"))
        step -= int(self.lengths[:index].sum())
        self._blame(numbers(self.channels)[index])
        raise InvalidInput(f"inputs[{index}][{step}][{column}] ({columns(self.engine)[column].name}): not finite")

    def call(self, send: Send, tell: Tell) -> Asked:
        """The call that is asked for; its one answer goes to `send`, or to `tell` if a row failed."""
        size = OVERHEAD + len(self._content) + 4 * self._steps * self.engine.model.outputs

        def ended(call: Call) -> None:
            if call.errors:
                channels = numbers(self.channels)
                errors = {channels[row]: error for row, error in sorted(call.errors.items())}
                tell({"id": id_of(self._content)} | failure(errors, refused=call.refused), size)
            else:
                send(self._answer(call.starts, call.outputs), size)

        return Call(self.rows, self.lengths, self.asked, self.inputs, ended), size, self.engine

    def _answer(self, starts: Index, outputs: Array) -> bytes:
        head = self._content[: HEAD + 8 * len(self.lengths)]
        steps = (starts + self.lengths).astype(I8, copy=False)
        return b"".join((head, steps.tobytes(), outputs.astype(F4, copy=False).tobytes()))


def named_steps(asked: Index) -> Index:
    """Steps as they stand in a frame → as an engine has them: 2**64 − 1 is UNCHECKED, others above 2**63 − 1 LAST."""
    return np.where(asked < UNCHECKED, LAST, asked) if asked.min() < UNCHECKED else asked


def id_of(content: bytes) -> int | None:
    """The id of a frame, if it is long enough to have one."""
    return int.from_bytes(content[:4], "little") if len(content) >= 4 else None


def failure(errors: dict[int, CarouselError], *, refused: bool) -> View:
    """What is told of a frame that was refused, or of which these channels could not run any more."""
    channel, error = next(iter(errors.items()))
    view: View = {"channel": channel, "error": error.problem()}
    if not refused:
        failed = [{"channel": channel, "error": error.problem()} for channel, error in errors.items()]
        view["failed"] = view["error"]["failed"] = failed  # in the problem too, for clients that pass it on alone
    return view
