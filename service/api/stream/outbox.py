"""The answers of one socket, and what it has in flight: frames that are accepted and answers that are not read."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable
from typing import TYPE_CHECKING

from service.api.json.codec import dump
from service.api.json.pool import MANY, JsonPool
from service.errors import CarouselError

if TYPE_CHECKING:
    from service.api.stream.frames import View
    from service.api.stream.websocket import Socket

OVERHEAD = 1024  # bytes that any frame counts for, beside its numbers
IN_FLIGHT = 4 * 2**20  # bytes that one socket may have in flight


class Outbox:
    """Invariant: each frame that is counted is answered once."""

    def __init__(self, socket: Socket, pool: JsonPool) -> None:
        self._socket, self._pool = socket, pool
        self._under_way = 0  # frames that are counted and not answered
        self.in_flight = 0  # bytes of them, and of answers that the client has not read
        self._unread = 0  # of these, the answers
        self._emptied: Callable[[], None] | None = None
        self._landed: Future[None] | None = None  # there while a frame waits until less is in flight

    async def landed(self) -> None:
        """Return when less is in flight."""
        self._landed = asyncio.get_running_loop().create_future()
        await self._landed

    def when_empty(self, act: Callable[[], None]) -> None:
        """Act once all frames that were counted are answered; no more are counted."""
        self._emptied = act
        if not self._under_way:
            act()

    def count(self, size: int) -> None:
        """Count a frame that was accepted, with so many bytes of it and of its answer."""
        self._under_way += 1
        self.in_flight += size + OVERHEAD

    def tell(self, view: View, size: int) -> None:
        """Send JSON: see `answer`."""
        numbers = getattr(view.get("outputs"), "size", 0)
        if numbers <= MANY:
            self.answer(dump(view), size, text=True)
            return

        def written(answer: Future[bytes]) -> None:
            if isinstance(error := answer.exception(), CarouselError):
                text = dump({"id": view["id"], "channel": view["channel"], "error": error.problem()})
            else:
                text = answer.result()
            self.answer(text, size, text=True)

        asyncio.ensure_future(self._pool.dump(view, numbers)).add_done_callback(written)

    def answer(self, content: bytes, size: int, *, text: bool = False) -> None:
        """Send the answer of a frame that was counted with `size`; lost with the socket, it is kept for a retry."""
        self._under_way -= 1
        self.in_flight -= size + OVERHEAD
        if not self._socket.answer(content, text=text):
            held = max(size, len(content)) + OVERHEAD  # an error may be longer than what its frame was counted for
            self.in_flight += held
            self._unread += held
        if self._landed is not None:
            self._land()
        if self._emptied is not None and not self._under_way:
            self._emptied()

    def writable(self) -> None:
        """The client has read what was sent."""
        self.in_flight -= self._unread
        self._unread = 0
        if self._landed is not None:
            self._land()

    def _land(self) -> None:
        assert self._landed is not None, "a frame waits"
        if not self._landed.done():  # nor cancelled
            self._landed.set_result(None)
        self._landed = None
