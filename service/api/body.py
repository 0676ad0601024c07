"""Bodies in, bounded and decoded; answers and problems out. Knows HTTP and JSON; not models or sessions."""

import json
import math
import time
import zlib
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.errors import CarouselError, InvalidRequest, PayloadTooLarge, UnsupportedEncoding

PROBLEM = "application/problem+json"
_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


async def read(request: Request, limit: int) -> bytes:
    """The whole body, decompressed, at most `limit` bytes before and after.

    Raises:
        PayloadTooLarge: it is longer; known from its Content-Length before it is read.
        UnsupportedEncoding: a Content-Encoding other than gzip or deflate.
        InvalidRequest: it is cut off, or not what its Content-Encoding says.

    """
    headers = dict(request.scope["headers"])  # read thrice: a look at `request.headers` goes through all of them
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding not in ("identity", "", *_WINDOW):
        raise UnsupportedEncoding(f"Content-Encoding {encoding!r}; gzip and deflate are read")
    if int(headers.get(b"content-length", 0)) > limit:  # digits: the HTTP parser has seen to it
        raise _too_large(limit)
    pieces, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":  # nobody reads the answer; it is counted as the caller's fault
            raise InvalidRequest("the body is cut off")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return _inflated(content, _WINDOW[encoding], limit) if encoding in _WINDOW else content


def _inflated(body: bytes, window: int, limit: int) -> bytes:
    inflate = zlib.decompressobj(window)
    try:
        content = inflate.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not what its Content-Encoding says: {error}") from error
    if len(content) > limit:
        raise _too_large(limit)
    if not inflate.eof or inflate.unused_data:
        raise InvalidRequest("the compressed body is cut off, or followed by something else")
    return content


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is over {limit} bytes; send less at once, or use the stream")


def parse(body: bytes | str) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        InvalidRequest: not UTF-8, not JSON (NaN and Infinity are not), or not an object.

    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        content = _parse_slowly(body, error)
    if not isinstance(content, dict):
        raise InvalidRequest("the body is not a JSON object")
    return content


def _parse_slowly(body: bytes | str, error: orjson.JSONDecodeError) -> Any:
    """What the strict parser refused may still be JSON: 1e400 is a number, only not a finite one."""
    if "infinity" not in str(error):
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    try:
        content = json.loads(body, parse_constant=_no_constant, parse_int=_integer)
        orjson.dumps(content)  # a lone surrogate passes the lenient parser, and could not be answered with
    except (ValueError, TypeError, RecursionError) as slow:
        raise InvalidRequest(f"the body is not JSON: {slow}") from slow
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    """As the strict parser has it: a float where 64 bits do not hold it."""
    number = float(digits)
    return int(digits) if -(2**63) <= number < 2**63 else number


def deadline(headers: Mapping[bytes, bytes]) -> float | None:
    """When the caller's patience ends, on the monotonic clock; call it once the last byte is read.

    Raises:
        InvalidRequest: X-Request-Timeout-Ms is not a whole number of milliseconds.

    """
    given = headers.get(b"x-request-timeout-ms")
    if given is None:
        return None
    asked = given.decode("latin-1")
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 12):
        raise InvalidRequest(f"X-Request-Timeout-Ms is {asked!r}, not a whole number of milliseconds")
    return time.monotonic() + int(asked) / 1000


def dump(content: Any) -> bytes:
    """JSON; float32 arrays as their shortest decimals."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


class Json(Response):
    """A JSON answer with the two headers that it needs; the framework's own way to them takes longer than its JSON."""

    media_type = "application/json"

    def __init__(self, content: bytes, status: int) -> None:
        self.body, self.status_code, self.background = content, status, None
        length = str(len(content)).encode()
        self.raw_headers = [(b"content-length", length), (b"content-type", b"application/json")]


def answer(content: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Json(dump(content), status)


def problem(error: CarouselError) -> Response:
    """The RFC 9457 answer to an error."""
    headers = {}
    if "retry_after_ms" in error.extra:
        headers["Retry-After"] = str(max(1, math.ceil(error.extra["retry_after_ms"] / 1000)))
    return Response(dump(error.problem()), error.status, headers, media_type=PROBLEM)
