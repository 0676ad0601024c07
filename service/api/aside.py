"""Large JSON, read and written aside: by a process of its own, since all the time it takes nobody else would be served.

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
from dataclasses import dataclass
from typing import Any, cast

from service.api.parcels import Receiving, packed, unpacking
from service.api.texts import dump, parse
from service.errors import CarouselError, Overloaded

_LARGE = 2**17  # bytes; few texts of so many take more than 3 ms to read here
_MANY = 2**14  # numbers; as objects they take 3 ms to write

_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # it multiplies no matrices

_log = logging.getLogger("carousel.aside")


@dataclass(slots=True, eq=False)
class _Job:
    pieces: list[bytes | memoryview]
    size: int
    answer: "asyncio.Future[Any]"


class Aside:
    """Invariants: jobs are sent and answered in their order; `_bytes` is the size of those that are not answered."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._jobs: deque[_Job] = deque()
        self._bytes = 0
        self._seconds_per_byte = 0.0  # of the last job
        self._begun = 0.0  # when the first of the jobs became the first
        self._line: _Line | None = None

    def __repr__(self) -> str:
        return f"<Aside {len(self._jobs)} jobs, {self._bytes} of {self._most_bytes} B>"

    async def parse(self, text: bytes) -> dict[str, Any]:
        """As `texts.parse`; at once, if the text is not large.

        Raises:
            Overloaded: too much waits already.

        """
        if len(text) <= _LARGE:
            return parse(text)
        if self._bytes and self._bytes + len(text) > self._most_bytes:
            wait = round(1000 * self._bytes * self._seconds_per_byte)
            raise Overloaded(f"{self._bytes} bytes of large bodies wait already", max(1, min(30_000, wait)))
        read: dict[str, Any] = await self._ask(("parse", pickle.PickleBuffer(text)), len(text))
        return read

    async def dump(self, content: Any, numbers: int) -> bytes:
        """As `texts.dump`; at once, if the content has not many numbers."""
        if numbers <= _MANY:
            return dump(content)
        return bytes(await self._ask(("dump", content), 4 * numbers))

    def close(self) -> None:
        """End the process."""
        if self._line is not None:
            self._line.close()

    def _ask(self, what: tuple[str, Any], size: int) -> "asyncio.Future[Any]":
        job = _Job(packed(what), size, asyncio.get_running_loop().create_future())
        if not self._jobs:
            self._begun = time.monotonic()
        self._jobs.append(job)
        self._bytes += size
        if self._line is None:
            self._line = _Line(self._answered, self._lost)
        self._line.send(job.pieces)
        return job.answer

    def _done(self) -> _Job:
        job = self._jobs.popleft()
        self._bytes -= job.size
        return job

    def _answered(self, result: Any) -> None:
        job = self._done()
        now = time.monotonic()
        self._seconds_per_byte, self._begun = (now - self._begun) / job.size, now
        if job.answer.cancelled():
            return
        if isinstance(result, CarouselError):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)

    def _lost(self) -> None:
        """The process has ended by itself: the job that it had may be the cause, the others are sent to a new one."""
        self._line = None
        if not self._jobs:
            return
        _log.error("the process that reads and writes large JSON was lost; %r", self)
        job = self._done()
        if not job.answer.cancelled():
            job.answer.set_exception(CarouselError("the process that reads and writes large JSON was lost"))
        if self._jobs:
            self._line = _Line(self._answered, self._lost)
            for one in self._jobs:
                self._line.send(one.pieces)


class _Line(asyncio.BufferedProtocol):
    """A process, and the socket by which it is asked. Whatever it sends is handed on; when it ends that is told."""

    def __init__(self, take: Callable[[Any], None], lost: Callable[[], None]) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "service.api.clerk"]
        with theirs:
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), env=os.environ | _ONE_THREAD)
        self._unsent: list[bytes | memoryview] = []
        self._transport: asyncio.Transport | None = None
        self._lost = lost
        self._receiving: Receiving = unpacking(take)
        self._piece = bytearray(next(self._receiving))
        self._room = memoryview(self._piece)
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(loop.create_connection(lambda: self, sock=ours))

    def send(self, pieces: list[bytes | memoryview]) -> None:
        """Send these one behind the other, once there is a connection."""
        if self._transport is None:
            self._unsent += pieces
            return
        for piece in pieces:
            self._transport.write(piece)

    def close(self) -> None:
        """End the process, and tell nobody."""
        self._lost = lambda: None
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._process.kill()
        self._process.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio has it."""
        self._transport = cast("asyncio.Transport", transport)
        self.send(self._unsent)
        self._unsent.clear()

    def get_buffer(self, sizehint: int) -> memoryview:
        """As asyncio has it."""
        return self._room

    def buffer_updated(self, count: int) -> None:
        """As asyncio has it."""
        self._room = self._room[count:]
        if not self._room:
            self._piece = bytearray(self._receiving.send(self._piece))
            self._room = memoryview(self._piece)

    def connection_lost(self, error: Exception | None) -> None:
        """As asyncio has it."""
        self._process.kill()
        self._process.wait()
        self._lost()
