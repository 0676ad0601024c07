"""The bytes of a WebSocket as a server sees them (RFC 6455): messages in, frames out. Pure: no socket, no Carousel."""

import struct
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

try:
    from websockets.speedups import apply_mask
except ImportError:  # where no wheel was built
    from websockets.utils import apply_mask

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10  # opcodes
_GOES_ON = 0  # the opcode of a message's later frames
_FINAL, _RESERVED, _CONTROL, _MASKED = 0x80, 0x70, 0x08, 0x80  # bits of a head
_PLAIN = struct.Struct(">HH")  # two bytes of flags, opcode and a length that follows in two more
_LEAST = {126: 126, 127: 2**16}  # that may be written in 16 and in 64 bits
_TOLD = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}  # codes that a close frame may tell (7.4)
_SHORT = 4096  # bytes: a piece that is shorter is joined to the next, as a piece takes an object


class Violation(Exception):
    """A client's bytes end the connection, with this close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Control(NamedTuple):
    """A control frame. It may come between the frames of a message."""

    kind: int
    content: bytes


Message: TypeAlias = bytes | str | Control


class Parser:
    """Bytes as they come → messages, of `most` bytes at most; nothing longer is held."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = b""  # a head or a control frame, cut off
        self._kind: int | None = None  # of the message under way
        self._parts: list[bytes] = []  # of it, as far as they have come
        self._size = 0  # of it, with all of the last frame
        self._missing: int | None = None  # bytes of the frame under way
        self._final, self._key = False, b""  # of that frame

    def whole(self, data: bytes) -> bytes | None:
        """The message, if that is what these bytes are: under load they are one binary frame. If not, `feed` them."""
        if 125 < len(data) - 8 < 2**16 and self._kind is None and not self._rest:
            head, size = _PLAIN.unpack_from(data)
            if head == 0x82FE and size == len(data) - 8 <= self._most:
                return apply_mask(data[8:], data[4:8])
        return None

    def feed(self, data: bytes) -> Iterator[Message]:
        """What these bytes complete.

        Raises:
            Violation: they are no messages from here on.

        """
        data, at = self._rest + data, 0
        view = memoryview(data)
        while True:
            if self._missing is None:
                if (head := _head(data, at)) is None:
                    break
                first, begin, size = head
                if first & _CONTROL:
                    if len(data) < begin + size:
                        break
                    yield _control(first & 15, apply_mask(view[begin : begin + size], data[begin - 4 : begin]))
                    at = begin + size
                    continue
                self._begin(first, size)
                self._key, self._missing, at = data[begin - 4 : begin], size, begin
            piece = view[at : at + self._missing]
            self._keep(apply_mask(piece, self._key))
            at += len(piece)
            self._missing -= len(piece)
            if self._missing:
                turn = len(piece) % 4
                self._key = self._key[turn:] + self._key[:turn]
                break
            self._missing = None
            if self._final:
                yield self._message()
        self._rest = data[at:]

    def _begin(self, first: int, size: int) -> None:
        kind = first & 15
        if (kind == _GOES_ON) is (self._kind is None):
            raise Violation(1002, "a message begins before another's end, or goes on before its beginning")
        self._kind, self._final, self._size = kind or self._kind, first >= _FINAL, self._size + size
        if self._size > self._most:
            raise Violation(1009, f"a message of {self._size} bytes or more; at most {self._most}")

    def _keep(self, piece: bytes) -> None:
        if self._parts and len(self._parts[-1]) < _SHORT:
            self._parts[-1] += piece
        else:
            self._parts.append(piece)

    def _message(self) -> bytes | str:
        kind, content = self._kind, b"".join(self._parts)
        self._kind, self._parts, self._size = None, [], 0
        return content if kind == BINARY else _text(content)


def frame(kind: int, content: bytes) -> bytes:
    """A whole frame, as a server sends it."""
    first, size = _FINAL | kind, len(content)
    if size < 126:
        return bytes((first, size)) + content
    if size < 2**16:
        return struct.pack(">BBH", first, 126, size) + content
    return struct.pack(">BBQ", first, 127, size) + content


def closing(code: int, reason: str = "") -> bytes:
    """A close frame."""
    return frame(CLOSE, code.to_bytes(2) + reason.encode()[:123])


def _head(data: bytes, at: int) -> tuple[int, int, int] | None:
    """The first byte of the frame at a place, where its payload begins and its size; None if the head is cut off."""
    if len(data) < at + 2:
        return None
    first, size, begin = data[at], data[at + 1] & 127, at + 6
    if not data[at + 1] & _MASKED:
        raise Violation(1002, "a client's frame is masked")
    if first & _RESERVED:
        raise Violation(1002, "a reserved bit is set: no extension was negotiated")
    if first & 15 not in (_GOES_ON, TEXT, BINARY, CLOSE, PING, PONG):
        raise Violation(1002, f"opcode {first & 15} is reserved")
    if first & _CONTROL and (size > 125 or first < _FINAL):
        raise Violation(1002, "a control frame is whole, and of 125 bytes at most")
    if size > 125:
        least, begin = _LEAST[size], begin + (2 if size == 126 else 8)
        if len(data) < begin:
            return None
        size = int.from_bytes(data[at + 2 : begin - 4])
        if size < least:
            raise Violation(1002, "a length is written in as few bytes as it needs")
    return (first, begin, size) if len(data) >= begin else None


def _control(kind: int, content: bytes) -> Control:
    if kind == CLOSE and content:
        code = int.from_bytes(content[:2])
        if len(content) == 1 or code not in _TOLD:
            raise Violation(1002, "a close frame is empty, or begins with a code that may be told")
        _text(content[2:])
    return Control(kind, content)


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Violation(1007, "not UTF-8") from None
