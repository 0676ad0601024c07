"""A proxy in front of Redis that holds back what goes through it, and loses it."""

import asyncio
import random
import threading
from concurrent.futures import Future
from contextlib import closing, suppress

HARMS = ("commands late", "answers late", "answers lost")


class Proxy:
    """Passes bytes between clients and a port of this machine, in a thread of its own."""

    def __init__(self, to: int, rng: random.Random) -> None:
        self._to, self._random = to, rng
        self._commands, self._answers = _Direction(), _Direction()
        self._connections: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        began: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(began)), daemon=True)
        self._thread.start()
        self.url = f"redis://127.0.0.1:{began.result(10)}/0"

    async def _run(self, began: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        async with await asyncio.start_server(self._serve, "127.0.0.1") as server:
            began.set_result(server.sockets[0].getsockname()[1])
            await self._over.wait()
            self._cancel()

    async def harm(self, kind: str, seconds: float) -> None:
        """Hold one direction back; then let it through, or cut all connections and let a part of it through."""
        direction = self._commands if kind == "commands late" else self._answers
        self._loop.call_soon_threadsafe(direction.opened.clear)
        await asyncio.sleep(seconds)
        if kind == "answers lost":
            self._loop.call_soon_threadsafe(self._cut, direction)
        self._loop.call_soon_threadsafe(direction.opened.set)

    def _cut(self, direction: "_Direction") -> None:
        for writer, data in direction.held.items():
            writer.write(data[: self._random.randrange(len(data) + 1)])
        self._cancel()

    def _cancel(self) -> None:
        for one in self._connections:
            one.cancel()

    def close(self) -> None:
        """Cut all connections, and end the thread."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with closing(writer), suppress(OSError, asyncio.CancelledError):
            from_there, there = await asyncio.open_connection("127.0.0.1", self._to)
            with closing(there):
                await asyncio.gather(self._commands.run(reader, there), self._answers.run(from_there, writer))
        self._connections.discard(task)


class _Direction:
    """Commands, or answers, of all connections. What was read is held also where its sender leaves."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.opened.set()
        self.held: dict[asyncio.StreamWriter, bytes] = {}  # by where it goes

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, to its end."""
        with closing(writer), suppress(OSError):
            while data := await reader.read(2**16):
                self.held[writer] = data
                try:
                    await self.opened.wait()
                finally:
                    del self.held[writer]
                writer.write(data)
                await writer.drain()
