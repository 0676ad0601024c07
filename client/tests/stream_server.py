"""The fake stream behind a real socket, on a thread of its own, and a line to it that is cut after so many bytes."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from fake_stream import FakeStreams
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Budget = tuple[int | None, int | None]  # bytes to the service and from it before the cut; None: no cut


class StreamServer:
    """Serves `streams` at `url`, and at `cut_url` by way of the line."""

    def __init__(self) -> None:
        self.streams = FakeStreams()
        self.silent = False  # reads, and never answers
        self.deaf = False  # does not even read
        self.lies: deque[str | bytes] = deque()  # each is sent in place of an answer
        self.close_codes: deque[int] = deque()  # each closes a socket before its first answer
        self.refusals: deque[Response] = deque()  # each refuses a handshake
        self.budgets: deque[Budget] = deque()  # of the next connections of the line
        self.carried = [0, 0]  # bytes to the service and from it, by the last connection of the line
        self.paths: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._ends: set[asyncio.StreamWriter] = set()
        self.url, self.cut_url = self.do(self._start())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def soon(self, work: Coroutine[Any, Any, Any]) -> None:
        """`do` where the client runs on the loop that would be blocked."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _start(self) -> tuple[str, str]:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._greet,
            max_size=None,
            compression=None,
            ping_interval=0.05,
            ping_timeout=None,
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self._line = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._port}", f"http://127.0.0.1:{self._line.sockets[0].getsockname()[1]}"

    async def _greet(self, _: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        return self.refusals.popleft() if self.refusals else None

    async def _serve(self, connection: ServerConnection) -> None:
        socket = self.streams.socket()
        if self.close_codes:
            await connection.close(self.close_codes.popleft())
        if self.deaf:
            connection.transport.pause_reading()
            await connection.wait_closed()
        with suppress(ConnectionClosed):
            async for message in connection:
                answer = socket.answer(message)
                if not self.silent:
                    await connection.send(self.lies.popleft() if self.lies else answer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = self.budgets.popleft() if self.budgets else (None, None)
        self.carried = [0, 0]
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ends = {writer, far_writer}
        self._ends |= ends

        async def carry(way: int, source: asyncio.StreamReader, to: asyncio.StreamWriter, budget: int | None) -> None:
            while piece := await source.read(2**16):
                left = len(piece) if budget is None else budget - self.carried[way]
                self.carried[way] += len(piece[:left])
                to.write(piece[:left])
                if left < len(piece):
                    return
                await to.drain()

        ways = [(0, reader, far_writer, up), (1, far_reader, writer, down)]
        tasks = [asyncio.create_task(carry(*way)) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.close()  # what was written is still delivered
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *(end.wait_closed() for end in ends), return_exceptions=True)
        self._ends -= ends

    def stop(self) -> None:
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._line.close()
        for end in self._ends:
            end.transport.abort()
        for connection in self._server.connections:
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def refusal(status: int, body: bytes, **headers: str) -> Response:
    """An answer to the handshake other than yes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, "No", Headers({"Content-Length": str(len(body)), **named}), body)
