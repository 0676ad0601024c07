"""Messages over gRPC: counted before they are read, and read by the second process where that takes long."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from service.api import oip_messages as messages
from service.api.oip_grpc import InferByGrpc
from service.errors import InvalidRequest
from service.settings import Settings


def request(numbers: int = 0, raw: int = 0) -> bytes:
    told = pb.ModelInferRequest(model_name="sum", id="7")
    one = told.inputs.add(name="input", datatype="FP32", shape=[1, max(numbers, raw // 4), 1])
    one.contents.fp32_contents.extend([1.0] * numbers)
    told.raw_input_contents.extend([bytes(raw)] if raw else [])
    return cast("bytes", told.SerializeToString())


def test_raw_tensors_are_no_reason_to_read_a_message_elsewhere() -> None:
    assert messages.beside_raw(request(numbers=10**5)) > 4 * 10**5
    assert messages.beside_raw(request(raw=10**7)) < messages.SHORT


@pytest.mark.parametrize("field", [b"\x2a\x00", b"\x32\x00", b"\x3a\x00", b"\x22\x00"])
def test_a_message_of_too_many_fields_is_refused_before_it_is_read(field: bytes) -> None:
    with pytest.raises(InvalidRequest, match="more than 1024 inputs"):
        messages.beside_raw(request(numbers=1) + field * 1024)


@pytest.mark.parametrize("end", [b"\x3a", b"\x3a\x80", b"\x3a\xff\xff\x7f", b"\x3a\x05abcd"])
def test_raw_contents_that_are_cut_off_take_nothing_off_what_is_long(end: bytes) -> None:
    with pytest.raises(InvalidRequest, match="cut off"):
        messages.beside_raw(request(numbers=10**5) + end)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        messages.beside_raw(content)
        messages.read(content)
    except InvalidRequest:
        pass


async def test_what_is_long_beside_its_raw_tensors_is_read_by_the_second_process() -> None:
    sent: list[int] = []

    async def parse_by(content: bytes, parse: Any) -> Any:
        sent.append(len(content))
        return parse(content)

    nothing: Any = None
    infer = InferByGrpc(nothing, nothing, Settings(), cast("Any", SimpleNamespace(parse_by=parse_by)))
    for content in (request(numbers=100), request(raw=10**6), long := request(numbers=10**5)):
        told = await infer.read(content)
        assert (told.model, told.id, isinstance(told.header, tuple)) == ("sum", "7", True)
    assert sent == [len(long)]
