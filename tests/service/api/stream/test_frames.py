"""Binary frames, without a socket: whatever bytes come, they are a frame or refused."""

import contextlib
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.api.stream import frames
from service.engine.call import LAST, UNCHECKED
from service.errors import CarouselError, InvalidInput, InvalidRequest
from service.models.description import Column

FEATURES = [Column("a"), Column("b")]
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def nobody(channel: int) -> None:
    """Takes the blame."""


def packed(id: int, items: list[tuple[int, int, list[list[float]]]]) -> bytes:
    channels, steps, inputs = zip(*items, strict=True)
    lengths = [len(one) for one in inputs]
    n, flat = len(items), [number for one in inputs for step in one for number in step]
    return struct.pack(f"<II{n}I{n}I{n}Q{len(flat)}f", id, n, *channels, *lengths, *steps, *flat)


sequences = st.lists(st.lists(floats, min_size=2, max_size=2), min_size=1, max_size=4)
items = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), sequences),
    min_size=1,
    max_size=6,
    unique_by=lambda item: item[0],
)


@given(st.integers(0, 2**32 - 1), items)
def test_what_was_packed_is_read(id: int, items: list[tuple[int, int, list[list[float]]]]) -> None:
    content = packed(id, items)
    frame = frames.read(content, nobody)
    assert frames.id_of(content) == id
    assert frames.numbers(frame.channels) == [channel for channel, _, _ in items]
    assert frame.lengths.tolist() == [len(inputs) for _, _, inputs in items]
    expected = [UNCHECKED if step == 2**64 - 1 else min(step, LAST) for _, step, _ in items]
    assert frame.asked.tolist() == expected
    flat = np.array([step for _, _, inputs in items for step in inputs], np.float32)
    assert frame.inputs(FEATURES, nobody).tobytes() == flat.tobytes()
    answer = frame.answer(np.arange(len(items)), flat[:, :1])
    begins = range(len(items))
    assert answer == content[: 8 + 8 * len(items)] + struct.pack(
        f"<{len(items)}Q{len(flat)}f",
        *(begin + length for begin, length in zip(begins, frame.lengths.tolist(), strict=True)),
        *flat[:, 0],
    )


@given(st.binary(max_size=120) | st.binary(max_size=100).map(lambda rest: b"\1\0\0\0\2\0\0\0" + rest))
def test_any_bytes_are_a_frame_or_refused(content: bytes) -> None:
    with contextlib.suppress(InvalidInput, InvalidRequest):
        frame = frames.read(content, nobody)
        assert (frame.lengths > 0).all()
        assert len(frame.inputs(FEATURES, nobody)) == frame.lengths.sum()


@given(items, st.data())
def test_one_byte_less_or_more_is_refused(items: list[tuple[int, int, list[list[float]]]], data: st.DataObject) -> None:
    content = packed(1, items)
    cut = data.draw(st.integers(0, len(content) - 1))
    for wrong in (content[:cut], content + bytes(data.draw(st.integers(1, 9)))):
        try:
            frames.read(wrong, nobody).inputs(FEATURES, nobody)
        except CarouselError as error:
            assert str(len(wrong)) in error.detail
        else:
            raise AssertionError(wrong)
