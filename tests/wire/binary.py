"""Binary frames of the stream as WIRE lays them out, written once more: not the service's own."""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tests.wire.expect import Array

UNCHECKED = 2**64 - 1


class Item(NamedTuple):
    """What a request says of one channel: inputs [T, F] from a step on."""

    channel: int
    inputs: Array
    step: int = UNCHECKED


class Answer(NamedTuple):
    """An answer: by channel, in the order of the frame, the next step and the outputs [T, K]."""

    id: int
    steps: dict[int, int]
    outputs: dict[int, Array]


def request(id: int, items: Sequence[Item]) -> bytes:
    n = len(items)
    lengths = [len(item.inputs) for item in items]
    channels, steps = [item.channel for item in items], [item.step for item in items]
    head = struct.pack(f"<II{n}I{n}I{n}Q", id, n, *channels, *lengths, *steps)
    return head + b"".join(item.inputs.astype("<f4").tobytes() for item in items)


def answer(content: bytes) -> Answer:
    id, n = struct.unpack_from("<II", content)
    numbers = struct.unpack_from(f"<{n}I{n}I{n}Q", content, 8)
    channels, lengths, steps = numbers[:n], numbers[n : 2 * n], numbers[2 * n :]
    flat = np.frombuffer(content, "<f4", offset=8 + 16 * n)
    assert len(set(channels)) == n
    assert len(flat) % sum(lengths) == 0
    outputs = np.split(flat.reshape(sum(lengths), -1), np.cumsum(lengths)[:-1])
    return Answer(id, dict(zip(channels, steps, strict=True)), dict(zip(channels, outputs, strict=True)))


def steps_from(starts: Iterable[int], inputs: Sequence[Array]) -> list[Item]:
    """Items of the channels 1, 2, …"""
    return [Item(channel, one, start) for channel, (start, one) in enumerate(zip(starts, inputs, strict=True), 1)]
