"""Binary frames of the stream (docs/wire.md §2), one length for all sessions of a frame."""

import struct
from typing import NamedTuple

import numpy as np

from bench.inputs import Array


class Answer(NamedTuple):
    """A decoded answer: its outputs are [n, T, K]."""

    id: int
    next_step: int
    outputs: Array


def request(id: int, channels: list[int], step: int, inputs: Array) -> bytes:
    """A frame that steps each channel by inputs [n, T, F], all of them at the same step."""
    n, T, _ = inputs.shape
    head = struct.pack(f"<{2 + 2 * n}I{n}Q", id, n, *channels, *[T] * n, *[step] * n)
    return head + inputs.astype("<f4").tobytes()


def answer(frame: bytes, channels: list[int]) -> Answer:
    """The answer to a frame of these channels. Raises ValueError if it is another's."""
    id, n = struct.unpack_from("<II", frame)
    told = struct.unpack_from(f"<{2 * n}I{n}Q", frame, 8)
    if list(told[:n]) != channels or len({*told[n : 2 * n]}) != 1 or len({*told[2 * n :]}) != 1:
        raise ValueError(f"frame {id} asked for channels {channels}, and is answered {told}")
    return Answer(id, told[-1], np.frombuffer(frame, "<f4", offset=8 + 16 * n).reshape(n, told[n], -1))
