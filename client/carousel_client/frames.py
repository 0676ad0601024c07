"""Binary frames of the stream: from arrays to bytes, and outputs back in the form of the inputs.

request   u32 id | u32 n | u32 channel[n] | u32 length[n] | u64 step[n]      | f32 inputs [sum(length), F]
answer    u32 id | u32 n | u32 channel[n] | u32 length[n] | u64 next_step[n] | f32 outputs[sum(length), K]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carousel_client.errors import InvalidInput

Array: TypeAlias = NDArray[np.float32]
Inputs: TypeAlias = NDArray[Any] | Sequence[NDArray[Any]]  # [N, F], [N, T, F] or N of [T, F]
Outputs: TypeAlias = Array | list[Array]  # in the form of the inputs, K for F


class StepFrame:
    """A request. Its arrays are views into `bytes`: writing to them changes what is sent."""

    def __init__(self, lengths: Sequence[int] | NDArray[Any], features: int, lead: tuple[int, ...] | None) -> None:
        n, total = len(lengths), int(np.sum(lengths))
        self.bytes = bytearray(8 + 16 * n + 4 * features * total)
        self.bytes[4:8] = n.to_bytes(4, "little")
        self.channels = np.frombuffer(self.bytes, "<u4", n, 8)
        self.lengths = np.frombuffer(self.bytes, "<u4", n, 8 + 4 * n)
        self.steps = np.frombuffer(self.bytes, "<u8", n, 8 + 8 * n)
        self.rows: Array = np.frombuffer(self.bytes, "<f4", offset=8 + 16 * n).reshape(total, features)
        self.lead = lead  # the dimensions before F of inputs in one array; None: a list of arrays
        self.lengths[:] = lengths

    @classmethod
    def of(cls, inputs: Inputs, n: int, features: int) -> StepFrame:
        """The inputs of `n` channels, copied. Raises InvalidInput, and names the place."""
        if isinstance(inputs, np.ndarray):
            _check_block(inputs, n, features)
            lead = inputs.shape[:-1]
            frame = cls([1 if len(lead) == 1 else lead[1]] * n, features, lead)
            parts: Sequence[NDArray[Any]] = [inputs.reshape(-1, features)]
        else:
            parts = [_array(item, f"inputs[{place}]") for place, item in enumerate(inputs)]
            _check_list(parts, n, features)
            frame = cls([len(part) for part in parts], features, None)
        with np.errstate(over="ignore"):  # larger than any float32: becomes infinite, and is refused
            np.concatenate(parts, out=frame.rows, casting="same_kind")
        frame._check_finite()
        return frame

    def numbered(self, id: int, channels: list[int]) -> bytearray:
        """The bytes to send, with the id of the call and the channels of this socket."""
        self.bytes[:4] = id.to_bytes(4, "little")
        self.channels[:] = channels
        return self.bytes

    def only(self, items: list[int]) -> StepFrame:
        """The same request for some of its channels."""
        lead = None if self.lead is None else (len(items), *self.lead[1:])
        frame = StepFrame(self.lengths[items], self.rows.shape[1], lead)
        parts = self._split(self.rows)
        if items:
            np.concatenate([parts[item] for item in items], out=frame.rows)
        frame.steps[:] = self.steps[items]
        return frame

    def inputs(self, item: int) -> Array:
        """A copy of the inputs [T, F] of one channel."""
        end = int(self.lengths[: item + 1].sum())
        return self.rows[end - int(self.lengths[item]) : end].copy()

    def arranged(self, outputs: Array) -> Outputs:
        """Outputs [sum(length), K] in the form of the inputs."""
        return self._split(outputs) if self.lead is None else outputs.reshape(*self.lead, outputs.shape[1])

    def each(self, outputs: Array) -> list[Array]:
        """Outputs [sum(length), K] → what `arranged` has for each channel."""
        return list(self.arranged(outputs))

    def _split(self, rows: Array) -> list[Array]:
        return np.split(rows, np.cumsum(self.lengths, dtype=np.int64)[:-1])

    def _check_finite(self) -> None:
        if not np.isfinite(self.rows).all():
            row, feature = np.argwhere(~np.isfinite(self.rows))[0].tolist()
            item = int(np.repeat(np.arange(len(self.lengths)), self.lengths)[row])
            step = row - int(self.lengths[:item].sum())
            raise InvalidInput(f"inputs[{item}]: feature {feature} of step {step} is no finite float32")


def alone(inputs: ArrayLike) -> NDArray[Any]:
    """The inputs of one channel [F] or [T, F] as those of a list of channels. Raises InvalidInput."""
    return _array(inputs, "inputs")[None]


def _array(item: Any, place: str) -> NDArray[Any]:
    _check_unmasked(item, place)
    try:
        return np.asarray(item)
    except ValueError as error:  # ragged
        raise InvalidInput(f"{place}: {error}") from None


def _check_block(inputs: NDArray[Any], n: int, features: int) -> None:
    shape = list(inputs.shape)
    if inputs.ndim not in {2, 3}:
        raise InvalidInput(
            f"inputs: an array [N, F] or [N, T, F] or a list of [T, F] is wanted, this has shape {shape}"
        )
    if shape[0] != n:
        raise InvalidInput(f"inputs: {shape[0]} rows for {n} channels")
    if shape[-1] != features:
        raise InvalidInput(f"inputs: {shape[-1]} features, the model has {features}")
    if not inputs.size:
        raise InvalidInput(f"inputs: no steps in shape {shape}")
    _check_unmasked(inputs, "inputs")
    _check_numbers(inputs, "inputs")


def _check_list(parts: Sequence[NDArray[Any]], n: int, features: int) -> None:
    if len(parts) != n:
        raise InvalidInput(f"inputs: {len(parts)} arrays for {n} channels")
    for item, part in enumerate(parts):
        if part.ndim != 2:
            raise InvalidInput(f"inputs[{item}]: shape {list(part.shape)}, an array [T, F] is wanted")
        if part.shape[1] != features:
            raise InvalidInput(f"inputs[{item}]: {part.shape[1]} features, the model has {features}")
        if not len(part):
            raise InvalidInput(f"inputs[{item}]: no steps")
        _check_numbers(part, f"inputs[{item}]")


def _check_unmasked(item: Any, place: str) -> None:
    if np.ma.is_masked(item):
        raise InvalidInput(f"{place}: an array without masked numbers is wanted")


def _check_numbers(array: NDArray[Any], place: str) -> None:
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"{place}: an array of numbers is wanted, not of {array.dtype}")
