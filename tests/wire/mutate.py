"""Small damage to requests: each function makes one mutation of a valid one, from a seeded generator."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

RAW = [b"NaN", b"-Infinity", b"1e400", b"-1e999", b"01", b"9" * 25, b"9" * 400, b"9" * 5000, b'"\\ud800"', b"'x'", b""]
RAW += [b"[" * depth + b"]" * depth for depth in (20, 300, 1100)]
JUNK: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**31,
    2**53,
    2**63,
    2**64 - 1,
    -(2**63),
    3.5e38,
    1e-320,
    "",
    "1",
    "NaN",
    "ä",
    "\0",
]
JUNK += ["🎠", "x" * 300, "..", "a/b", [], {}, [[]], [None], [[1, 2, 3]], {"": 0}, {"x0": 1, "x1": 2, "x2": 3}]
ENCODINGS = ["br", "zstd", "compress", "gzip, br", "gzip,gzip", "*", "utf-8", "x", "deflate;q=1"]
VERBS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND"]
NOISE = [
    "X-Request-Id: a b",
    f"X-Request-Id: {'x' * 200}",
    "X-Request-Id: fuzz",
    "Content-Type: text/xml",
    "Accept: x/y",
]
NOISE += [
    "Content-Type: \xff",
    "Cookie: a=b; c",
    "Accept-Encoding: br",
    "X-Forwarded-For: 1.2.3.4, x",
    "Range: bytes=9-1",
]
NOISE += [
    "If-None-Match: *",
    "Expect: 100-continue",
    "Connection: keep-alive",
    "Origin: null",
    "X-Request-Timeout-Ms: 60000",
]
HARD = [
    "Connection: close",
    "Transfer-Encoding: gzip",
    "Content-Length: 0",
    "Content-Length: -1",
    "Bad Header: x",
    ": x",
    "x",
]
HARD += [
    "Upgrade: h2c\r\nConnection: upgrade",
    "Upgrade: websocket\r\nConnection: upgrade",
    "Host: a\0b",
    "A: " + "x" * 70000,
]
DEADLINES = ["x", "-1", "1.5", "", "1e3", "9" * 50, "0x1"]


@dataclass
class Request:
    """What is sent: `body` is JSON until it is encoded, or bytes, or nothing; `route` is what it was made for."""

    route: str
    verb: str
    path: str
    body: Any = None
    query: str = ""
    headers: list[str] = field(default_factory=list)
    version: str = "HTTP/1.1"
    chunked: bool = False
    closes: bool = False  # the line cannot be used any more: what follows the answer is unknown
    declared: int | None = None  # a Content-Length that is not the length

    def content(self) -> bytes:
        if self.body is None or isinstance(self.body, bytes):
            return self.body or b""
        return orjson.dumps(self.body)

    def encode(self) -> bytes:
        content = self.content()
        framing = f"Content-Length: {len(content) if self.declared is None else self.declared}"
        if self.chunked:
            framing = "Transfer-Encoding: chunked"
            pieces = [content[at : at + 4000] for at in range(0, len(content), 4000)]
            content = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        lines = [f"{self.verb} {self.path}{self.query} {self.version}", "Host: x", framing, *self.headers]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


Mutation = Callable[[Request, Random], None]


def damage(body: Any, rng: Random) -> Any:
    """A copy of a JSON value with one node deleted, renamed, doubled or replaced."""
    body = _copy(body)
    places = list(_places(body))
    if not places:
        return rng.choice(JUNK)
    holder, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[key + rng.choice(["s", "_", " ", "\0"])] = holder.pop(key)
    elif kind == 1:
        holder.append(holder[key])
    elif kind == 2 and isinstance(holder, dict):
        holder[rng.choice(["x", "", "id", "step", "inputs", "version", "open", "ä"])] = _copy(rng.choice(JUNK))
    elif kind == 3:
        holder[key] = orjson.Fragment(rng.choice(RAW))
    elif kind == 4:
        holder[key] = [holder[key]]
    else:
        holder[key] = _copy(rng.choice(JUNK))
    return body


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(one) for key, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list) else value


def _places(value: Any) -> Any:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def bytes_of(content: bytes, rng: Random) -> bytes:
    """One byte or stretch of a text flipped, lost, doubled or not UTF-8."""
    at = rng.randrange(len(content) + 1)
    return rng.choice(
        [
            content[:at],
            content[at:],
            content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :],
            content[:at] + rng.choice([b"\xff", b"\xed\xa0\x80", b"\x00", b",", b"}", b'"', b"\\"]) + content[at:],
            content + content[at:],
            b"\xef\xbb\xbf" + content,
            content.decode("utf-8", "replace").encode("utf-16"),
        ]
    )


def json(request: Request, rng: Random) -> None:
    if isinstance(request.body, bytes):
        request.body = bytes_of(request.body, rng)
    else:
        request.body = damage(request.body, rng) if request.body is not None else rng.choice(JUNK)


def text(request: Request, rng: Random) -> None:
    request.body = bytes_of(request.content(), rng)


def verb(request: Request, rng: Random) -> None:
    request.verb = rng.choice([other for other in VERBS if other != request.verb])


def path(request: Request, rng: Random) -> None:
    at = rng.randrange(1, len(request.path) + 1)
    what = ["/", "x", "%00", "%ff", "%2F", "..", ";", "%", "//", "A", "\xe4", "~" * 3000]
    request.path = (
        request.path[:at] + rng.choice(what) + request.path[at:] if rng.random() < 0.8 else request.path[:-at]
    )
    request.path = request.path or "/"


def query(request: Request, rng: Random) -> None:
    values = [
        "?version=9",
        "?version=",
        "?version=01",
        "?version=%ff",
        "?version=1&version=x",
        "?version[]=1",
        "?&&==",
        "?x=1",
    ]
    request.query = rng.choice(values)


def noise(request: Request, rng: Random) -> None:
    request.headers.append(rng.choice(NOISE))


def hard(request: Request, rng: Random) -> None:
    request.headers.append(rng.choice(HARD))
    request.closes = True


def http(request: Request, rng: Random) -> None:
    request.version = rng.choice(["HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "HTP/1.1", "", "HTTP/1.1 x"])
    request.closes = True


def long_head(request: Request, rng: Random) -> None:
    """Too many header lines, or too many bytes in them."""
    request.headers += rng.choice([["A: 1"] * 101, ["A: " + "x" * 70_000], ["A: " + "x" * 7_000] * 10])


def foreign(request: Request, rng: Random) -> None:
    """A page of another origin, or a name that was pointed here."""
    request.headers.append(rng.choice(["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"]))


def encoding(request: Request, rng: Random) -> None:
    request.headers.append(f"Content-Encoding: {rng.choice(ENCODINGS)}")


def compressed(request: Request, rng: Random) -> None:
    content = request.content()
    packed = rng.choice([gzip.compress(content), zlib.compress(content), content])
    request.body = bytes_of(packed, rng) if rng.random() < 0.5 else packed
    request.headers.append(f"Content-Encoding: {rng.choice(['gzip', 'deflate'])}")


def deadline(request: Request, rng: Random) -> None:
    request.headers.append(f"X-Request-Timeout-Ms: {rng.choice(DEADLINES)}")


def late(request: Request, rng: Random) -> None:
    request.headers.append("X-Request-Timeout-Ms: 0")


def large(request: Request, rng: Random, limit: int = 8192) -> None:
    """Over the limit: as sent, in chunks, after decompression, or only in what the header declares."""
    padded = request.content() + b" " * (limit + rng.randrange(1, 3000))
    kind = rng.randrange(4)
    request.body = gzip.compress(padded, 1) if kind == 2 else padded if kind < 2 else None
    request.chunked = kind == 1
    request.headers += ["Content-Encoding: gzip"] if kind == 2 else []
    request.declared, request.closes = (limit + 1 + rng.randrange(10**9), True) if kind == 3 else (None, False)


SOFT: list[Mutation] = [noise]
ANY: list[Mutation] = [verb, path, query, noise, noise, hard, http, encoding, deadline]
BODY: list[Mutation] = [json, json, json, json, text, text, compressed, late, large]
