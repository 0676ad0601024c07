"""Bodies in, bounded and decoded; answers and problems out. Knows HTTP and JSON; not models or sessions."""

import asyncio
import math
import time
import zlib
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.texts import dump
from service.errors import CarouselError, InvalidRequest, PayloadTooLarge, UnsupportedEncoding

PROBLEM = "application/problem+json"
_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_AT_ONCE = 2**18  # bytes; to inflate more takes milliseconds: a thread does it while others are served


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
    return await _inflated(content, _WINDOW[encoding], limit) if encoding in _WINDOW else content


async def _inflated(body: bytes, window: int, limit: int) -> bytes:
    content, whole = _inflate(body, window, _AT_ONCE)
    if len(content) > _AT_ONCE:
        content, whole = await asyncio.to_thread(_inflate, body, window, limit)
    if len(content) > limit:
        raise _too_large(limit)
    if not whole:
        raise InvalidRequest("the compressed body is cut off, or followed by something else")
    return content


def _inflate(body: bytes, window: int, most: int) -> tuple[bytes, bool]:
    """What is in a compressed body, up to one byte more than `most`, and whether that is all, and all there is."""
    inflate = zlib.decompressobj(window)
    try:
        return inflate.decompress(body, most + 1), inflate.eof and not inflate.unused_data
    except zlib.error as error:
        raise InvalidRequest(f"the body is not what its Content-Encoding says: {error}") from error


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is over {limit} bytes; send less at once, or use the stream")


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


class Json(Response):
    """A JSON answer with the headers that it needs; the framework's own way to them takes longer than its JSON."""

    def __init__(self, content: bytes, status: int, kind: str = "application/json", retry_after: int = 0) -> None:
        self.body, self.status_code, self.background = content, status, None
        length = str(len(content)).encode()
        self.raw_headers = [(b"content-length", length), (b"content-type", kind.encode())]
        if retry_after:
            self.raw_headers.append((b"retry-after", str(retry_after).encode()))


def answer(content: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Json(dump(content), status)


def problem(error: CarouselError) -> Response:
    """The RFC 9457 answer to an error."""
    seconds = max(1, math.ceil(error.extra["retry_after_ms"] / 1000)) if "retry_after_ms" in error.extra else 0
    return Json(dump(error.problem()), error.status, PROBLEM, seconds)
