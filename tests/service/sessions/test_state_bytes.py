"""A state as bytes: read back exactly, or refused."""

import hashlib
import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import StateMismatch
from service.sessions.state_bytes import Seals, StateBytes, decode

HEADER: dict[str, Any] = {"model": "m", "version": "1", "digest": "d", "step": 3, "state": {"h": [2]}}
WRONG_SHAPES = [None, [3], [1], [-2], ["2"], [2.0], [2**63], [2**32, 2**32], [-1, -2], [True, 2], [[2]]]
WRONG: dict[str, list[Any]] = {
    "state": [[], {"h": 2}, *({"h": shape} for shape in WRONG_SHAPES)],
    "step": ["3", None, 3.0, -1, True, 2**62, 2**63],
    **{name: [None, 1, {}, []] for name in ("model", "version", "digest")},
}

shapes = st.lists(st.integers(1, 4), max_size=3).map(lambda shape: (1, *shape))
states = st.dictionaries(
    st.text(max_size=5), shapes.flatmap(lambda shape: arrays.arrays(np.float32, shape)), max_size=3
)
snapshots = st.builds(
    StateBytes, st.text(max_size=9), st.text(max_size=3), st.text(max_size=9), st.integers(0, 2**53), states
)


def sealed(header: object, content: bytes = bytes(8)) -> bytes:
    """A blob with our magic and a right seal, as anybody can write it."""
    written = orjson.dumps(header)
    body = b"CRSLST\x00\x01" + struct.pack("<I", len(written)) + written + content
    return body + hashlib.sha256(body).digest()


@given(snapshots)
def test_what_is_encoded_is_decoded_bit_for_bit(snapshot: StateBytes) -> None:
    read = decode(snapshot.encode(Seals()), Seals())
    assert (read.model, read.version, read.digest, read.step) == (
        *(snapshot.model, snapshot.version, snapshot.digest, snapshot.step),
    )
    assert list(read.state) == list(snapshot.state)
    for name, array in snapshot.state.items():
        assert (read.state[name].shape, read.state[name].tobytes()) == (array.shape, array.tobytes())


def test_a_decoded_state_can_be_written_to() -> None:
    decode(sealed(HEADER), Seals()).state["h"][:] = 1


@given(snapshots, st.data())
def test_any_changed_byte_is_refused(snapshot: StateBytes, data: st.DataObject) -> None:
    blob = bytearray(snapshot.encode(Seals()))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StateMismatch):
        decode(bytes(blob), Seals())


@given(snapshots, st.data())
def test_any_cut_or_longer_blob_is_refused(snapshot: StateBytes, data: st.DataObject) -> None:
    blob = snapshot.encode(Seals())
    for other in (blob[: data.draw(st.integers(0, len(blob) - 1))], blob + data.draw(st.binary(min_size=1))):
        with pytest.raises(StateMismatch):
            decode(other, Seals())


def test_the_sealed_sample_of_these_tests_is_good() -> None:
    assert decode(sealed(HEADER), Seals()).state["h"].tolist() == [[0, 0]]


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_sealed_blob_that_this_service_would_not_write_is_refused(key: str, value: Any) -> None:
    with pytest.raises(StateMismatch):
        decode(sealed(HEADER | {key: value}), Seals())


@pytest.mark.parametrize("header", [None, [], "x", {}, *({key: 1} for key in HEADER)], ids=str)
def test_a_sealed_blob_without_its_header_is_refused(header: object) -> None:
    with pytest.raises(StateMismatch):
        decode(sealed(header), Seals())
