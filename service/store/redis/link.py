"""The connection to the server: commands go out in order, many at once, and their answers come back in order.

It is made anew when it is lost. It knows the protocol and its faults; not sessions.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import MovedError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from service.errors import StoreUnavailable

if TYPE_CHECKING:
    from asyncio import Future

    from redis.asyncio.connection import AbstractConnection

_PAUSE = 0.1  # seconds between attempts

_log = logging.getLogger("carousel.store")


class LostError(Exception):
    """The connection was lost before the answer: the outcome of the command is unknown."""


class FencedError(LostError):
    """Nothing of the command was carried out: this owner was taken off the table of owners."""


class Link:
    """Invariant: `_asked` has the futures of commands that are not answered, in their order."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[AbstractConnection]],
        greet: Callable[[], Awaitable[None]],
        timeout: float,
    ) -> None:
        """`greet` is done on every new connection before others may use it; no answer for `timeout` seconds ends it."""
        self._connect, self._greet, self._timeout = connect, greet, timeout
        self._asked: deque[tuple[Future[Any], float]] = deque()
        self._stream: asyncio.StreamWriter | None = None
        self._rose = asyncio.Event()
        self.up = False

    def __repr__(self) -> str:
        return f"<Link {'up' if self.up else 'down'}, {len(self._asked)} commands under way>"

    def ask(self, *command: bytes | int | float | str) -> Future[Any]:
        """Send a command → its answer.

        Raises, or the future raises:
            StoreUnavailable: it was not carried out.
            LostError: its outcome is unknown (the future only).
            FencedError: it needs an owner, and this process is none (the future only).

        """
        return self.send(packed(command))

    def send(self, command: bytes) -> Future[Any]:
        """Send a command that is packed. As `ask`."""
        if not self.up:
            raise _unreached()
        return self._send(command)

    def greeting(self, *command: bytes | int | float | str) -> Future[Any]:
        """Send a command on a connection that others may not use yet."""
        return self._send(packed(command))

    def _send(self, command: bytes) -> Future[Any]:
        if self._stream is None or self._stream.is_closing():
            raise _unreached()
        answer: Future[Any] = asyncio.get_running_loop().create_future()
        self._stream.write(command)  # at once: the server works while the next command is made
        self._asked.append((answer, time.monotonic()))
        return answer

    async def risen(self) -> None:
        """Return when there is a connection."""
        await self._rose.wait()

    async def run(self) -> None:
        """Connect, serve until the connection is lost, and again."""
        failing = False
        while True:
            try:
                await self._serve()
            except Exception as error:
                if not failing:
                    why = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
                    _log.error("the connection to the session store is lost: %s", why)
            failing = not self._rose.is_set()
            self._rose.clear()
            await asyncio.sleep(_PAUSE)

    async def _serve(self) -> None:
        connection = await self._connect()
        self._stream = connection._writer  # its own method writes in a later turn of the loop
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(connection))
                tasks.create_task(self._watch())
                await self._greet()
                self.up = True
                self._rose.set()
                _log.info("connected to the session store")
        finally:
            self._fall()
            with suppress(Exception):
                await connection.disconnect(nowait=True)

    def _fall(self) -> None:
        self.up = False
        asked, self._asked = self._asked, deque()
        for answer, _ in asked:
            if not answer.done():
                answer.set_exception(LostError())
                answer.exception()  # the caller may have left

    async def _watch(self) -> None:
        """Give the connection up when the oldest command is found late twice: its answer may be there, but not be read,
        after this process stood still.
        """
        late = None
        while True:
            oldest = self._asked[0] if self._asked else None
            if oldest is None or time.monotonic() - oldest[1] < self._timeout:
                late = None
            elif oldest is late:
                raise TimeoutError("no answer")
            else:
                late = oldest
            await asyncio.sleep(self._timeout / 8)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            try:
                told = await connection.read_response(disable_decoding=True, timeout=math.inf)
            except (NoScriptError, MovedError, ReadOnlyError):
                raise  # the next connection is to the server that can do it
            except ResponseError as error:
                told = error
            answer, _ = self._asked.popleft()
            if answer.done():
                continue
            if isinstance(told, RedisError):
                answer.set_exception(_told(told))
                answer.exception()
            else:
                answer.set_result(told)


def _unreached() -> StoreUnavailable:
    return StoreUnavailable("the session store cannot be reached")


def _told(error: RedisError) -> Exception:
    """What an error means."""
    if str(error) == "FENCED":
        return FencedError()
    if "non local key" in str(error):  # of a slot that is being moved: what the script did before is done
        return LostError()
    return StoreUnavailable(f"the session store: {error}")


def packed(command: Iterable[Any]) -> bytes:
    """A command as it is sent."""
    parts: list[Any] = []
    for one in command:
        part = one if isinstance(one, bytes | memoryview) else str(one).encode()
        parts += (b"\r\n$%d\r\n" % len(part), part)
    return b"".join((b"*%d" % (len(parts) // 2), *parts, b"\r\n"))
