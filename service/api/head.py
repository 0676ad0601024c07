"""The head of a request that is like most of them, read at a glance. Pure; all others are left to a parser of HTTP.

Each turn of that parser through Python costs as much as this, and a request takes it eight of them.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

_FIRST = re.compile(rb"POST (/[\w.:@/-]*+) HTTP/1\.1\r\n")
_LINES = re.compile(rb"(?:[\w-]++: [ -~]*+\r\n)*+")
_LINE = re.compile(rb"([\w-]++): ([ -~]*+)\r\n")
_LENGTH = re.compile(rb"[0-9]{1,9}")
_UNLIKE = frozenset((b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"))  # these change what follows
_KEEP_ALIVE = b"keep-alive"
_LONGEST = 2048  # bytes of a head; longer ones would fill the memory that is meant for many
_REMEMBERED = 1024  # a caller's heads differ by little more than the length of the body


class Head(NamedTuple):
    """Of a POST whose connection stays open, and whose body is sent as it is, at once and in one piece of HTTP."""

    path: bytes
    headers: Mapping[bytes, bytes]  # by name in small letters
    size: int  # bytes of the head
    length: int  # bytes of the body


def read(data: bytes) -> Head | None:
    """The head with which the data begin, if all of it is there and it is like most."""
    first = _FIRST.match(data)
    end = data.find(b"\r\n\r\n", 0, _LONGEST)
    if first is None or end < 0:
        return None
    lines = _read(data[first.end() : end + 2])
    return None if lines is None else Head(first[1], lines[0], end + 4, lines[1])


@lru_cache(_REMEMBERED)
def _read(lines: bytes) -> tuple[Mapping[bytes, bytes], int] | None:
    """The headers in these lines and the length that they tell, if they are like most."""
    if not _LINES.fullmatch(lines):
        return None
    found = _LINE.findall(lines)
    headers = {name.lower(): value.strip() for name, value in found}
    length = headers.get(b"content-length", b"0")
    like = (
        len(headers) == len(found)
        and _UNLIKE.isdisjoint(headers)
        and headers.get(b"connection", _KEEP_ALIVE).lower() == _KEEP_ALIVE
        and _LENGTH.fullmatch(length)
    )
    return (headers, int(length)) if like else None
