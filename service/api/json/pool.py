"""Parse and write large JSON in a worker process, so that the loop serves others meanwhile. Knows no HTTP."""

import asyncio
import gc
import itertools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection
from typing import Any, TypeVar

from service.api.json.codec import dump, parse, parse_any, parse_fast, things
from service.api.json.fields import pack
from service.errors import Overloaded

LARGE = 2**13  # bytes; fewer are parsed in 3 ms, whatever they are
_SURELY = 2**18  # bytes; more are not
_THINGS = 2_000  # lists and objects that are parsed in 3 ms
_PIECE = 2**20  # bytes that are sent at once
_PACKED = 500  # sequences; more are sent back as one array
MANY = 2**15  # numbers; as objects they take 3 ms to write
_IDLE_SECONDS = 5.0  # after which the worker is ended: it holds 60 MiB and nine descriptors
_NICE = 10  # on a core that both share, steps beside large predicts are a fifth more and sooner than at 0

_T = TypeVar("_T")

_log = logging.getLogger("carousel.json")


class JsonPool:
    """One worker, started by a large text, ended when none has come for a while, started again after it was lost.

    Invariant: `_bytes` is the size of the jobs that are not done; they are done in the order asked.
    """

    def __init__(self, most_bytes: int, most_items: int, *, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._most_bytes, self._most_items, self._idle_seconds = most_bytes, most_items, idle_seconds
        self._bytes = 0
        self._keys = itertools.count()
        self._seconds_per_byte, self._done = 0.0, 0.0  # of the last job, and when it was done
        self._freed = asyncio.Event()
        self._worker: ProcessPoolExecutor | None = None
        self._end: asyncio.TimerHandle | None = None  # of the idle worker

    def parse_small(self, text: bytes) -> dict[str, Any] | None:
        """As `codec.parse`; None: it would take so long that others would notice."""
        if len(text) > _SURELY:
            return None
        count = things(text)
        if len(text) > LARGE and count > _THINGS:
            return None
        read = parse_fast(text, count, self._most_items)
        return parse_any(text, self._most_items) if read is None else read

    async def parse(self, text: bytes, *, wait: bool = False) -> dict[str, Any]:
        """As `codec.parse`. With `wait`, wait for room.

        Raises:
            Overloaded: too many bytes wait already.

        """
        if (small := self.parse_small(text)) is not None:
            return small
        while self._full(text):
            if not wait:
                raise self._overloaded()
            self._freed.clear()
            await self._freed.wait()
        read: dict[str, Any] = await self._in_pieces(text, _parse_packed, self._most_items)
        return read

    async def parse_by(self, text: bytes, parse: Callable[[bytes], _T]) -> _T:
        """Let the worker parse a text by another parser. Raises what that raises, and Overloaded as `parse`."""
        if self._full(text):
            raise self._overloaded()
        read: _T = await self._in_pieces(text, parse)
        return read

    async def dump(self, content: Any, numbers: int) -> bytes:
        """As `codec.dump`, of a content with so many numbers."""
        if numbers <= MANY:
            return dump(content)
        try:
            written: bytes = await self._run(4 * numbers, dump, content)
        except BrokenProcessPool:
            return dump(content)  # the call was applied: its answer is worth the wait of the loop
        return written

    def close(self) -> None:
        """End the worker."""
        self._busy()
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)
            self._worker = None

    def _full(self, text: bytes) -> bool:
        return bool(self._bytes) and self._bytes + len(text) > self._most_bytes

    def _overloaded(self) -> Overloaded:
        delay = round(1000 * self._bytes * self._seconds_per_byte)
        return Overloaded(f"{self._bytes} bytes of large bodies wait already", max(1, min(30_000, delay)))

    async def _in_pieces(self, text: bytes, parse: Callable[..., Any], *how: Any) -> Any:
        """Let the worker parse a text, and if it is lost, once more another one. Raises Overloaded if that is lost."""
        with suppress(BrokenProcessPool):
            return await self._sent(text, parse, *how)
        try:
            return await self._sent(text, parse, *how)
        except BrokenProcessPool as lost:
            raise Overloaded("two processes that parse large JSON were lost") from lost

    async def _sent(self, text: bytes, parse: Callable[..., Any], *how: Any) -> Any:
        """Send a text piece by piece: the interpreter does nothing else while one is copied for the worker."""
        key, ahead = next(self._keys), len(text) - 1 - (len(text) - 1) % _PIECE  # all but the last piece
        self._bytes += ahead
        try:
            for at in range(0, ahead, _PIECE):
                await self._run(_PIECE, _keep, key, text[at : at + _PIECE])
            return await self._run(len(text) - ahead, _parse_kept, key, len(text), text[ahead:], parse, *how)
        finally:
            self._bytes -= ahead
            self._freed.set()
            self._rest()

    async def _run(self, size: int, *job: Any) -> Any:
        self._busy()
        future = self._submit(*job)
        self._bytes += size
        begin = time.monotonic()

        def done(_: "asyncio.Future[Any]") -> None:
            now = time.monotonic()
            self._seconds_per_byte, self._done = (now - max(begin, self._done)) / size, now
            self._bytes -= size
            self._freed.set()
            self._rest()

        future.add_done_callback(done)
        try:
            return await asyncio.shield(future)  # a job whose caller left is done all the same: its bytes are held
        finally:
            del future  # its error holds this frame, and the frame the body

    def _busy(self) -> None:
        """Let the worker live on."""
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _rest(self) -> None:
        """End the worker after a while, if it has nothing to do."""
        self._busy()
        if not self._bytes:
            self._end = asyncio.get_running_loop().call_later(self._idle_seconds, self.close)

    def _submit(self, *job: Any) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        if self._worker is not None:
            try:
                return loop.run_in_executor(self._worker, *job)
            except BrokenProcessPool:
                _log.error("the process that parses and writes large JSON was lost; another one is started")
        self._worker = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin)
        return loop.run_in_executor(self._worker, *job)


_pieces: dict[int, list[bytes]] = {}  # in the worker: of texts that are not whole yet


def _keep(key: int, piece: bytes) -> None:
    _pieces.setdefault(key, []).append(piece)


def _parse_kept(key: int, size: int, last: bytes, parse: Callable[..., Any], *how: Any) -> Any:
    text = b"".join((*_pieces.pop(key, ()), last))
    if len(text) < size:
        raise BrokenProcessPool("the other pieces went to a worker that is lost")
    return parse(text, *how)


def _parse_packed(text: bytes, most: int) -> dict[str, Any]:
    read = parse(text, most)
    if isinstance(read.get("sequences"), list) and len(read["sequences"]) > _PACKED:
        read["sequences"] = pack(read["sequences"])
    return read


def _begin() -> None:
    """Prepare the worker: it ends with its parent and by no signal to the group, since the service decides when."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICE)
    gc.disable()  # what is parsed has no cycles, and to look for some takes as long as the parsing
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
