"""Large JSON, read and written aside: by a process of its own, since nobody else would be served meanwhile.

The process is started when the first large text comes, and again if it is lost.
"""

import asyncio
import logging
import os
import pickle
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from service.api.parcels import packed, unpacking
from service.api.texts import dump, parse
from service.errors import CarouselError, Overloaded

LARGE = 2**16  # bytes; few texts of so many take more than 3 ms to read here
_PLAIN = 2**18  # of lists of numbers alone, which are read in a fifth of the time
MANY = 2**15  # numbers; as objects they take 3 ms to write
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # it multiplies no matrices

_log = logging.getLogger("carousel.aside")


class Aside:
    """Invariants: jobs are answered in their order; `_bytes` is the size of those that are not."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._jobs: deque[tuple[int, asyncio.Future[Any]]] = deque()  # the size of each, and who waits for it
        self._bytes = 0
        self._freed = asyncio.Event()  # there are fewer
        self._begun = 0.0  # when the first of them became the first
        self._seconds_per_byte = 0.0  # of the last one that was answered
        self._clerk: _Clerk | None = None

    def __repr__(self) -> str:
        return f"<Aside {len(self._jobs)} jobs, {self._bytes} of {self._most_bytes} B>"

    async def parse(self, text: bytes, *, patient: bool = False) -> dict[str, Any]:
        """As `texts.parse`; at once, if the text is not large. Who is patient is not refused, but waits for room.

        Raises:
            Overloaded: too much waits already.

        """
        if len(text) <= LARGE or (len(text) <= _PLAIN and text.find(b"{", 1) < 0):
            return parse(text)
        while self._bytes and self._bytes + len(text) > self._most_bytes:
            if not patient:
                wait = round(1000 * self._bytes * self._seconds_per_byte)
                raise Overloaded(f"{self._bytes} bytes of large bodies wait already", max(1, min(30_000, wait)))
            self._freed.clear()
            await self._freed.wait()
        read: dict[str, Any] = await self._asked(("parse", pickle.PickleBuffer(text)), len(text))
        return read

    async def dump(self, content: Any, numbers: int) -> bytes:
        """As `texts.dump`; at once, if there are not many numbers in the content."""
        if numbers <= MANY:
            return dump(content)
        return bytes(await self._asked(("dump", content), 4 * numbers))

    def close(self) -> None:
        """End the process."""
        if self._clerk is not None:
            self._clerk.end()

    def _asked(self, job: tuple[str, Any], size: int) -> "asyncio.Future[Any]":
        """What the process makes of a job, to await."""
        if self._clerk is None:
            self._clerk = _Clerk(self._answered, self._lost)
        self._clerk.send(packed(job))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self._jobs:
            self._begun = time.monotonic()
        self._jobs.append((size, answer))
        self._bytes += size
        return answer

    def _answered(self, result: Any) -> None:
        now, size = time.monotonic(), self._jobs[0][0]
        self._seconds_per_byte, self._begun = (now - self._begun) / size, now
        self._settle(result)

    def _settle(self, result: Any) -> None:
        size, answer = self._jobs.popleft()
        self._bytes -= size
        self._freed.set()
        if answer.done():
            return  # whoever asked has left
        if isinstance(result, CarouselError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def _lost(self) -> None:
        """The process has ended by itself, maybe for what it had to do: nothing of that is tried again."""
        _log.error("the process that reads and writes large JSON was lost: %r", self)
        self._clerk = None
        while self._jobs:
            self._settle(CarouselError("the process that reads and writes large JSON was lost"))


class _Clerk(asyncio.Protocol):
    """The process, and the socket by which it is asked: hands on what it answers, and tells when it is lost."""

    def __init__(self, take: Callable[[Any], None], lost: Callable[[], None]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "service.api.clerk"]
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), env=os.environ | _ONE_THREAD)
        self._unsent: list[bytes | memoryview] = []
        self._transport: asyncio.WriteTransport | None = None
        self._lost: Callable[[], None] | None = lost
        self._receiving = unpacking(take)
        self._piece = bytearray(next(self._receiving))
        self._filled = 0  # bytes of it
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(loop.create_connection(lambda: self, sock=ours))

    def send(self, pieces: list[bytes | memoryview]) -> None:
        """Send these one behind the other, once there is a connection."""
        if self._transport is None:
            self._unsent += pieces
            return
        for piece in pieces:
            self._transport.write(piece)

    def end(self) -> None:
        """End the process, and tell nobody."""
        self._lost = None
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._reap()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio has it."""
        self._transport = cast("asyncio.WriteTransport", transport)  # the loop's own kinds are no subclasses of it
        self.send(self._unsent)
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        """As asyncio has it."""
        rest = memoryview(data)
        while rest:
            part = rest[: len(self._piece) - self._filled]
            self._piece[self._filled : self._filled + len(part)] = part
            rest, self._filled = rest[len(part) :], self._filled + len(part)
            if self._filled == len(self._piece):
                self._piece, self._filled = bytearray(self._receiving.send(self._piece)), 0

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio has it."""
        self._reap()
        if self._lost is not None:
            self._lost()

    def _reap(self) -> None:
        self._process.kill()
        self._process.wait()
