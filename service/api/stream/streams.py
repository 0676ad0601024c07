"""All open sockets of the stream, and what they share: the turn, the pool for large texts, the end of them all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.api.stream.channels import Channels
from service.api.stream.control import Control
from service.api.stream.lone_frames import Turn
from service.api.stream.stream import Stream

if TYPE_CHECKING:
    from service.api.http.browser import Browsers
    from service.api.json.pool import JsonPool
    from service.api.stream.websocket import Socket
    from service.engine.engine import Engine
    from service.models.description import Column
    from service.models.repository import Repository
    from service.sessions.sessions import Sessions
    from service.settings import Settings


class Streams:
    """All open sockets, and what they share."""

    def __init__(
        self, repository: Repository, sessions: Sessions, settings: Settings, pool: JsonPool, browsers: Browsers
    ) -> None:
        self._repository, self._sessions, self._settings = repository, sessions, settings
        self.pool, self.turn, self._browsers = pool, Turn(), browsers
        self._open: set[Stream] = set()
        self._closed = asyncio.Event()  # one of them was
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    def serve(self, socket: Socket) -> None:
        """Serve a socket until it is lost or the server drains."""
        channels = Channels(self._sessions)
        stream = Stream(self, socket, channels, Control(self._repository, self._sessions, self._settings, channels))
        stream.refusal = self._browsers.refusal(socket.headers, unsafe=True)
        self._open.add(stream)
        if self._draining:
            stream.stop()

    def stop(self) -> None:
        """Read no more frames from now on; those that were read are accepted."""
        self._draining = True
        self.turn.flush()
        for stream in [*self._open]:
            stream.stop()

    async def drained(self) -> None:
        """Return when the accepted frames are answered and the sockets closed with 1001."""
        while self._open:
            self._closed.clear()
            await self._closed.wait()

    def forget(self, stream: Stream) -> None:
        """A stream has answered all that it accepted, and takes no more."""
        self._open.discard(stream)
        self._closed.set()

    def columns(self, engine: Engine) -> Sequence[Column]:
        """The features of the model of an engine."""
        return self._repository.file(engine).description.features
