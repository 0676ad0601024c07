"""A balancer of connections in front of replicas, as small as one can be: it looks at readiness and goes in turn."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import cycle

from tests.wire.server import Server

_LOOK = 0.2  # seconds


class Balancer:
    """Passes bytes on. `replicas` may change; what is on its way goes on where it is."""

    def __init__(self, replicas: list[Server]) -> None:
        self.replicas = replicas
        self.port = 0
        self._ready: set[Server] = set()
        self._turn: Iterator[int] = cycle(range(len(replicas)))
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks.add(asyncio.create_task(self._look()))

    async def close(self) -> None:
        """Stop."""
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _look(self) -> None:
        while True:
            self._ready = {one for one in self.replicas if await is_ready(one)}
            await asyncio.sleep(_LOOK)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            for _ in self.replicas:
                replica = self.replicas[next(self._turn)]
                if replica not in self._ready:
                    continue
                with suppress(OSError):
                    there = await asyncio.open_connection("127.0.0.1", replica.port)
                    await asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))
                    break
        writer.close()


async def is_ready(server: Server) -> bool:
    """Look once, in a tenth of the time that a library takes: the loop has clients, and the server its calls."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            with closing(writer):
                writer.write(b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
            return answer.startswith(b"HTTP/1.1 200 ")
    return False


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, to its end."""
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()
