"""The head of a request that is like most of them, read by one pattern. Pure; all others are left to a parser of HTTP.

Each turn of that parser through Python costs as much as this, and a request takes it eight of them.
"""

import re
from typing import NamedTuple

_HEAD = re.compile(rb"POST (/[\w.:@/-]*+) HTTP/1\.1\r\n((?:[\w-]++: [ -~]*+\r\n)*+)\r\n")
_LINE = re.compile(rb"([\w-]++): ([ -~]*+)\r\n")
_LENGTH = re.compile(rb"[0-9]{1,9}")
_UNLIKE = frozenset((b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"))  # these change what follows
_KEEP_ALIVE = b"keep-alive"


class Head(NamedTuple):
    """Of a POST whose connection stays open, and whose body is sent as it is, at once and in one piece of HTTP."""

    path: bytes
    headers: dict[bytes, bytes]  # by name in small letters
    size: int  # bytes of the head
    length: int  # bytes of the body


def read(data: bytes) -> Head | None:
    """The head with which the data begin, if all of it is there and it is like most."""
    match = _HEAD.match(data)
    if match is None:
        return None
    lines = _LINE.findall(match[2])
    headers = {name.lower(): value.strip() for name, value in lines}
    length = headers.get(b"content-length", b"0")
    like = (
        len(headers) == len(lines)
        and _UNLIKE.isdisjoint(headers)
        and headers.get(b"connection", _KEEP_ALIVE).lower() == _KEEP_ALIVE
        and _LENGTH.fullmatch(length)
    )
    return Head(match[1], headers, match.end(), int(length)) if like else None
