"""The opening handshake of a WebSocket (RFC 6455, 4.2), checked and answered. Pure: bytes in, bytes out."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping
from hashlib import sha1
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from service.api.json.codec import dump
from service.errors import CarouselError, InvalidRequest, NotFound

PATH = b"/v1/stream"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_VERSION = b"13"
_LONGEST = 8192  # bytes of a line


class Handshake:
    """A request whose `Upgrade` and `Connection` ask for a WebSocket. Header names are in small letters."""

    def __init__(self, head: bytes) -> None:
        first, *lines = head[:-4].split(b"\r\n")
        self._verb, self._target, _ = first.split(b" ", 2)
        self._fields = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        self._longest = max(map(len, (first, *lines)))
        self.headers: Mapping[bytes, bytes] = dict(self._fields)

    def accepted(self, request_id: bytes) -> bytes:
        """The answer that opens the WebSocket.

        Raises:
            NotFound: there is no WebSocket at this path.
            InvalidRequest: another verb, a body, a line over 8 KiB or no valid key; with status 426, another version.

        """
        self._check()
        token = b64encode(sha1(self._key() + _GUID).digest())
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: %b\r\nx-request-id: %b\r\n\r\n" % (token, request_id)
        )

    def _check(self) -> None:
        if self._verb != b"GET":
            raise InvalidRequest(f"no WebSocket handshake: it is a GET, not a {self._verb.decode('latin-1')}")
        if self._longest > _LONGEST:
            raise InvalidRequest(f"no WebSocket handshake: a line of {self._longest} bytes; at most {_LONGEST}")
        if self.headers.get(b"content-length", b"0").strip(b"0") or b"transfer-encoding" in self.headers:
            raise InvalidRequest("no WebSocket handshake: it has a body")
        path = self._target.partition(b"?")[0]
        if unquote_to_bytes(path) != PATH:
            raise NotFound(f"no WebSocket at {path.decode('latin-1')}")
        versions = self._all(b"sec-websocket-version")
        if versions != [_VERSION]:
            told = b", ".join(versions).decode("latin-1") or "missing"
            raise InvalidRequest(f"Sec-WebSocket-Version is {told}; 13 is spoken", status=HTTPStatus.UPGRADE_REQUIRED)

    def _key(self) -> bytes:
        keys = self._all(b"sec-websocket-key")
        try:
            if len(keys) == 1 and len(b64decode(keys[0], validate=True)) == 16:
                return keys[0]
        except Error:
            pass
        raise InvalidRequest("Sec-WebSocket-Key is not one base64 of 16 bytes")

    def _all(self, name: bytes) -> list[bytes]:
        return [value for one, value in self._fields if one == name]


def refused(error: CarouselError, request_id: bytes) -> bytes:
    """The answer that refuses a handshake; the connection closes after it."""
    problem = error.problem()
    content, status = dump(problem), HTTPStatus(problem["status"])
    lines = [
        b"HTTP/1.1 %d %b" % (status, status.phrase.encode()),
        b"content-type: application/problem+json",
        b"content-length: %d" % len(content),
        b"x-request-id: " + request_id,
        b"connection: close",
    ]
    if status is HTTPStatus.UPGRADE_REQUIRED:  # RFC 6455, 4.4
        lines += [b"upgrade: websocket", b"sec-websocket-version: " + _VERSION]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content
