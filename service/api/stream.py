"""Door two: `WS /v1/stream`. One socket carries any number of sessions; its frames are decoded, run and encoded.

A frame is accepted in the order sent, and answered when it is done: answers may overtake each other. What a socket has
in flight is bounded, so a slow reader stops its own writes and nothing else.
"""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from service.api import body, views
from service.api.values import fields, sequence
from service.engine import vacant
from service.errors import (
    CarouselError,
    ChannelNotFound,
    InvalidRequest,
    SessionNotFound,
    TooManyChannels,
)
from service.repository import NAME, Repository
from service.sessions import Session, Sessions
from service.settings import Settings

_IN_FLIGHT = 4 * 2**20  # bytes of frames and answers that one socket may have under way
_CONTROL = 1024  # bytes that any frame counts for, beside its numbers
_CHANNELS = 65_536
_GOING_AWAY, _FAILED = 1001, 1011  # close codes

_log = logging.getLogger("carousel.stream")

View = dict[str, Any]


class Streams:
    """All open sockets."""

    def __init__(self, repository: Repository, sessions: Sessions, settings: Settings) -> None:
        self._parts = (repository, sessions, settings)
        self._open: set[Stream] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one socket until it is lost or the server drains."""
        await websocket.accept()
        stream = Stream(websocket, *self._parts)
        self._open.add(stream)
        try:
            await stream.run(reading=not self._draining)
        finally:
            self._open.discard(stream)
            stream.finished.set()

    def stop(self) -> None:
        """Read no more frames, from now on."""
        self._draining = True
        for stream in self._open:
            stream.stop()

    async def drained(self) -> None:
        """Return when the accepted frames are answered and the sockets closed with 1001."""
        await asyncio.gather(*(stream.finished.wait() for stream in self._open))


class Stream:
    """One socket. Invariant: a channel is a session that was opened on this socket, and its number is never reused."""

    def __init__(self, socket: WebSocket, repository: Repository, sessions: Sessions, settings: Settings) -> None:
        self._socket, self._repository, self._sessions, self._settings = socket, repository, sessions, settings
        self._channels: dict[int, Session] = {}
        self._by_session: dict[Session, int] = {}
        self._last_channel = 0
        self._in_flight = 0
        self._landed = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self.finished = asyncio.Event()

    async def run(self, *, reading: bool) -> None:
        """Read frames until the socket is lost or `stop` is called; then wait for the answers under way and close."""
        code = _GOING_AWAY
        if reading:
            self._reader = asyncio.create_task(self._read())
            await asyncio.wait([self._reader])
            if not self._reader.cancelled() and (error := self._reader.exception()):
                _log.error("a stream failed", exc_info=error)
                code = _FAILED
        if self._answers:
            await asyncio.wait(self._answers)
        with suppress(RuntimeError, WebSocketDisconnect):  # it was lost before
            await self._socket.close(code)

    def stop(self) -> None:
        """Accept no further frame."""
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            while self._in_flight > _IN_FLIGHT:
                self._landed.clear()
                await self._landed.wait()
            await self._frame(message.get("text"))

    async def _frame(self, text: str | None) -> None:
        """Accept one frame; what it leads to is sent when it is done."""
        told: View = {"id": None}
        size = _CONTROL
        try:
            frame = _parse(text)
            told = _echo(frame)
            if told["id"] is None:
                raise InvalidRequest("id: not a whole number from 0 to 4294967295")
            if "open" in frame:
                answer: Awaitable[View] = _done(await self._opened(frame))
            elif "close" in frame:
                answer = self._closed(frame)
            else:
                answer, size = await self._stepped(frame)
        except CarouselError as error:
            answer = _done(told | {"error": error.problem()})
        self._in_flight += size
        task = asyncio.create_task(self._send(size, told, answer))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _send(self, size: int, told: View, answer: Awaitable[View]) -> None:
        try:
            view = {"id": told["id"]} | await answer
        except CarouselError as error:
            view = told | {"error": error.problem()}
        with suppress(RuntimeError, WebSocketDisconnect):  # the socket was lost: the answer is kept for a retry
            await self._socket.send_text(body.dump(view).decode())
        self._in_flight -= size
        self._landed.set()

    async def _opened(self, frame: View) -> View:
        fields(frame, "frame", {"id": int, "open": dict}, {})
        known = {"session": str, "version": str, "ttl_seconds": (int, float)}
        asked = fields(frame["open"], "open", {"model": str}, known)
        ttl, id, version = views.ttl(asked, self._settings), asked.get("session"), asked.get("version")
        session = await self._resumed(id) if id is not None else None
        created = session is None
        if session is None:
            engine, _ = self._repository.ready(asked["model"], version)
            self._room_for_a_channel()
            session = engine.open_now(id, ttl)
        else:
            session.belongs(asked["model"], version)
            engine, _ = self._repository.ready(session.model, session.version)
            self._sessions.touch(session)
        return {
            "opened": {
                "channel": self._channel(session),
                "session": session.id,
                "created": created,
                "step": session.ahead,
                "replay": self._sessions.budget.each,
                "feature_count": engine.model.features,
                "output_count": engine.model.outputs,
                "version": session.version,
            }
        }

    async def _resumed(self, id: str) -> Session | None:
        """The session of that id, or None if it is to be made."""
        if not NAME.fullmatch(id):
            raise views.bad_name("open.session", id)
        await vacant(self._sessions, id)
        try:
            return self._sessions.get(id)
        except SessionNotFound:
            return None

    def _channel(self, session: Session) -> int:
        """The session's channel on this socket; a new one if it has none."""
        if session not in self._by_session:
            self._room_for_a_channel()
            self._last_channel += 1
            self._by_session[session] = self._last_channel
            self._channels[self._last_channel] = session
        return self._by_session[session]

    def _room_for_a_channel(self) -> None:
        if len(self._channels) >= _CHANNELS:
            raise TooManyChannels(f"{_CHANNELS} channels are open on this socket; close some, or open another socket")

    def _closed(self, frame: View) -> Awaitable[View]:
        fields(frame, "frame", {"id": int, "close": dict}, {})
        asked = fields(frame["close"], "close", {"channel": int}, {"end": bool})
        channel = asked["channel"]
        session = self._channels.get(channel)
        if session is None:
            raise ChannelNotFound(f"no channel {channel} on this socket")
        deleted: Awaitable[None] | None = None
        if asked.get("end") and self._sessions.find(session.id) is session and session not in self._sessions.ending:
            engine, _ = self._repository.ready(session.model, session.version)
            deleted = engine.delete(session)
        del self._channels[channel], self._by_session[session]
        return _closed_after(deleted, channel)

    async def _stepped(self, frame: View) -> tuple[Awaitable[View], int]:
        """Accept a call on a channel → its answer to come, and the bytes it has in flight until then."""
        fields(frame, "frame", {"id": int, "channel": int, "inputs": object}, {"step": int})
        channel = frame["channel"]
        session = self._session(channel)
        engine, served = self._repository.ready(session.model, session.version)
        step = views.step(frame, "frame")
        given = sequence(frame["inputs"], served.description.features, "inputs")
        await engine.room(np.array([session.row]), len(given.inputs))
        answer = engine.accept(self._session(channel), given.inputs, step, None)

        async def view() -> View:
            outputs, after = await answer
            return {"channel": channel, "outputs": given.outputs(outputs, served.description.outputs), "step": after}

        width = engine.model.features + engine.model.outputs
        return view(), _CONTROL + 12 * len(given.inputs) * width  # about 12 characters a number

    def _session(self, channel: int) -> Session:
        """The live session of a channel."""
        session = self._channels.get(channel)
        if session is None:
            raise ChannelNotFound(f"no channel {channel} on this socket")
        if self._sessions.get(session.id) is not session:
            raise SessionNotFound(f"session {session.id!r} of channel {channel} was deleted; another has its id now")
        return session


def _parse(text: str | None) -> View:
    if text is None:
        raise InvalidRequest("this version of the service reads text frames only")
    return body.parse(text)


def _echo(frame: View) -> View:
    """What of a frame its answer repeats: the id, null where it cannot be read, and the channel."""
    id, channel = frame.get("id"), frame.get("channel")
    told: View = {"id": id if type(id) is int and 0 <= id < 2**32 else None}
    return told | ({"channel": channel} if type(channel) is int else {})


async def _done(view: View) -> View:
    return view


async def _closed_after(deleted: Awaitable[None] | None, channel: int) -> View:
    if deleted is not None:
        await deleted
    return {"closed": {"channel": channel}}
