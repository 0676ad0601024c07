"""Messages of the Open Inference Protocol over gRPC, read as far as the JSON of the same request would be. Pure.

A message may have fields in great number, which take a hundred times their bytes once they are read; so they are
counted first, and what is long beside its raw tensors is read by the second process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from service.api import oip_codec
from service.errors import CarouselError, InvalidRequest

if TYPE_CHECKING:
    from service.api.oip_codec import Header

SHORT = 2**14  # bytes beside the raw tensors: they are read in 2 ms, whatever they are
_FIELDS = 2**10  # of a message
_RAW = pb.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number << 3 | 2
_LENGTH = 2  # wire type of a field that tells its length
_CONTENTS = {"FP32": "fp32", "FP64": "fp64", "BOOL": "bool", "INT64": "int64", "UINT64": "uint64"}  # others: int, uint


class Message(NamedTuple):
    """A request for inference. Its header is the error where it has none that can be taken."""

    model: str
    version: str
    id: str
    header: Header | CarouselError
    raw: bytes


def beside_raw(content: bytes) -> int:
    """How many bytes of a message are none of its raw tensors, at most.

    Raises:
        InvalidRequest: it has too many fields, or is no message.

    """
    at, beside = 0, len(content)
    for _ in range(_FIELDS + 1):
        if at >= len(content):
            return beside
        tag, at = _number(content, at)
        if tag & 7 != _LENGTH:
            return beside  # no field of ours: it is read with care
        size, at = _number(content, at)
        at += size
        if at > len(content):
            raise _cut_off()
        beside -= size if tag == _RAW else 0
    raise InvalidRequest(f"a message of more than {_FIELDS} inputs, outputs, raw contents and parameters")


def read(content: bytes) -> Message:
    """Read a message. Raises InvalidRequest: it is none."""
    try:
        request = pb.ModelInferRequest.FromString(content)
    except DecodeError as error:
        raise InvalidRequest(str(error)) from error
    header: Header | CarouselError
    try:
        header = oip_codec.header_of(_header(request))
    except CarouselError as error:
        header = error.with_traceback(None)  # it would hold the message
    raw = b"".join(request.raw_input_contents)
    return Message(request.model_name, request.model_version, request.id, header, raw)


def _number(content: bytes, at: int) -> tuple[int, int]:
    """A variable-length number, and where what is behind it begins."""
    number = 0
    for place, byte in enumerate(content[at : at + 10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, at + place + 1
    raise _cut_off()


def _cut_off() -> InvalidRequest:
    return InvalidRequest("the message is cut off")


def _header(request: Any) -> dict[str, Any]:
    """The JSON of a request that says the same."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(f"raw_input_contents: {len(raw)}, for {len(request.inputs)} inputs")
    inputs = []
    for place, one in enumerate(request.inputs):
        told = {"name": one.name, "datatype": one.datatype, "shape": [*one.shape], "parameters": _told(one.parameters)}
        if raw and one.contents.ByteSize():
            raise InvalidRequest(f"inputs[{place}]: give either contents or raw_input_contents")
        if raw:
            told["parameters"]["binary_data_size"] = len(raw[place])
        else:
            kind = "uint" if one.datatype.startswith("UINT") else "int"
            told["data"] = [*getattr(one.contents, f"{_CONTENTS.get(one.datatype, kind)}_contents")]
        inputs.append(told)
    outputs = [{"name": one.name, "parameters": _told(one.parameters)} for one in request.outputs]
    parameters = _told(request.parameters) | {"binary_data_output": True}
    return {"id": request.id, "parameters": parameters, "inputs": inputs, "outputs": outputs}


def _told(parameters: Any) -> dict[str, Any]:
    return {name: getattr(one, one.WhichOneof("parameter_choice") or "bool_param") for name, one in parameters.items()}
