"""What the head of a request may be: its size, and nothing that could be read in two ways. Pure."""

import re
from collections import Counter
from collections.abc import Sequence

from service.errors import HeadTooLarge, InvalidRequest

HOST = re.compile(rb"[\w.~!$&'()*+,;=%-]*(?:\[[\w.:%]+\])?(?::[0-9]*)?")  # RFC 9110, 7.2

_LINES, _BYTES = 100, 2**16  # trailers included
_ONCE = frozenset(  # of which one value is read (RFC 9110, 5.3): two readers could take another one each
    (b"inference-header-content-length", b"origin", b"sec-fetch-site", b"x-request-id", b"x-request-timeout-ms")
)


class HeadSize:
    """Counts a head while it is parsed, and the bytes of which the parser makes nothing: a line that does not end."""

    def __init__(self) -> None:
        self._lines = self._bytes = self._silent = 0

    def begin(self) -> None:
        """A head begins."""
        self._lines = self._bytes = self._silent = 0

    def feed(self, size: int) -> None:
        """So many bytes go to the parser."""
        self._silent += size

    def heard(self) -> None:
        """The parser has made something of the last ones."""
        self._silent = 0

    def add(self, size: int, lines: int = 1) -> None:
        """Count what the parser has found. Raises HeadTooLarge."""
        self._silent = 0
        self._lines += lines
        self._bytes += size
        if self._lines > _LINES or self._bytes > _BYTES:
            raise HeadTooLarge(f"the head has over {_LINES} lines or {_BYTES} bytes")

    @property
    def endless(self) -> bool:
        """Whether a line is longer than a head may be."""
        return self._silent > _BYTES


def check(version: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Check a head whose names are in small letters.

    Raises:
        InvalidRequest: another version than 1.0 and 1.1, no single good Host, a body whose end is not sure, or a header
            twice of which one value is read.

    """
    if version not in ("1.0", "1.1"):
        raise InvalidRequest(f"HTTP/{version} is not served")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise InvalidRequest(f"{len(hosts)} Host headers")
    if hosts and not HOST.fullmatch(hosts[0]):
        raise InvalidRequest("Host is not a name or address with or without a port")
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (codings != [b"chunked"] or any(name == b"content-length" for name, _ in headers)):
        raise InvalidRequest("Transfer-Encoding is other than chunked, or stands beside Content-Length")
    if len(headers) > len({name for name, _ in headers}):
        for name, count in Counter(name for name, _ in headers if name in _ONCE).items():
            if count > 1:
                raise InvalidRequest(f"header: {name.decode()!r} is there {count} times")
