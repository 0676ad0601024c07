"""WebSocket frames by hand over asyncio: fast, and able to say what no client library would."""

import asyncio
import struct
from collections.abc import Iterable

from tests.wire.line import PATIENCE

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Frames:
    """One socket to `/v1/stream`; frames are sent with a mask of zeros, so that they are what they look like."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def dial(cls, port: int, limit: int = 2**24) -> "Frames":
        """`limit`: about how many bytes are read before they are heard."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
        try:
            writer.write(HANDSHAKE)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
        except BaseException:
            writer.close()
            raise
        return cls(reader, writer)

    async def send(self, payloads: Iterable[bytes], kind: int = TEXT) -> None:
        for payload in payloads:
            self._writer.write(masked(payload, kind))
        await self._writer.drain()

    async def hear(self) -> tuple[int, bytes]:
        """Kind and payload of the next frame but pings; a close frame has its code in the first two bytes."""
        async with asyncio.timeout(PATIENCE):
            first, size = await self._reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack(">H", await self._reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", await self._reader.readexactly(8))
            kind, payload = first & 15, await self._reader.readexactly(size)
            return (kind, payload) if kind != PING else await self.hear()

    def hang_up(self) -> None:
        self._writer.close()


def masked(payload: bytes, kind: int) -> bytes:
    """A whole frame, as a client sends it."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else struct.pack(">BH" if size < 65536 else ">BQ", *_wide(size))
    return bytes([0x80 | kind]) + length + bytes(4) + payload


def _wide(size: int) -> tuple[int, int]:
    return (0x80 | (126 if size < 65536 else 127), size)
