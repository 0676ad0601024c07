"""Bodies in, bounded and decoded; answers and problems out. Knows HTTP and JSON; not models or sessions."""

import asyncio
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.api.json.codec import dump
from service.engine.call import Deadline
from service.errors import CarouselError, InvalidRequest, PayloadTooLarge, UnsupportedEncoding

PROBLEM = "application/problem+json"
TIMEOUT = b"x-request-timeout-ms"
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOW = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}
_MEMBERS = 2**14  # of a gzip body
_PIECE = 2**14  # bytes
_AT_ONCE = 2**18  # bytes; to inflate more takes milliseconds: a thread does it while others are served


async def read(request: Request, limit: int) -> bytes:
    """The whole body, decompressed, at most `limit` bytes before and after.

    Raises:
        PayloadTooLarge: it is longer; known from its Content-Length before it is read.
        UnsupportedEncoding: a Content-Encoding other than gzip or deflate.
        InvalidRequest: it is cut off, or not what its Content-Encoding says.

    """
    headers = dict(request.scope["headers"])  # read thrice: a look at `request.headers` goes through all of them
    codings = [value for name, value in request.scope["headers"] if name == b"content-encoding"]
    encoding = b", ".join(codings).decode("latin-1").strip().lower()
    if encoding not in ("identity", "", *_WINDOW):
        raise UnsupportedEncoding(f"Content-Encoding {encoding!r}; gzip and deflate are read")
    if int(headers.get(b"content-length", 0)) > limit:  # digits: the HTTP parser has seen to it
        raise _too_large(limit)
    pieces, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":  # the answer is not read; it is counted as the client's fault
            raise InvalidRequest("the body is cut off")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return await _inflated(content, _WINDOW[encoding], limit) if encoding in _WINDOW else content


@contextmanager
def followed(request: Request, left: Callable[[], object]) -> Iterator[None]:
    """Call `left` if the client leaves meanwhile. The body was read: what comes now is the disconnect."""
    coming = asyncio.ensure_future(request.receive())
    coming.add_done_callback(lambda _: coming.cancelled() or left())
    try:
        yield
    finally:
        coming.cancel()


async def _inflated(body: bytes, window: int, limit: int) -> bytes:
    if window == _ZLIB and not _has_zlib_head(body):
        window = _RAW  # as many senders of "deflate" write it
    content, whole = _inflate(body, window, min(limit, _AT_ONCE))
    if not whole and len(content) > _AT_ONCE:
        content, whole = await asyncio.to_thread(_inflate, body, window, limit)
    if len(content) > limit:
        raise _too_large(limit)
    if not whole:
        raise InvalidRequest("the compressed body is cut off, or followed by something else")
    return content


def _has_zlib_head(body: bytes) -> bool:
    """Whether a body begins as RFC 1950, 2.2 has it."""
    return len(body) >= 2 and body[0] & 15 == 8 and (256 * body[0] + body[1]) % 31 == 0


def _inflate(body: bytes, window: int, most: int) -> tuple[bytes, bool]:
    """What is in a compressed body, up to one byte more than `most`, and whether that is all, and all there is.

    Gzip may have several members (RFC 1952, 2.2). A piece of the body at a time, since zlib copies what it leaves.
    """
    given, at, pieces, size, members = memoryview(body), 0, list[bytes](), 0, 1
    inflate = zlib.decompressobj(window)
    try:
        while at < len(given) and size <= most:
            if inflate.eof:
                if window != _GZIP or members == _MEMBERS:
                    return b"".join(pieces), False
                inflate, members = zlib.decompressobj(window), members + 1
            piece = given[at : at + _PIECE]
            pieces.append(inflate.decompress(piece, most + 1 - size))
            at += len(piece) - len(inflate.unused_data) - len(inflate.unconsumed_tail)
            size += len(pieces[-1])
    except zlib.error as error:
        raise InvalidRequest(f"the body is not what its Content-Encoding says: {error}") from error
    return b"".join(pieces), inflate.eof and at == len(given)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is over {limit} bytes; send less at once, or use the stream")


def deadline(headers: Mapping[bytes, bytes]) -> Deadline | None:
    """When the call has to begin, as its client asks; to be called once the last byte is read.

    Raises:
        InvalidRequest: X-Request-Timeout-Ms is not a whole number of milliseconds, or a huge one.

    """
    given = headers.get(TIMEOUT)
    if given is None:
        return None
    asked = given.decode("latin-1")
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 12):
        raise InvalidRequest(f"X-Request-Timeout-Ms is {asked[:50]!r}, not milliseconds in 1 to 12 digits")
    return Deadline(time.monotonic() + int(asked) / 1000)


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


def refusal(error: CarouselError, path: str) -> Response:
    """The answer to an error on a path: the Open Inference Protocol has an object of its own for all of them."""
    answered = problem(error)
    if not f"{path}/".startswith("/v2/"):
        return answered
    told = Json(dump({"error": error.detail}), error.status)
    told.raw_headers += answered.raw_headers[2:]  # Retry-After
    return told


def rendered(status: int, headers: Iterable[tuple[bytes, bytes]], content: bytes) -> bytes:
    """The bytes of an answer."""
    return b"".join((STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", content))
