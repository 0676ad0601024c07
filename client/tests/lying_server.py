"""A TCP server that answers every request with bytes of the test's choice, on a thread of its own.

`answers` gives, for the first line of a request, the pieces to send: bytes, or seconds to wait (a gate that a test
opens by closing the server). After the last piece the connection is closed, unless the pieces end with KEEP.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

KEEP = b"\0keep\0"
Pieces = Iterable[bytes | float]


def response(body: Any, status: int = 200, *headers: str) -> bytes:
    """An HTTP response with this body: bytes, or an object as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


class LyingServer:
    """Serves at `url`; `heads` are the heads of the requests."""

    def __init__(self, answers: Callable[[str], Pieces]) -> None:
        self.answers = answers
        self.heads: list[str] = []
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.url: str = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    async def _start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        for line in head.lower().split("\r\n"):
            if line.startswith("content-length:"):
                await reader.readexactly(int(line.partition(":")[2]))
        piece: bytes | float = b""
        for piece in self.answers(head.split("\r\n")[0]):
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif piece != KEEP:
                writer.write(piece)
                await writer.drain()
        return piece == KEEP

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
