"""Messages between the supervisor and a worker over a pair of sockets: each side asks and tells the other.

It trusts the other side, which is of the same service: messages are pickled.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import pickle
import socket
import struct
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

if TYPE_CHECKING:
    from service.settings import Settings

Answers: TypeAlias = Mapping[str, Callable[..., Coroutine[Any, Any, Any]]]

_LENGTH = struct.Struct("<I")
_ASK, _TELL, _ANSWER, _FAIL = range(4)

_log = logging.getLogger("carousel.workers")


class Order(NamedTuple):
    """What the supervisor tells a worker, ahead of the messages of their channel."""

    settings: Settings
    number: int  # from 1
    late: bool  # it takes connections once it is ready: others have them until then
    lock: int | None  # the descriptor of the lock of their store, if there is one

    def send(self, to: socket.socket) -> None:
        """Send it. Blocks."""
        with Connection(os.dup(to.fileno())) as end:
            end.send(self)

    @classmethod
    def receive(cls, end: socket.socket) -> Order:
        """Read the order that was sent, and nothing behind it. Blocks. Raises EOFError, OSError: there is none."""
        with Connection(os.dup(end.fileno())) as its:
            return cast("Order", its.recv())


class LostError(Exception):
    """The other process has ended: no answer will come."""


class FailedError(Exception):
    """The other process could not answer; the message says why."""


class Channel(asyncio.Protocol):
    """One end. Invariant: `_asked` has the futures of what was asked and not answered."""

    def __init__(self, answers: Answers) -> None:
        """`answers` are what the other side may ask, by name."""
        self._answers, self._numbers = answers, itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._buffer, self._lost = bytearray(), False
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()  # the other side has closed it

    def ask(self, what: str, *given: Any) -> asyncio.Future[Any]:
        """Ask for an answer. The future raises LostError or FailedError."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._asked[number] = answer
        answer.add_done_callback(partial(self._answered, number))
        if self._lost:
            answer.set_exception(LostError())
        else:
            self._send(_ASK, number, what, given)
        return answer

    def tell(self, what: str, *given: Any) -> None:
        """Tell something; nothing comes back."""
        self._send(_TELL, 0, what, given)

    def lose(self) -> None:
        """The other process is known to have ended: fail what was asked and is not answered."""
        self._lost = True
        for answer in [*self._asked.values()]:
            if not answer.done():
                answer.set_exception(LostError())
        if self._transport is not None:
            self._transport.close()

    def _answered(self, number: int, answer: asyncio.Future[Any]) -> None:
        self._asked.pop(number, None)
        if not answer.cancelled():
            answer.exception()  # the task that asked may have ended

    def _send(self, *message: Any) -> None:
        if self._transport is not None and not self._transport.is_closing():
            content = pickle.dumps(message)
            self._transport.write(_LENGTH.pack(len(content)) + content)

    # As asyncio has it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer, at)
            if len(self._buffer) - at < _LENGTH.size + size:
                break
            at += _LENGTH.size + size
            self._hear(*pickle.loads(self._buffer[at - size : at]))
        del self._buffer[:at]

    def _hear(self, kind: int, number: int, what: Any, given: Any) -> None:
        if kind in (_ANSWER, _FAIL):
            answer = self._asked.get(number)
            if answer is not None and not answer.done():
                if kind == _ANSWER:
                    answer.set_result(what)
                else:
                    answer.set_exception(FailedError(what))
            return
        task = asyncio.ensure_future(self._act(number if kind == _ASK else None, what, given))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _act(self, number: int | None, what: str, given: tuple[Any, ...]) -> None:
        if self._lost:
            return  # its process has ended, and another may be in its place
        try:
            told = await self._answers[what](*given)
        except Exception as error:
            _log.debug("%s%r: %r", what, given, error)
            if number is not None:
                self._send(_FAIL, number, str(error), None)
            return
        if number is not None:
            self._send(_ANSWER, number, told, None)


async def connect(end: socket.socket, answers: Answers) -> Channel:
    """A channel over one end of a pair of sockets."""
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_unix_connection(lambda: Channel(answers), sock=end)
    return channel
